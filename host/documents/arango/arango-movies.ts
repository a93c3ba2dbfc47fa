import { hostError } from '../../errors.ts'
import { askedKey, keyIn } from '../document-key.ts'
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
import { type ArangoDocuments, arangoErrors, type Outcome, refusal } from './arango-documents.ts'
import { type ArangoFilter, listing, sceneDocuments } from './arango-statements.ts'

const COLLECTION = collectionNames.movies

/** Movies in ArangoDB. */
export class ArangoMovies implements MovieStore {
  readonly #documents: ArangoDocuments

  constructor(documents: ArangoDocuments) {
    this.#documents = documents
  }

  async create(movie: DocumentFields): Promise<StoredDocument> {
    const fields = fieldsOf(movie, 'movie')
    const key = askedKey(COLLECTION, movie)
    const created = await this.#insist(() => this.#insert(key, fields))
    if (created === undefined) {
      throw hostError('HOST_DOCUMENT_EXISTS', [`${COLLECTION}/${key}`])
    }
    return created
  }

  async get(id: string): Promise<StoredDocument | undefined> {
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    return (await this.#documents.lookUp(COLLECTION, [key])).get(key)
  }

  async save(movie: DocumentFields): Promise<StoredDocument> {
    const fields = fieldsOf(movie, 'movie')
    const key = askedKey(COLLECTION, movie)
    const saved = await this.#insist(() =>
      key === undefined
        ? this.#insert(key, fields)
        : this.#documents.insertOrMerge(COLLECTION, [{ ...fields, _key: key }])
    )
    return saved as StoredDocument
  }

  async update(id: string, patch: DocumentFields): Promise<StoredDocument | undefined> {
    const fields = fieldsOf(patch, 'patch')
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    return this.#insist(() => this.#documents.merge(COLLECTION, [{ ...fields, _key: key }]))
  }

  async list(query: MovieQuery) {
    const page = pageStart(query)
    const found = await this.#documents.query<StoredDocument>(
      listing(COLLECTION, filterOf(query), page)
    )
    return pageOf(found, query)
  }

  async ids(query: MovieQuery) {
    const page = { ...pageStart(query), only: 'ids' as const }
    const found = await this.#documents.query<string>(listing(COLLECTION, filterOf(query), page))
    const { documents, next } = pageOf(found.map(named), query)
    return { ids: documents.map(({ _id }) => _id), next }
  }

  async scene(
    collection: string,
    movieId: string,
    sceneElement: number
  ): Promise<StoredDocument | undefined> {
    checkCollectionName(collection)
    const statement = sceneDocuments(
      collection,
      movieIdOf(movieId),
      sceneElement,
      MAX_SCENE_DOCUMENTS
    )
    return layered(await this.#documents.query<StoredDocument>(statement, true))
  }

  #insert(key: string | undefined, fields: DocumentFields): Promise<Outcome[]> {
    const document = key === undefined ? fields : { ...fields, _key: key }
    return this.#documents.insert(COLLECTION, [document], { isRepeatable: false })
  }

  /** Writes one document; undefined when its key is taken, or not there to be changed. */
  async #insist(write: () => Promise<Outcome[]>): Promise<StoredDocument | undefined> {
    const { document } = await this.#documents.insist(async () => {
      const [outcome] = await write()
      if (outcome === undefined || outcome.errorNum === arangoErrors.conflict) return undefined
      if (outcome.errorNum === null) return { document: outcome.document }
      const { unique, notFound } = arangoErrors
      if (outcome.errorNum === unique || outcome.errorNum === notFound)
        return { document: undefined }
      throw refusal(outcome)
    })
    return document
  }
}

function filterOf({ status, file, pipeline_id }: MovieQuery): ArangoFilter {
  return { status, file, pipeline_id }
}

function named(_id: string): StoredDocument {
  return { _id, _key: _id.slice(_id.indexOf('/') + 1), _rev: '' }
}
