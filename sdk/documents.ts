import { encodeAnswer } from './encode-answer.ts'
import type { ImageToken, TokenRecord } from './records.ts'

/** A document as it is kept: `_id` is `<collection>/<_key>`, `_rev` is another after each write. */
export interface StoredDocument {
  readonly _id: string
  readonly _key: string
  readonly _rev: string
  readonly [field: string]: unknown
}

/** A page of a listing; `next` is the `cursor` of the page that follows, and absent on the last. */
export interface DocumentPage {
  documents: StoredDocument[]
  next?: string
}

/** Sends a question to the host and gives its answer. @throws ExpertError with the host's reason */
export type Ask = (what: string, ...args: unknown[]) => Promise<unknown>

/**
 * The documents of movies, which the host keeps for all experts. Ids are `Movies/<key>` or the bare key.
 *
 * Each method rejects with an error of code `HOST_DOCUMENTS_FAILED` when the store does not work, and
 * `HOST_DOCUMENT_INVALID` for what no document can be.
 */
export class Movies {
  readonly #ask: Ask

  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** The movie, or undefined when there is none. */
  async get(id: string): Promise<StoredDocument | undefined> {
    return ((await this.#ask('movies.get', id)) ?? undefined) as StoredDocument | undefined
  }

  /** Writes a new movie, under its `_key` or one that is chosen. Rejects with `HOST_DOCUMENT_EXISTS`. */
  create(movie: Record<string, unknown>): Promise<StoredDocument> {
    return this.#ask('movies.create', movie) as Promise<StoredDocument>
  }

  /** Writes a movie over the one of its `_key`, or as a new one: objects are merged deeply, all else replaced. */
  save(movie: Record<string, unknown>): Promise<StoredDocument> {
    return this.#ask('movies.save', movie) as Promise<StoredDocument>
  }

  /** Merges fields into a movie that is there; undefined when there is none. */
  async update(id: string, patch: Record<string, unknown>): Promise<StoredDocument | undefined> {
    const updated = await this.#ask('movies.update', id, patch)
    return (updated ?? undefined) as StoredDocument | undefined
  }

  /** A page of the movies, by key; at most `limit` (default 100, at most 1,000). */
  list(
    query: {
      status?: string
      file?: string
      pipeline_id?: string
      limit?: number
      cursor?: string
    } = {}
  ): Promise<DocumentPage> {
    return this.#ask('movies.list', query) as Promise<DocumentPage>
  }

  /** What another collection knows of one scene element, its rows laid over each other; or undefined. */
  async scene(
    collection: string,
    movieId: string,
    sceneElement: number
  ): Promise<StoredDocument | undefined> {
    const scene = await this.#ask('movies.scene', collection, movieId, sceneElement)
    return (scene ?? undefined) as StoredDocument | undefined
  }
}

/**
 * What experts saw, which the host keeps. Saving again writes the same documents; a record without
 * `expert` belongs to the expert that saves it. Errors are those of `Movies`.
 */
export class Tokens {
  readonly #ask: Ask

  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** Saves one or many tokens of movies; boxes of one label are one document. Gives the documents' `_id`s. */
  save(records: Partial<TokenRecord> | Partial<TokenRecord>[]): Promise<string[]> {
    return this.#ask('tokens.save', [records].flat()) as Promise<string[]>
  }

  /** Saves one or many tokens of pictures and frames. Gives the documents' `_id`s. */
  saveImages(tokens: Partial<ImageToken> | Partial<ImageToken>[]): Promise<string[]> {
    return this.#ask('tokens.saveImages', [tokens].flat()) as Promise<string[]>
  }

  /**
   * Saves what an answer of `predict` or `predictImage` holds, as a request with `output: "db"` does.
   * @returns the documents' `_id`s; null when its `result` is no list of records, and nothing was saved
   */
  saveAnswer(answer: unknown): Promise<string[] | null> {
    // Through the encoder of answers: it knows values that JSON does not.
    return this.#ask('tokens.saveAnswer', JSON.parse(encodeAnswer(answer))) as Promise<
      string[] | null
    >
  }

  /** A page of tokens, by key; at most `limit` (default 100, at most 1,000). */
  list(
    query: {
      /** Default: `Tokens`. */
      collection?: 'Tokens' | 'ImageTokens'
      movie_id?: string
      image_id?: string
      expert?: string | null
      label?: string | number | null
      scene_element?: number
      limit?: number
      cursor?: string
    } = {}
  ): Promise<DocumentPage> {
    return this.#ask('tokens.list', query) as Promise<DocumentPage>
  }

  /**
   * A text that is another one whenever something in the collection may have changed. Asked for before a listing,
   * it says later, at the cost of one short question, whether that still holds.
   *
   * @param collection - default: `Tokens`
   */
  revision(collection: 'Tokens' | 'ImageTokens' = 'Tokens'): Promise<string> {
    return this.#ask('tokens.revision', collection) as Promise<string>
  }
}
