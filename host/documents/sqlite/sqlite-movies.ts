import { hostError } from '../../errors.ts'
import { askedKey, keyIn } from '../document-key.ts'
import { mergeDocuments } from '../merge-documents.ts'
import type { MovieQuery, MovieStore } from '../movie-store.ts'
import { pageOf, pageStart } from '../page.ts'
import { checkCollectionName, layered, MAX_SCENE_DOCUMENTS } from '../scene-of.ts'
import {
  collectionNames,
  type DocumentFields,
  fieldsOf,
  type StoredDocument
} from '../stored-document.ts'
import { movieIdOf } from '../token-documents.ts'
import { type DocumentChange, documentOf, type SqliteDocuments } from './sqlite-documents.ts'

const COLLECTION = collectionNames.movies

/** Movies in an SQLite file. */
export class SqliteMovies implements MovieStore {
  readonly #documents: SqliteDocuments

  constructor(documents: SqliteDocuments) {
    this.#documents = documents
  }

  async create(movie: DocumentFields): Promise<StoredDocument> {
    const fields = fieldsOf(movie, 'movie')
    const key = askedKey(COLLECTION, movie)
    const created = await this.#write(key, (stored) => {
      if (stored !== undefined) {
        throw hostError('HOST_DOCUMENT_EXISTS', [`${COLLECTION}/${key}`])
      }
      return fields
    })
    return created as StoredDocument
  }

  async get(id: string): Promise<StoredDocument | undefined> {
    const key = keyIn(COLLECTION, id)
    return key === undefined ? undefined : this.#documents.get(COLLECTION, key)
  }

  async save(movie: DocumentFields): Promise<StoredDocument> {
    const fields = fieldsOf(movie, 'movie')
    const saved = await this.#write(askedKey(COLLECTION, movie), (stored) =>
      stored === undefined ? fields : mergeDocuments(stored, fields)
    )
    return saved as StoredDocument
  }

  async update(id: string, patch: DocumentFields): Promise<StoredDocument | undefined> {
    const fields = fieldsOf(patch, 'patch')
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    return this.#write(key, (stored) =>
      stored === undefined ? undefined : mergeDocuments(stored, fields)
    )
  }

  async list(query: MovieQuery) {
    const { status, file, pipeline_id } = query
    const { after, count } = pageStart(query)
    const equal = { status, file, pipeline_id }
    const found = await this.#documents.find({ collection: COLLECTION, equal, after, limit: count })
    return pageOf(found, query)
  }

  async ids(query: MovieQuery) {
    const { documents, next } = await this.list(query)
    return { ids: documents.map(({ _id }) => _id), next }
  }

  async scene(
    collection: string,
    movieId: string,
    sceneElement: number
  ): Promise<StoredDocument | undefined> {
    checkCollectionName(collection)
    const equal = { movie_id: movieIdOf(movieId), scene_element: sceneElement }
    const limit = MAX_SCENE_DOCUMENTS
    return layered(await this.#documents.find({ collection, equal, limit }))
  }

  async #write(
    key: string | undefined,
    fieldsFor: (stored: DocumentFields | undefined) => DocumentFields | undefined
  ): Promise<StoredDocument | undefined> {
    const decide: DocumentChange['decide'] = (stored) => {
      const fields = fieldsFor(key === undefined ? undefined : stored(key))
      return fields === undefined ? undefined : { key, fields }
    }
    const keys = key === undefined ? [] : [key]
    const [written] = await this.#documents.write({ collection: COLLECTION, keys, decide })
    return written === undefined ? undefined : documentOf(written)
  }
}
