import type { ChangeStore } from '../change-store.ts'
import { COUNTERS_KEY, counterName, raised } from '../counters.ts'
import { collectionNames, type StoredDocument } from '../stored-document.ts'
import { type DocumentChange, documentOf, type SqliteDocuments } from './sqlite-documents.ts'

const COLLECTION = collectionNames.changes
const PAGE = 1000

/** Counters in an SQLite file. */
export class SqliteChanges implements ChangeStore {
  readonly #documents: SqliteDocuments

  constructor(documents: SqliteDocuments) {
    this.#documents = documents
  }

  async versions(): Promise<StoredDocument[]> {
    const all: StoredDocument[] = []
    for (;;) {
      const after = all.at(-1)?._key
      const query = { collection: COLLECTION, equal: {}, after, limit: PAGE }
      const found = await this.#documents.find(query)
      all.push(...found)
      if (found.length < PAGE) return all
    }
  }

  async advance(step: string, version?: number): Promise<number> {
    const name = counterName(step)
    const keys = (await this.versions()).map(({ _key }) => _key)
    if (keys.length === 0) keys.push(COUNTERS_KEY)
    const changes = keys.map(
      (key): DocumentChange => ({
        collection: COLLECTION,
        keys: [key],
        decide: (stored) => {
          const before = stored(key) ?? {}
          const counter = Object.fromEntries([[name, raised(before, name, version)]])
          return { key, fields: { ...before, ...counter } }
        }
      })
    )
    const [first] = await this.#documents.write(...changes)
    return first === undefined ? 0 : (documentOf(first)[name] as number)
  }
}
