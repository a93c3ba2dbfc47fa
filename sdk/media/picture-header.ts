import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { ExpertError } from '../errors.ts'
import { loadSharp } from './load-sharp.ts'

export interface PictureOptions {
  /** How messages name the picture. */
  name: string
  /** Media type as the sender gave it. */
  type?: string | null
  maxPixels: number
}

type Format = 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff' | 'heif'

const taken = 'a JPEG, PNG, WebP, GIF, TIFF or AVIF'

/**
 * Reads what a picture says of itself, without decoding it.
 *
 * Its first bytes choose whether sharp sees it at all, so that none of the loaders which follow
 * references or run scripts (SVG, PDF, …) is started on foreign input.
 *
 * @returns the format, as a file extension
 * @throws ExpertError EXP_MEDIA_UNREADABLE, EXP_MEDIA_TOO_LARGE
 */
export async function readPictureHeader(
  source: string | Uint8Array,
  { name, type = null, maxPixels }: PictureOptions
): Promise<string> {
  const head = typeof source === 'string' ? await readHead(source, name) : source.subarray(0, 1024)
  const format = formatOf(head)
  if (format === null) throw unreadable(name, whatItIs(head, type))
  const sharp = await loadSharp()
  const found = await sharp(source, { limitInputPixels: false })
    .metadata()
    .catch((cause) => {
      throw unreadable(name, `is a ${format} whose header cannot be read`, cause)
    })
  if (found.format !== format) throw unreadable(name, `is ${found.format} that begins as ${format}`)
  if (found.width * found.height > maxPixels) {
    const size = `${found.width} × ${found.height} = ${found.width * found.height} pixels`
    throw new ExpertError('EXP_MEDIA_TOO_LARGE', `${name} has ${size}, wanted at most ${maxPixels}`)
  }
  return format === 'heif' && found.compression === 'av1' ? 'avif' : format
}

async function readHead(path: string, name: string): Promise<Uint8Array> {
  // Without O_NONBLOCK, opening a pipe waits for its other end.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)
  const handle = await open(path, flags).catch((cause) => {
    throw unreadable(name, `cannot be opened (${cause.code})`, cause)
  })
  try {
    if (!(await handle.stat()).isFile()) throw unreadable(name, 'is not a regular file')
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(1024), 0, 1024, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

const heifBrands = new Set(['avif', 'avis', 'heic', 'heix', 'heim', 'heis', 'mif1', 'msf1'])

function formatOf(head: Uint8Array): Format | null {
  const text = Buffer.from(head.subarray(0, 16)).toString('latin1')
  if (text.startsWith('\xff\xd8\xff')) return 'jpeg'
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'png'
  if (/^GIF8[79]a/.test(text)) return 'gif'
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') return 'webp'
  if (text.slice(4, 8) === 'ftyp' && heifBrands.has(text.slice(8, 12))) return 'heif'
  // The second of each pair is BigTIFF.
  if (['II*\0', 'II+\0', 'MM\0*', 'MM\0+'].includes(text.slice(0, 4))) return 'tiff'
  return null
}

function whatItIs(head: Uint8Array, type: string | null): string {
  const text = Buffer.from(head).toString('latin1').toLowerCase()
  if (text.includes('<svg') || type?.toLowerCase().startsWith('image/svg')) {
    return 'is SVG, and SVG is not taken'
  }
  if (head.length === 0) return 'is empty'
  if (type === null) return 'is no picture'
  const shown = type.slice(0, 100)
  return /^image\//i.test(type) ? `says it is ${shown} and is no such picture` : `is ${shown}`
}

function unreadable(name: string, found: string, cause?: unknown): ExpertError {
  const message = `${name} ${found}, wanted an image: ${taken}`
  return new ExpertError('EXP_MEDIA_UNREADABLE', message, { cause })
}
