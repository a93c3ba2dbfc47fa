import { type DocumentFields, isObject } from './stored-document.ts'

/**
 * What a stored document becomes when `patch` is written over it: objects are merged deeply, all else is
 * replaced, a null is kept as null. Neither argument is changed.
 */
export function mergeDocuments(stored: DocumentFields, patch: DocumentFields): DocumentFields {
  // A Map, because a field may be called `__proto__`.
  const merged = new Map(Object.entries(stored))
  for (const [field, value] of Object.entries(patch)) {
    const before = merged.get(field)
    merged.set(field, isObject(before) && isObject(value) ? mergeDocuments(before, value) : value)
  }
  return Object.fromEntries(merged)
}
