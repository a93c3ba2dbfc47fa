import { open, unlink } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { HostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import type { AnswerHead, WireError } from '../runtime/messages.ts'
import { InvalidRequest } from './invalid-request.ts'

/**
 * Answers with JSON text, past Fastify's own serialising: it would add a charset that the seed's
 * clients never saw, and cost a tenth of a short call.
 */
export function sendText(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent || response.destroyed) return
  response.statusCode = status
  response.setHeader('content-type', 'application/json')
  response.end(text)
}

export function sendValue(response: ServerResponse, status: number, value: unknown): void {
  sendText(response, status, JSON.stringify(value))
}

/** An error's body: FastAPI's `detail`, and beside it a code that stays and an id to find it in the log. */
export interface ErrorBody {
  detail: unknown
  code: string
  request_id: string
}

/** Answers with any error. What is not meant for callers becomes `Internal Server Error`. */
export function sendError(response: ServerResponse, requestId: string, error: unknown): void {
  const { status, detail, code, extra } = describe(error)
  const { retry_after: retryAfter = status === 503 ? RETRY_SECONDS : null, allow, ...shown } = extra
  if (retryAfter !== null && !response.headersSent) {
    response.setHeader('retry-after', String(retryAfter))
  }
  if (allow !== undefined && !response.headersSent) response.setHeader('allow', String(allow))
  sendValue(response, status, { detail, code, request_id: requestId, ...shown })
}

/** When to come back, where nothing better is known. */
const RETRY_SECONDS = 5

function describe(error: unknown): {
  status: number
  detail: unknown
  code: string
  extra: Record<string, unknown>
} {
  if (error instanceof InvalidRequest) {
    return { status: 422, detail: error.issues, code: 'HOST_INVALID', extra: {} }
  }
  if (error instanceof HostError) {
    return { status: error.statusCode, detail: error.message, code: error.code, extra: error.extra }
  }
  return { status: 500, detail: 'Internal Server Error', code: 'HOST_INTERNAL', extra: {} }
}

/** Where an error is answered, and noted under the id that the caller gets. */
interface Failing {
  response: ServerResponse
  id: string
  log: Logger
}

/** Answers with any error; what a caller is not told stands in the log. */
export function failRequest({ response, id, log }: Failing, error: unknown): void {
  const isTold = error instanceof HostError || error instanceof InvalidRequest
  // Of a caller who has hung up, what it sent breaks off: that is no fault of the host.
  if (!isTold && !response.destroyed) {
    log.error({ request_id: id, err: error }, `a request failed: ${(error as Error).message}`)
  }
  sendError(response, id, error)
}

/** Answers with the error of a run. */
export function sendRunError(
  { response, id, log }: Failing,
  { jobId, error }: { jobId: string; error: WireError },
  showsJob: boolean
): void {
  if (!error.exposed) {
    const { code, message, stack } = error
    log.error({ request_id: id, job_id: jobId, code, stack }, `a run failed: ${message}`)
  }
  if (error.statusCode === 503 && !response.headersSent) {
    response.setHeader('retry-after', '1')
  }
  sendValue(response, error.statusCode, {
    detail: error.exposed ? error.message : 'Internal Server Error',
    code: error.code,
    request_id: id,
    ...(showsJob ? { jobId } : {})
  })
}

/** Answers with what `api.reply()` gave: JSON with a status and type, or a file. */
export async function sendReply(
  response: ServerResponse,
  text: string,
  head: AnswerHead
): Promise<void> {
  response.statusCode = head.status
  response.setHeader('content-type', head.type ?? 'application/json')
  if (head.file === null) {
    response.end(text)
    return
  }
  const { path, owned } = head.file
  try {
    // Opened first: a failed pipeline takes the response with it, and the caller would not be told.
    const file = await open(path)
    await pipeline(file.createReadStream(), response)
  } catch (error) {
    if (!response.headersSent) throw error
    response.destroy()
  } finally {
    if (owned) await unlink(path).catch(() => {})
  }
}
