import { crc32, deflateSync } from 'node:zlib'

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

/**
 * A black and white picture as a PNG file of one bit a pixel.
 *
 * @param rows - `height` rows, each of `ceil(width / 8)` bytes, the leftmost pixel in the highest bit
 */
export function maskPng(rows: Uint8Array, width: number, height: number): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  // One bit, grey, and the only ways there are to compress, filter and order.
  header.set([1, 0, 0, 0, 0], 8)
  const line = Math.ceil(width / 8)
  // Each row says first how it is filtered: not at all.
  const lines = Buffer.alloc((line + 1) * height)
  for (let y = 0; y < height; y += 1) {
    lines.set(rows.subarray(y * line, (y + 1) * line), y * (line + 1) + 1)
  }
  const pixels = deflateSync(lines)
  return Buffer.concat([
    Buffer.from(SIGNATURE),
    chunk('IHDR', header),
    chunk('IDAT', pixels),
    chunk('IEND', Buffer.alloc(0))
  ])
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const framed = Buffer.alloc(body.length + 8)
  framed.writeUInt32BE(data.length, 0)
  framed.set(body, 4)
  framed.writeUInt32BE(crc32(body), body.length + 4)
  return framed
}
