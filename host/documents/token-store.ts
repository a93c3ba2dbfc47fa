import type { ImageToken, TokenRecord } from '@nebula-experts/sdk'
import type { PageQuery, StoredDocument } from './stored-document.ts'

/** Which tokens a listing gives; a field that is absent is not asked about, null asks for null. */
export interface TokenQuery extends PageQuery {
  collection: 'Tokens' | 'ImageTokens'
  /** Of `ImageTokens`: those of the movie's frames. */
  movie_id?: string | undefined
  /** The `id` of `ImageTokens`. */
  image_id?: string | undefined
  expert?: string | null | undefined
  label?: string | number | null | undefined
  /** Of `ImageTokens`: only beside `movie_id`. */
  scene_element?: number | undefined
}

/**
 * What experts saw in movies and pictures. A driver passes `host/test/token-store-contract.ts`.
 *
 * A key is made of what a token says: `<movie>:<scene element>:<scene>:<label>`, with `_` for spaces, so
 * that saving again writes the same document. What a key cannot hold is replaced, with a hash behind it.
 * When the document of a key belongs to another expert, `:<expert>` is added; when it belongs to another
 * token altogether, a hash: an expert always finds its own again, and never writes into another's.
 *
 * What is saved must not be changed before the call resolves. Errors are those of `MovieStore`. A call that failed may have written some of its tokens: it can be
 * repeated as it is.
 */
export interface TokenStore {
  /**
   * Saves tokens of movies. Those of one call with the same movie, places, label and expert are one
   * document, see `planTokens`; the stored document is merged with it, lists replaced.
   * @returns the `_id` of each document, in the order of its first token
   * @throws HostError HOST_DOCUMENT_INVALID when a field cannot be of a token; nothing is saved then
   */
  save(entries: readonly TokenRecord[]): Promise<string[]>
  /** Saves tokens of pictures and frames, see `planImageTokens`; else like `save`. */
  saveImages(entries: readonly ImageToken[]): Promise<string[]>
  /** A page of tokens, by key; like `MovieStore.list`. */
  list(query: TokenQuery): Promise<{ documents: StoredDocument[]; next: string | undefined }>
  /**
   * A text that is another one whenever something in the collection may have changed since it was asked for. Asked
   * for before a listing, it says later whether that still holds.
   */
  revision(collection: TokenQuery['collection']): Promise<string>
}
