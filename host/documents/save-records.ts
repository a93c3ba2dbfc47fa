import type { ImageToken, TokenRecord } from '@nebula-experts/sdk'
import type { DocumentStores } from './document-stores.ts'
import type { DocumentFields } from './stored-document.ts'

/**
 * Saves what an expert answered: records of movies as tokens, records of pictures as image tokens. One
 * that does not say whose it is belongs to the expert.
 * @returns the documents' ids
 * @throws HostError HOST_DOCUMENT_INVALID, and those of the stores
 */
export async function saveRecords(
  { tokens }: DocumentStores,
  expert: string,
  records: DocumentFields[]
): Promise<string[]> {
  const owned = records.map((record) => ({ ...record, expert: record.expert ?? expert }))
  const ofMovies = owned.filter((record) => 'movie_id' in record)
  const ofPictures = owned.filter((record) => !('movie_id' in record))
  const saved = [
    ...(ofMovies.length === 0 ? [] : await tokens.save(ofMovies as unknown as TokenRecord[])),
    ...(ofPictures.length === 0 ? [] : await tokens.saveImages(ofPictures.map(imageToken)))
  ]
  return saved
}

/** What the records of pictures call otherwise than the collection does. */
function imageToken(record: DocumentFields): ImageToken {
  const { image_id: id, meta_label: labelMeta, ...fields } = record
  const named = id === undefined ? {} : { id, type: 'image' }
  const meta = labelMeta === undefined ? {} : { label_meta: labelMeta }
  return { ...named, ...fields, ...meta } as unknown as ImageToken
}
