import { hostError } from '../errors.ts'
import type { StoredDocument } from './stored-document.ts'

/** How many documents of one scene element are laid over each other. */
export const MAX_SCENE_DOCUMENTS = 1000

/**
 * Refuses what is no name of a collection, and those of the database itself, among which are its users.
 *
 * @throws HostError HOST_DOCUMENT_INVALID
 */
export function checkCollectionName(name: string): void {
  if (/^[A-Za-z][A-Za-z0-9_-]{0,255}$/.test(name)) return
  const found = JSON.stringify(name).slice(0, 300)
  throw hostError('HOST_DOCUMENT_INVALID', [
    `collection is ${found}, not a letter and then letters, digits, _ and -`
  ])
}

/** Documents laid over each other, the later over the earlier; undefined of none. */
export function layered(documents: readonly StoredDocument[]): StoredDocument | undefined {
  if (documents.length === 0) return undefined
  // Not by assignment: a field may be called `__proto__`.
  return Object.fromEntries(new Map(documents.flatMap(Object.entries))) as StoredDocument
}
