import { ExpertError } from '../errors.ts'
import { checkBytes, type MediaSource } from './media-source.ts'
import { shownUrl } from './shown-url.ts'

/** @throws ExpertError EXP_MEDIA_TOO_LARGE, EXP_MEDIA_UNREADABLE */
export function openData(url: string, options: { maxBytes: number }): MediaSource {
  const name = shownUrl(url)
  const comma = url.indexOf(',')
  if (comma === -1) throw unreadable(`${name} has no data, wanted data:image/…;base64,…`)
  const head = url.slice(url.indexOf(':') + 1, comma)
  const base64 = /;\s*base64\s*$/i.test(head)
  const length = url.length - comma - 1
  // A byte takes at most three characters: checked before anything of that size is copied. What
  // passes here is counted when it is saved.
  if (length > options.maxBytes * 3 + 3) checkBytes(name, Math.ceil(length / 3), options.maxBytes)
  const text = url.slice(comma + 1)
  const bytes = base64 ? decodeBase64(text, name) : Buffer.from(unescapeBytes(text), 'latin1')
  const type = head.split(';')[0]!.trim()
  return { name, type: type || null, body: once(bytes), close: () => {} }
}

function decodeBase64(text: string, name: string): Buffer {
  const plain = unescapeBytes(text).replace(/\s+/g, '')
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(plain)) {
    throw unreadable(`${name} holds something else than base64, wanted base64`)
  }
  return Buffer.from(plain, 'base64')
}

// Bytes, not text: decodeURIComponent would refuse what is no UTF-8.
function unescapeBytes(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

function unreadable(message: string): ExpertError {
  return new ExpertError('EXP_MEDIA_UNREADABLE', message)
}
