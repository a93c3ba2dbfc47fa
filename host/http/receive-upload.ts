import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Busboy } from '@fastify/busboy'
import type { UploadedFile } from '@nebula-experts/sdk'
import { HostError, hostError } from '../errors.ts'
import { makeJobId } from '../jobs/job-id.ts'

/** Files of a request on disk, and the form's other fields. */
export interface Upload {
  /** A folder of this upload alone. */
  folder: string
  files: UploadedFile[]
  fields: Record<string, string>
  /** Removes the files; safe to call twice. */
  remove(): Promise<void>
}

const MAX_FILES = 100
const MAX_FIELDS = 1000
const MAX_FIELD_BYTES = 1024 * 1024

/**
 * Streams `multipart/form-data`, or a raw body as the one file `file`, into a folder of its own.
 *
 * @param limit - bytes of all files together
 * @throws HostError HOST_BODY_TOO_LARGE, or HOST_BAD_REQUEST for a form that breaks off
 */
export async function receiveUpload(
  request: IncomingMessage,
  root: string,
  limit: number
): Promise<Upload> {
  const folder = join(root, makeJobId())
  await mkdir(folder, { recursive: true })
  const upload: Upload = {
    folder,
    files: [],
    fields: {},
    // What cannot be removed goes with the folder of this host's run.
    remove: () => rm(folder, { recursive: true, force: true }).catch(() => {})
  }
  const keep = keeper(folder, limit, upload.files)
  try {
    if (Number(request.headers['content-length'] ?? 0) > limit + MAX_FIELD_BYTES) {
      throw hostError('HOST_BODY_TOO_LARGE', [limit])
    }
    const type = request.headers['content-type'] ?? 'application/octet-stream'
    if (/^\s*multipart\/form-data/i.test(type)) await receiveForm(request, upload, limit, keep)
    else await receiveRaw(request, type, limit, keep)
    return upload
  } catch (error) {
    await upload.remove()
    // The rest of what the client sends is let go by, so that it can read the answer.
    request.resume()
    throw error
  }
}

/**
 * The body, bounded, as a source whose failed pipeline leaves the request whole: the answer is still to
 * be sent.
 */
async function* bodyOf(request: IncomingMessage, limit: number): AsyncGenerator<Buffer> {
  let total = 0
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    total += chunk.length
    if (total > limit + MAX_FIELD_BYTES) throw hostError('HOST_BODY_TOO_LARGE', [limit])
    yield chunk
  }
}

type Keep = (
  source: AsyncIterable<Buffer>,
  about: Omit<UploadedFile, 'path' | 'bytes'>
) => Promise<void>

/** Writes files one after another or side by side, within one bound. */
function keeper(folder: string, limit: number, files: UploadedFile[]): Keep {
  let total = 0
  return async (source, about) => {
    // The name is seen in messages on what could not be read.
    const path = join(folder, `upload-${files.length}`)
    const file: UploadedFile = { ...about, path, bytes: 0 }
    files.push(file)
    const count = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        total += chunk.length
        file.bytes += chunk.length
        if (total > limit) done(hostError('HOST_BODY_TOO_LARGE', [limit]))
        else done(null, chunk)
      }
    })
    await pipeline(source, count, createWriteStream(path))
  }
}

async function receiveRaw(
  request: IncomingMessage,
  type: string,
  limit: number,
  keep: Keep
): Promise<void> {
  const length = request.headers['content-length']
  if (
    (length === undefined || length === '0') &&
    request.headers['transfer-encoding'] === undefined
  ) {
    return
  }
  await keep(bodyOf(request, limit), { field: 'file', filename: null, type })
}

async function receiveForm(
  request: IncomingMessage,
  upload: Upload,
  limit: number,
  keep: Keep
): Promise<void> {
  let form: InstanceType<typeof Busboy>
  try {
    form = new Busboy({
      headers: request.headers as { 'content-type': string },
      limits: { files: MAX_FILES, fields: MAX_FIELDS, fieldSize: MAX_FIELD_BYTES }
    })
  } catch (error) {
    throw hostError('HOST_BAD_REQUEST', [`The form cannot be read: ${(error as Error).message}`])
  }
  const writes: Promise<void>[] = []
  // Nothing is cut without a word.
  const refuse = (what: string) =>
    form.destroy(hostError('HOST_BAD_REQUEST', [`The form has ${what}`]))
  form.on('filesLimit', () => refuse(`more than ${MAX_FILES} files`))
  form.on('fieldsLimit', () => refuse(`more than ${MAX_FIELDS} fields`))
  form.on('field', (name: string, value: string, _nameCut: boolean, isCut: boolean) => {
    if (isCut) refuse(`a field of more than ${MAX_FIELD_BYTES} bytes`)
    Object.defineProperty(upload.fields, name, {
      value,
      enumerable: true,
      configurable: true,
      writable: true
    })
  })
  form.on(
    'file',
    (field: string, stream: Readable, filename: string, _code: string, type: string) => {
      const write = keep(stream, { field, filename: filename ?? null, type })
      // A failed write ends the whole form; the others are waited for below.
      write.catch((error) => form.destroy(error))
      writes.push(write)
    }
  )
  try {
    await pipeline(bodyOf(request, limit), form)
  } catch (error) {
    const results = await Promise.allSettled(writes)
    if (error instanceof HostError) throw error
    const tooLarge = results.find((result) => result.status === 'rejected')
    if (tooLarge?.status === 'rejected' && 'code' in (tooLarge.reason as object))
      throw tooLarge.reason
    throw hostError('HOST_BAD_REQUEST', [`The form breaks off: ${(error as Error).message}`])
  }
  await Promise.all(writes)
}
