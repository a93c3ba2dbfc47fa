import { createHash } from 'node:crypto'
import { basename, extname } from 'node:path'

const PICTURES = new Set(
  ['jpg', 'jpeg', 'png', 'webp', 'gif', 'bmp', 'tif', 'tiff', 'avif', 'heic'].map(
    (end) => `.${end}`
  )
)

/** The same address is the same movie: a signed 64-bit number in its text, as the system's other tools make them. */
export function movieKeyOf(url: string): string {
  return createHash('sha256').update(url).digest().readBigInt64BE().toString()
}

/** Name of the file at an address, without its ending. */
export function movieNameOf(url: string): string {
  const path = pathOf(url)
  return basename(path, extname(path))
}

/** Whether the file at an address is one picture, by its name. */
export function namesPicture(url: string): boolean {
  return /^data:image\//i.test(url) || PICTURES.has(extname(pathOf(url)).toLowerCase())
}

function pathOf(url: string): string {
  return url.split(/[?#]/, 1)[0] as string
}
