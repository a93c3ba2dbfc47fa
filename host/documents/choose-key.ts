import { hostError } from '../errors.ts'
import type { DocumentFields } from './stored-document.ts'
import type { PlannedDocument } from './token-documents.ts'

/**
 * The key under which a planned document is written: the one where it is already, else the first that is
 * free. So who had to step aside once finds its own again, also when the first key is free by then.
 *
 * @throws HostError HOST_DOCUMENT_EXISTS when others have all of its keys
 */
export function chooseKey<T extends DocumentFields>(
  { keys, owns }: PlannedDocument,
  stored: (key: string) => T | undefined
): { key: string; own: T | undefined } {
  let free: string | undefined
  for (const key of keys) {
    const found = stored(key)
    if (found === undefined) free ??= key
    else if (owns(found)) return { key, own: found }
  }
  if (free === undefined) throw hostError('HOST_DOCUMENT_EXISTS', [keys.at(-1) as string])
  return { key: free, own: undefined }
}
