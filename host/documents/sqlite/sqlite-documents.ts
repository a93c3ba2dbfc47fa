import { type HostError, hostError } from '../../errors.ts'
import type { Logger } from '../../observe/log.ts'
import {
  type Row,
  SqliteStore,
  type SqlValue,
  type Statement,
  StoreError
} from '../../sqlite/sqlite-store.ts'
import type { DocumentFields, StoredDocument } from '../stored-document.ts'
import { documentMigrations } from './sqlite-migrations.ts'

/** One document to be written: which keys must be looked at, and what is written when they are known. */
export interface DocumentChange {
  collection: string
  /** The keys whose documents `decide` asks for. */
  keys: readonly string[]
  /**
   * Says what is written: nothing when undefined. Without a key, one is chosen that grows with time. May
   * be asked again, and throws what the caller is told.
   */
  decide: (
    stored: (key: string) => DocumentFields | undefined
  ) => { key?: string | undefined; fields: DocumentFields } | undefined
}

/** Columns of `documents` that hold the JSON of one field. */
export type DocumentColumn =
  | 'movie_id'
  | 'scene_element'
  | 'image_id'
  | 'expert'
  | 'label'
  | 'status'
  | 'file'
  | 'pipeline_id'

/** Which documents a listing gives. */
export interface DocumentQuery {
  collection: string
  /** What must be equal; undefined is not asked about. */
  equal: Partial<Record<DocumentColumn, unknown>>
  /** Ids of pictures that begin so. */
  imagePrefix?: string | undefined
  after?: string | undefined
  limit: number
}

/** What was written: a document's names, and its fields as JSON. */
export interface WrittenDocument {
  collection: string
  key: string
  rev: number
  body: string
}

interface Waiting {
  changes: readonly DocumentChange[]
  resolve: (written: Array<WrittenDocument | undefined>) => void
  reject: (error: Error) => void
}

const MAX_KEYS = 2000

/**
 * Documents of any collection in an SQLite file that this process alone has open. So a write needs no
 * lock and no revision check: what is to be changed waits in one line, is read in one step and written
 * in the next, many callers' changes in one commit.
 */
export class SqliteDocuments {
  readonly #store: SqliteStore
  #tick: number
  /** Of the collections that were written to since the file was opened. */
  readonly #revisions = new Map<string, number>()
  readonly #firstRevision: number
  readonly #line: Waiting[] = []
  #working: Promise<void> | null = null

  private constructor(store: SqliteStore, tick: number) {
    this.#store = store
    this.#tick = tick
    this.#firstRevision = tick
  }

