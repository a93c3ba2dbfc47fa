import type { ChangeStore } from '../change-store.ts'
import { COUNTERS_KEY, counterName, raised } from '../counters.ts'
import { collectionNames, type StoredDocument } from '../stored-document.ts'
import { type ArangoDocuments, arangoErrors, type Outcome, refusal } from './arango-documents.ts'
import { listing } from './arango-statements.ts'

const COLLECTION = collectionNames.changes
const PAGE = 1000

/**
 * Counters in ArangoDB. A counter is raised from what was read, as long as that is still what is stored: a statement
 * that raises it would do the same on the server. When the answer to a write is lost, a counter may be raised by two;
 * its readers then look once too often.
 */
export class ArangoChanges implements ChangeStore {
  readonly #documents: ArangoDocuments
  /** Of this host, one raises after the other: they would only get in each other's way. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(documents: ArangoDocuments) {
    this.#documents = documents
  }

  async versions(): Promise<StoredDocument[]> {
    const all: StoredDocument[] = []
    for (;;) {
      const page = { after: all.at(-1)?._key ?? '', count: PAGE }
      const found = await this.#documents.query<StoredDocument>(listing(COLLECTION, {}, page))
      all.push(...found)
      if (found.length < PAGE) return all
    }
  }

  async advance(step: string, version?: number): Promise<number> {
    const name = counterName(step)
    const advanced = this.#turn.then(() => this.#advance(name, version))
    this.#turn = advanced.catch(() => {})
    return advanced
  }

  async #advance(name: string, version: number | undefined): Promise<number> {
    const done = new Map<string, number>()
    await this.#documents.insist(async () => {
      const documents = await this.versions()
      // Those that were raised before others got in the way are not raised again.
      const waiting = documents.filter(({ _key }) => !done.has(_key))
      const outcomes =
        documents.length === 0
          ? await this.#insert(name, version)
          : await this.#raise(waiting, name, version)
      for (const outcome of outcomes) noteIn(done, outcome, name)
      return documents.every(({ _key }) => done.has(_key)) && done.size > 0 ? done : undefined
    })
    const [first] = [...done].sort(([a], [b]) => (a < b ? -1 : 1))
    return first?.[1] ?? 0
  }

  #insert(name: string, version: number | undefined): Promise<Outcome[]> {
    const document = { _key: COUNTERS_KEY, ...counter(name, raised({}, name, version)) }
    return this.#documents.insert(COLLECTION, [document], { isRepeatable: true })
  }

  async #raise(
    documents: StoredDocument[],
    name: string,
    version: number | undefined
  ): Promise<Outcome[]> {
    if (documents.length === 0) return []
    const patches = documents.map((document) => {
      const { _key, _rev } = document
      return { _key, _rev, ...counter(name, raised(document, name, version)) }
    })
    return this.#documents.merge(COLLECTION, patches)
  }
}

/** Made of entries: a step may be called like what every object has. */
function counter(name: string, value: number): Record<string, number> {
  return Object.fromEntries([[name, value]])
}

/** Others' writes are no error: what they wrote is read, and raised then. */
function noteIn(done: Map<string, number>, outcome: Outcome, name: string): void {
  const { conflict, unique, notFound } = arangoErrors
  if (outcome.errorNum === null) {
    const { document } = outcome
    done.set(document._key, document[name] as number)
  } else if (![conflict, unique, notFound].some((passing) => passing === outcome.errorNum)) {
    throw refusal(outcome)
  }
}
