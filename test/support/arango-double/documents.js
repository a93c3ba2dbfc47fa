// Documents, and what is done with them: as ArangoDB does it, in memory.

import { Refusal } from './errors.js'
import { PlacedItems } from './placed-items.js'

const KEY = /^[A-Za-z0-9_\-:.@()+,=;$!*'%]{1,254}$/

let ticks = 1000

/** The characters of the documents that were written since the last look, by collection. */
let written = new Map()

export function nextTick() {
  return String(++ticks)
}

/** Gives what was counted, and begins anew. */
export function takeWritten() {
  const counted = Object.fromEntries(written)
  written = new Map()
  return counted
}

export function newCollection(name) {
  const placed = new PlacedItems()
  return { id: nextTick(), name, documents: new Map(), indexes: [], placed, revision: '0' }
}

export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Objects whose fields are in their order already, so that a large document is not ordered again for a small change. */
const ordered = new WeakSet()

/** Fields in another order than they came, those of objects in it too: a database promises none. */
function stored(value) {
  if (Array.isArray(value)) return value.map(stored)
  if (!isObject(value) || ordered.has(value)) return value
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const result = Object.fromEntries(fields.map(([name, inner]) => [name, stored(inner)]))
  ordered.add(result)
  return result
}

export function merged(before, patch, { keepNull, mergeObjects }) {
  const result = new Map(Object.entries(before))
  for (const [name, value] of Object.entries(patch)) {
    const old = result.get(name)
    if (value === null && !keepNull) result.delete(name)
    else if (mergeObjects && isObject(old) && isObject(value)) {
      result.set(name, merged(old, value, { keepNull, mergeObjects }))
    } else result.set(name, value)
  }
  return Object.fromEntries(result)
}

function fieldsOf(document) {
  if (!isObject(document)) throw new Refusal('invalidType')
  const { _id, _key, _rev, ...fields } = document
  return fields
}

function put(collection, key, fields) {
  const document = {
    _key: key,
    _id: `${collection.name}/${key}`,
    _rev: `_k${Number(nextTick()).toString(36)}---`,
    ...stored(fields)
  }
  restore(collection, key, document)
  const length = JSON.stringify(document).length
  written.set(collection.name, (written.get(collection.name) ?? 0) + length)
  return document
}

/** Has a document be as it is given; undefined takes it away. */
export function restore(collection, key, document) {
  collection.revision = nextTick()
  const before = collection.documents.get(key)
  if (before !== undefined) collection.placed.remove(before)
  if (document === undefined) collection.documents.delete(key)
  else {
    collection.documents.set(key, document)
    collection.placed.add(document)
  }
}

function freeKey({ documents }) {
  let key
  do key = nextTick()
  while (documents.has(key))
  return key
}

export function insert(collection, document, { overwriteMode, ...merging }) {
  const fields = fieldsOf(document)
  const given = document._key
  if (given !== undefined && (typeof given !== 'string' || !KEY.test(given))) {
    throw new Refusal('illegalKey')
  }
  const key = given ?? freeKey(collection)
  const before = collection.documents.get(key)
  if (before === undefined) return { document: put(collection, key, fields) }
  if (overwriteMode === 'ignore') return { document: null, oldRev: before._rev }
  if (overwriteMode === 'conflict') {
    throw new Refusal(
      'unique',
      `in index primary of type primary over '_key'; conflicting key: ${key}`
    )
  }
  const kept = overwriteMode === 'replace' ? {} : fieldsOf(before)
  const after = put(collection, key, merged(kept, fields, merging))
  return { document: after, oldRev: before._rev }
}

export function update(collection, document, { ignoreRevs, ...merging }) {
  const fields = fieldsOf(document)
  const before = found(collection, document, ignoreRevs)
  const after = put(collection, document._key, merged(fieldsOf(before), fields, merging))
  return { document: after, oldRev: before._rev }
}

export function remove(collection, document, { ignoreRevs }) {
  const before = found(collection, document, ignoreRevs)
  restore(collection, before._key, undefined)
  return before
}

function found(collection, document, ignoreRevs) {
  if (typeof document._key !== 'string') throw new Refusal('illegalKey')
  const before = collection.documents.get(document._key)
  if (before === undefined) throw new Refusal('documentNotFound')
  if (!ignoreRevs && document._rev !== undefined && document._rev !== before._rev) {
    throw new Refusal('conflict', '_rev values do not match')
  }
  return before
}
