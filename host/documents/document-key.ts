import { createHash } from 'node:crypto'
import { hostError } from '../errors.ts'
import { canonicalJson } from './canonical-json.ts'

const MAX_BYTES = 254
const LEGAL = /^[A-Za-z0-9_\-:.@()+,=;$!*'%]{1,254}$/
const ILLEGAL_CHARACTER = /[^A-Za-z0-9_\-:.@()+,=;$!*'%]/gu
const HASH_DIGITS = 12

/** Whether every driver can keep a document under it. */
export function isLegalKey(key: unknown): key is string {
  return typeof key === 'string' && LEGAL.test(key)
}

/** The key in `Movies/x` or `x`. Of an id of another collection, undefined. */
export function keyIn(collection: string, id: string): string | undefined {
  const prefix = `${collection}/`
  const key = id.startsWith(prefix) ? id.slice(prefix.length) : id
  return isLegalKey(key) ? key : undefined
}

/**
 * The key that a document asks for in `_key`, or in `_id` alone; undefined when the store shall choose one.
 *
 * @throws HostError HOST_DOCUMENT_INVALID when no document can have it
 */
export function askedKey(
  collection: string,
  { _key, _id }: { _key?: unknown; _id?: unknown }
): string | undefined {
  const asked = _key ?? _id
  if (asked === undefined || asked === null) return undefined
  const key =
    typeof asked !== 'string' ? undefined : _key === asked ? asked : keyIn(collection, asked)
  if (isLegalKey(key)) return key
  const [field, form] =
    asked === _key
      ? ['_key', "1 to 254 of A-Z a-z 0-9 _-:.@()+,=;$!*'%"]
      : ['_id', `${collection}/<key>`]
  throw hostError('HOST_DOCUMENT_INVALID', [
    `${field} is ${JSON.stringify(asked).slice(0, 300)}, not ${form}`
  ])
}

/**
 * A value as a part of a key. A string of legal characters and spaces stays readable, with `_` for each
 * space; every other value gets a hash, so that what is cut away still tells two of them apart.
 */
export function keyPart(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  const readable = text.replaceAll(' ', '_')
  if (typeof value === 'string' && readable !== '' && readable.search(ILLEGAL_CHARACTER) === -1) {
    return readable
  }
  return `${readable.replace(ILLEGAL_CHARACTER, '_').slice(0, 60)}.${hashOf(value)}`
}

/** Cuts a key of legal characters that is too long; `identity` is what its hash is made of. */
export function fitKey(key: string, identity: unknown): string {
  return key.length <= MAX_BYTES ? key : hashedKey(key, identity)
}

/** A key that no other identity has. */
export function hashedKey(key: string, identity: unknown): string {
  return `${key.slice(0, MAX_BYTES - HASH_DIGITS - 1)}.${hashOf(identity)}`
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex').slice(0, HASH_DIGITS)
}
