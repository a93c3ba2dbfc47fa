import type { Database } from 'arangojs'
import { hostError } from '../../errors.ts'
import type { DocumentFields, StoredDocument } from '../stored-document.ts'
import type { ArangoConnection } from './arango-connection.ts'
import type { ArangoStatement } from './arango-statements.ts'
import { ArangoTrouble } from './arango-trouble.ts'

/** What became of one document of a request: as it is now, or the server's number of the error. */
export type Outcome =
  | { errorNum: null; document: StoredDocument }
  | { errorNum: number; errorMessage: string }

/** The server's numbers of what a store has an answer for. */
export const arangoErrors = { conflict: 1200, notFound: 1202, unique: 1210 } as const

type Entry = { error?: boolean; errorNum?: number; errorMessage?: string; new?: StoredDocument }

/** What is answered is on the server's disk. */
const WRITING = { waitForSync: true, returnNew: true } as const
const MERGING = { keepNull: true, mergeObjects: true } as const

/**
 * Documents of one database. Keys travel in bodies only: in a path, `..` is a key that leads elsewhere.
 */
export class ArangoDocuments {
  readonly #connection: ArangoConnection

  constructor(connection: ArangoConnection) {
    this.#connection = connection
  }

  /** The documents of these keys that there are, by key. */
  async lookUp(collection: string, keys: readonly string[]): Promise<Map<string, StoredDocument>> {
    const found = await this.#run(true, (db) => db.collection(collection).documents([...keys]))
    const documents = (found as Array<Entry | StoredDocument>).filter(isDocument)
    return new Map(documents.map((document) => [document._key, document]))
  }

  /** What the server calls the state of a collection; another one after each write. */
  async revision(collection: string): Promise<string> {
    return this.#run(true, async (db) => (await db.collection(collection).revision()).revision)
  }

  /**
   * Adds documents.
   *
   * @param options.isRepeatable - whether the caller can tell its own document from another's, when the
   * answer to an insert that was done was lost and the second try finds the key taken
   */
  async insert(
    collection: string,
    documents: DocumentFields[],
    { isRepeatable }: { isRepeatable: boolean }
  ): Promise<Outcome[]> {
    const options = { ...WRITING, overwriteMode: 'conflict' } as const
    return this.#run(isRepeatable, async (db) =>
      outcomes(await db.collection(collection).saveAll(documents, options))
    )
  }

  /** Adds documents of given keys, or merges each into the one that there is. */
  async insertOrMerge(collection: string, documents: DocumentFields[]): Promise<Outcome[]> {
    const options = { ...WRITING, ...MERGING, overwriteMode: 'update' } as const
    return this.#run(true, async (db) =>
      outcomes(await db.collection(collection).saveAll(documents, options))
    )
  }

  /** Merges documents into those of their `_key`; one that has a `_rev`, only while that is the stored one's. */
  async merge(
    collection: string,
    documents: Array<DocumentFields & { _key: string }>
  ): Promise<Outcome[]> {
    const options = { ...WRITING, ...MERGING, ignoreRevs: false }
    return this.#run(true, async (db) =>
      outcomes(await db.collection(collection).updateAll(documents, options))
    )
  }

  /** All that a statement gives; nothing when it reads a collection that does not exist, if that is `allowed`. */
  async query<T>({ query, bindVars }: ArangoStatement, isMissingFine = false): Promise<T[]> {
    return this.#run(true, async (db) => {
      try {
        const cursor = await db.query(query, bindVars)
        return (await cursor.all()) as T[]
      } catch (error) {
        if (isMissingFine && (error as { errorNum?: unknown }).errorNum === 1203) return []
        throw error
      }
    })
  }

  /**
   * All that a statement gives that writes, and does the same when it is repeated: it is, until no other
   * writer was in its way. Undefined when a key is taken.
   */
  async change<T>({ query, bindVars }: ArangoStatement): Promise<T[] | undefined> {
    const { rows } = await this.insist(() =>
      this.#run(true, async (db): Promise<{ rows: T[] | undefined } | undefined> => {
        try {
          const cursor = await db.query(query, bindVars)
          return { rows: (await cursor.all()) as T[] }
        } catch (error) {
          const { errorNum } = error as { errorNum?: unknown }
          if (errorNum === arangoErrors.conflict) return undefined
          if (errorNum === arangoErrors.unique) return { rows: undefined }
          throw error
        }
      })
    )
    return rows
  }

  /**
   * Does what others' writes of the same documents can get in the way of, until none did. A wait grows
   * from try to try.
   *
   * @throws HostError HOST_DOCUMENTS_FAILED when others were always faster
   */
  async insist<T>(attempt: () => Promise<T | undefined>): Promise<T> {
    for (let count = 1; count <= MAX_CONFLICTS; count++) {
      if (count > 1) await this.#connection.backOff(Math.min(count, 4))
      const done = await attempt()
      if (done !== undefined) return done
    }
    const why = `others wrote the same documents ${MAX_CONFLICTS} times in between`
    throw hostError('HOST_DOCUMENTS_FAILED', [why])
  }

  #run<T>(isRepeatable: boolean, work: (db: Database) => Promise<T>): Promise<T> {
    return this.#connection.run(work, { isRepeatable })
  }
}

const MAX_CONFLICTS = 30

/** What is wrong with the document itself: its key, or that it is none. */
const ILLEGAL = [1221, 1222, 1227]

/** The error for one document that the server did not take. */
export function refusal({ errorNum, errorMessage }: { errorNum: number; errorMessage: string }) {
  const code = ILLEGAL.includes(errorNum) ? 'HOST_DOCUMENT_INVALID' : 'HOST_DOCUMENTS_FAILED'
  const why = `ArangoDB did not take a document: ${errorMessage} (error ${errorNum})`
  return hostError(code, [why])
}

function outcomes(entries: unknown): Outcome[] {
  if (!Array.isArray(entries)) {
    throw new ArangoTrouble('it did not answer with a list of documents', {})
  }
  return (entries as Entry[]).map(({ error, errorNum = 0, errorMessage = 'no reason', ...rest }) =>
    error === true
      ? { errorNum, errorMessage }
      : { errorNum: null, document: rest.new as StoredDocument }
  )
}

function isDocument(entry: Entry | StoredDocument): entry is StoredDocument {
  return (entry as Entry).error !== true
}
