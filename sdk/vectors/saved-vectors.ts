import type { StoredDocument, Tokens } from '../documents.ts'
import type { ImageToken } from '../records.ts'
import { decodeVector, encodeVector } from './vector-code.ts'
import { type Neighbour, VectorIndex } from './vector-index.ts'

/** How many tokens are read with one question: what carries them holds the host up for some milliseconds. */
const PAGE = 200
/** How many are saved with one question. */
const GROUP = 100

/** A vector to be saved. */
export interface NewVector {
  /** Of what it is made; saving it again writes over it. */
  id: string
  type: 'image' | 'frame' | 'text'
  /** Of unit length. */
  vector: Float32Array
  /** What it was made of, to be shown with what is alike. */
  text?: string
}

/** Whose vectors they are, and what made them. */
export interface VectorOwner {
  /** Name of the expert. */
  expert: string
  /** Changes with all that changes vectors: those of another are not compared. */
  model: string
  dimensions: number
}

/**
 * Vectors of an expert among the host's `ImageTokens`: one token for each, with `expert_meta` of
 * `{ model, embedding, text? }`. All instances save there, so all of them find what any has saved.
 *
 * A copy of all vectors is held in memory. Before each answer the store is asked whether anything has changed; only then all
 * tokens of the expert are listed, and those of a new revision decoded. So it is true whoever has saved meanwhile.
 */
export class SavedVectors {
  readonly #tokens: Tokens
  readonly #owner: VectorOwner
  readonly #index: VectorIndex
  /** Of the collection, when it was read last. */
  #revision: string | null = null
  #reading: Promise<void> | null = null
  #nextReading: Promise<void> | null = null

  constructor(tokens: Tokens, owner: VectorOwner) {
    this.#tokens = tokens
    this.#owner = owner
    this.#index = new VectorIndex(owner.dimensions)
  }

  /** The token that a vector is kept as. */
  tokenOf({ id, type, vector, text }: NewVector): Partial<ImageToken> {
    const { expert, model } = this.#owner
    const about = text === undefined ? {} : { text }
    return { id, type, expert, expert_meta: { model, embedding: encodeVector(vector), ...about } }
  }

  /**
   * Saves vectors; of those with one id the last counts. It may be repeated.
   *
   * @returns the token's `_id` by the vector's id
   */
  async save(vectors: readonly NewVector[]): Promise<Map<string, string>> {
    // The store answers one id for each document, so each document is named once.
    const byId = [...new Map(vectors.map((vector) => [vector.id, vector])).values()]
    const saved = new Map<string, string>()
    for (let from = 0; from < byId.length; from += GROUP) {
      const group = byId.slice(from, from + GROUP)
      const ids = await this.#tokens.saveImages(group.map((vector) => this.tokenOf(vector)))
      for (const [place, { id }] of group.entries()) saved.set(id, ids[place]!)
    }
    return saved
  }

  /**
   * The vectors that are most like one, of all whose saving had ended when this was called.
   *
   * @param vector - of unit length
   */
  async similar(
    vector: Float32Array,
    options: { topK: number; minScore?: number | undefined }
  ): Promise<Neighbour[]> {
    await this.#readAll()
    return this.#index.nearest(vector, options)
  }

  /** Several who ask meanwhile share the next reading; never one that has begun, which may miss what they have saved. */
  #readAll(): Promise<void> {
    if (this.#reading === null) {
      this.#reading = this.#read().finally(() => {
        this.#reading = null
      })
      return this.#reading
    }
    const ended = this.#reading.catch(() => {})
    this.#nextReading ??= ended.then(() => {
      this.#nextReading = null
      return this.#readAll()
    })
    return this.#nextReading
  }

  async #read(): Promise<void> {
    const { expert } = this.#owner
    // Before the listing: what is saved during it is another revision.
    const revision = await this.#tokens.revision('ImageTokens')
    if (revision === this.#revision) return
    const keys = new Set<string>()
    let cursor: string | undefined
    do {
      const page = await this.#tokens.list({
        collection: 'ImageTokens',
        expert,
        limit: PAGE,
        ...(cursor === undefined ? {} : { cursor })
      })
      for (const token of page.documents) if (this.#take(token)) keys.add(token._key)
      cursor = page.next
    } while (cursor !== undefined)
    this.#index.keepOnly(keys)
    this.#revision = revision
  }

  /** Whether it is a vector that can be compared. */
  #take(token: StoredDocument): boolean {
    const { _key: key, _rev: revision, id, type } = token
    if (this.#index.has(key, revision)) return true
    const { model, embedding, text } = (token.expert_meta ?? {}) as Record<string, unknown>
    if (model !== this.#owner.model || typeof id !== 'string') return false
    const numbers = decodeVector(embedding, this.#owner.dimensions)
    if (numbers === undefined) return false
    const about = { type: String(type), text: typeof text === 'string' ? text : null }
    this.#index.put({ key, revision, id, ...about }, numbers)
    return true
  }
}
