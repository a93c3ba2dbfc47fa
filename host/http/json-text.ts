import { isUtf8 } from 'node:buffer'

type Decode = (bytes: Buffer) => string | undefined

/**
 * The text of a JSON body in the encoding that Python's `json.detect_encoding` finds: by byte order
 * mark, which is taken away, or by where the zeros are; UTF-8 if nothing speaks for another.
 *
 * @returns undefined when the bytes are no text in that encoding
 */
export function jsonText(bytes: Buffer): string | undefined {
  const { decode, mark } = detectEncoding(bytes)
  return decode(mark === 0 ? bytes : bytes.subarray(mark))
}

function detectEncoding(bytes: Uint8Array): { decode: Decode; mark: number } {
  // Not taken apart as a list: that walks an iterator, on every call.
  const a = bytes[0]
  const b = bytes[1]
  const c = bytes[2]
  const d = bytes[3]
  // UTF-32 first: its little-endian mark begins with that of UTF-16.
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return { decode: utf32('BE'), mark: 4 }
  if (a === 0xff && b === 0xfe && c === 0 && d === 0) return { decode: utf32('LE'), mark: 4 }
  if (a === 0xfe && b === 0xff) return { decode: utf16be, mark: 2 }
  if (a === 0xff && b === 0xfe) return { decode: utf16le, mark: 2 }
  if (a === 0xef && b === 0xbb && c === 0xbf) return { decode: utf8, mark: 3 }
  if (bytes.length === 2 || bytes.length >= 4) {
    const wide = bytes.length >= 4
    if (a === 0) return { decode: wide && b === 0 ? utf32('BE') : utf16be, mark: 0 }
    if (b === 0) return { decode: wide && c === 0 && d === 0 ? utf32('LE') : utf16le, mark: 0 }
  }
  return { decode: utf8, mark: 0 }
}

const utf8: Decode = (bytes) => (isUtf8(bytes) ? bytes.toString('utf8') : undefined)

// As in Python, halves of surrogate pairs may stand alone in UTF-16 and UTF-32.
const utf16le: Decode = (bytes) => (bytes.length % 2 === 0 ? bytes.toString('utf16le') : undefined)

const utf16be: Decode = (bytes) =>
  bytes.length % 2 === 0 ? Buffer.from(bytes).swap16().toString('utf16le') : undefined

function utf32(order: 'BE' | 'LE'): Decode {
  return (bytes) => {
    if (bytes.length % 4 !== 0) return undefined
    const chars: string[] = []
    for (let i = 0; i < bytes.length; i += 4) {
      const point = order === 'BE' ? bytes.readUInt32BE(i) : bytes.readUInt32LE(i)
      if (point > 0x10ffff) return undefined
      chars.push(String.fromCodePoint(point))
    }
    return chars.join('')
  }
}