  /** @throws the errors of `SqliteStore.open` */
  static async open(options: { path: string; log: Logger }): Promise<SqliteDocuments> {
    const store = await SqliteStore.open({ ...options, migrations: documentMigrations })
    try {
      const [last] = await store.run({ sql: 'SELECT coalesce(max(rev), 0) AS rev FROM documents' })
      return new SqliteDocuments(store, last?.rows[0]?.['rev'] as number)
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** Why the file cannot be used any more, or null. */
  get failure(): Error | null {
    return this.#store.failure
  }

  /** Another one after each write to a collection. */
  revision(collection: string): string {
    return String(this.#revisions.get(collection) ?? this.#firstRevision)
  }

  /** Ends when what was asked before is done. */
  async close(): Promise<void> {
    await this.#working
    await this.#store.close()
  }

  /**
   * Runs statements on tables of another store in the same file, all or none.
   *
   * @throws HostError HOST_STORE_FULL | HOST_DOCUMENTS_FAILED
   */
  async run(...statements: Statement[]): ReturnType<SqliteStore['run']> {
    try {
      return await this.#store.run(...statements)
    } catch (error) {
      throw withCode(error as Error)
    }
  }

  async get(collection: string, key: string): Promise<StoredDocument | undefined> {
    const [found] = await this.run({
      sql: 'SELECT collection, key, rev, body FROM documents WHERE collection = ? AND key = ?',
      params: [collection, key]
    })
    const row = found?.rows[0]
    return row === undefined ? undefined : documentOf(rowOf(row))
  }

  /** The documents that are asked for, by key. */
  async find(query: DocumentQuery): Promise<StoredDocument[]> {
    const { collection, equal, imagePrefix, after = '', limit } = query
    const conditions = ['collection = ?', 'key > ?']
    const params: SqlValue[] = [collection, after]
    for (const [column, value] of Object.entries(equal)) {
      if (value === undefined) continue
      conditions.push(`${column} = ?`)
      params.push(JSON.stringify(value))
    }
    if (imagePrefix !== undefined) {
      // In JSON the text ends with a quote, which is not of the prefix.
      const from = JSON.stringify(imagePrefix).slice(0, -1)
      conditions.push('image_id >= ? AND image_id < ?')
      params.push(from, `${from}\u{10ffff}`)
    }
    const [found] = await this.run({
      sql: `SELECT collection, key, rev, body FROM documents WHERE ${conditions.join(' AND ')}
            ORDER BY key LIMIT ?`,
      params: [...params, limit]
    })
    return (found?.rows ?? []).map((row) => documentOf(rowOf(row)))
  }

  /**
   * Writes documents, all or none, and gives what was written: undefined where nothing was to be. Changes
   * of one document are made one after the other.
   *
   * @throws HostError HOST_STORE_FULL | HOST_DOCUMENTS_FAILED, or what a change threw
   */
  write(...changes: DocumentChange[]): Promise<Array<WrittenDocument | undefined>> {
    return new Promise((resolve, reject) => {
      this.#line.push({ changes, resolve, reject })
      this.#working ??= this.#work()
    })
  }

  async #work(): Promise<void> {
    // In the next turn, so that all who ask in this one are of the first batch.
    await new Promise(setImmediate)
    while (this.#line.length > 0) await this.#writeBatch(this.#takeBatch())
    this.#working = null
  }

  #takeBatch(): Waiting[] {
    let [count, keys] = [0, 0]
    for (const { changes } of this.#line) {
      keys += changes.reduce((sum, change) => sum + change.keys.length + 1, 0)
      if (count > 0 && keys > MAX_KEYS) break
      count++
    }
    return this.#line.splice(0, count)
  }

  async #writeBatch(batch: Waiting[]): Promise<void> {
    try {
      const held = await this.#read(batch.flatMap(({ changes }) => changes))
      const written: Array<[Waiting, Array<WrittenDocument | undefined>]> = []
      const touched = new Map<string, WrittenDocument>()
      for (const waiting of batch) {
        try {
          written.push([waiting, await this.#apply(waiting.changes, held, touched)])
        } catch (error) {
          waiting.reject(error as Error)
        }
      }
      await this.run(...[...touched.values()].map(upsert)).finally(() => {
        // Not before it can be read; and when it failed it may have been written all the same.
        for (const { collection, rev } of touched.values()) this.#revisions.set(collection, rev)
      })
      for (const [waiting, documents] of written) waiting.resolve(documents)
    } catch (error) {
      if (batch.length === 1) return batch[0]?.reject(error as Error)
      // One that is too large for the disk must not take the others along.
      for (const waiting of batch) await this.#writeBatch([waiting])
    }
  }

  /** Makes one caller's changes in `held` and `touched`; none of them when one throws. */
  async #apply(
    changes: readonly DocumentChange[],
    held: Map<string, DocumentFields>,
    touched: Map<string, WrittenDocument>
  ): Promise<Array<WrittenDocument | undefined>> {
    const made = new Map<string, DocumentFields>()
    const results: Array<WrittenDocument | undefined> = []
    for (const { collection, decide } of changes) {
      const stored = (key: string) => {
        const id = idOf(collection, key)
        return made.get(id) ?? held.get(id)
      }
      const decision = decide(stored)
      if (decision === undefined) {
        results.push(undefined)
        continue
      }
      const { fields } = decision
      const key = decision.key ?? (await this.#freeKey(collection, stored))
      made.set(idOf(collection, key), fields)
      results.push({ collection, key, rev: ++this.#tick, body: JSON.stringify(fields) })
    }
    for (const [id, fields] of made) held.set(id, fields)
    for (const result of results) {
      if (result !== undefined) touched.set(idOf(result.collection, result.key), result)
    }
    return results
  }

  async #read(changes: readonly DocumentChange[]): Promise<Map<string, DocumentFields>> {
    const keys = new Map<string, Set<string>>()
    for (const change of changes) {
      const known = keys.get(change.collection) ?? new Set()
      for (const key of change.keys) known.add(key)
      keys.set(change.collection, known)
    }
    const found = await this.run(
      ...[...keys].map(([collection, wanted]) => ({
        sql: `SELECT collection, key, body FROM documents
              WHERE collection = ? AND key IN (SELECT value FROM json_each(?))`,
        params: [collection, JSON.stringify([...wanted])]
      }))
    )
    return new Map(
      found
        .flatMap(({ rows }) => rows)
        .map((row) => [
          idOf(row['collection'] as string, row['key'] as string),
          JSON.parse(row['body'] as string)
        ])
    )
  }

  /** A number that is no document's key: callers choose numbers too. */
  async #freeKey(
    collection: string,
    stored: (key: string) => DocumentFields | undefined
  ): Promise<string> {
    for (;;) {
      const key = String(++this.#tick)
      const isFree = stored(key) === undefined && (await this.get(collection, key)) === undefined
      if (isFree) return key
      const [highest] = await this.run({
        sql: `SELECT max(CAST(key AS INTEGER)) AS number FROM documents
              WHERE collection = ? AND key NOT GLOB '*[^0-9]*' AND length(key) < 16`,
        params: [collection]
      })
      this.#tick = Math.max(this.#tick, highest?.rows[0]?.['number'] as number)
    }
  }
}

/** The document of a row, or of what was written. */
export function documentOf({ collection, key, rev, body }: WrittenDocument): StoredDocument {
  return { _id: idOf(collection, key), _key: key, _rev: String(rev), ...JSON.parse(body) }
}

function idOf(collection: string, key: string): string {
  return `${collection}/${key}`
}

function rowOf(row: Row): WrittenDocument {
  return row as unknown as WrittenDocument
}

function upsert({ collection, key, rev, body }: WrittenDocument): Statement {
  return {
    sql: `INSERT INTO documents (collection, key, rev, body) VALUES (?, ?, ?, ?)
          ON CONFLICT (collection, key) DO UPDATE SET rev = excluded.rev, body = excluded.body`,
    params: [collection, key, rev, body]
  }
}

function withCode(error: Error): HostError {
  return error instanceof StoreError && error.kind === 'full'
    ? hostError('HOST_STORE_FULL', [], { cause: error })
    : hostError('HOST_DOCUMENTS_FAILED', [error.message], { cause: error })
}
