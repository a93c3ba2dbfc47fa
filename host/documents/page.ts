import { hostError } from '../errors.ts'
import { isLegalKey } from './document-key.ts'
import type { PageQuery, StoredDocument } from './stored-document.ts'

/**
 * The key behind which a page begins and how many documents to ask for: one more than it has, which
 * tells whether another page follows.
 *
 * @throws HostError HOST_DOCUMENT_INVALID for a cursor that no page gave
 */
export function pageStart({ limit, cursor = '' }: PageQuery): { after: string; count: number } {
  if (cursor !== '' && !isLegalKey(cursor)) {
    throw hostError('HOST_DOCUMENT_INVALID', [
      `cursor is ${JSON.stringify(cursor).slice(0, 300)}, not the next of a page`
    ])
  }
  return { after: cursor, count: sizeOf(limit) + 1 }
}

/** The page of what was found, and the cursor of the next. */
export function pageOf(
  found: StoredDocument[],
  { limit }: PageQuery
): { documents: StoredDocument[]; next: string | undefined } {
  const documents = found.slice(0, sizeOf(limit))
  const next = found.length > documents.length ? documents.at(-1)?._key : undefined
  return { documents, next }
}

function sizeOf(limit: number): number {
  return Math.max(1, Math.min(Math.trunc(limit) || 1, 100_000))
}
