import { hostError } from '../../errors.ts'
import type { Row, SqlValue, Statement } from '../../sqlite/sqlite-store.ts'
import { keyIn } from '../document-key.ts'
import { pageOf, pageStart } from '../page.ts'
import { checkPlan, newPipeline, withStates } from '../pipeline-documents.ts'
import type {
  ItemChange,
  ItemClaim,
  ItemQuery,
  ItemState,
  PipelineChange,
  PipelineCondition,
  PipelineQuery,
  PipelineStore,
  PlannedTask
} from '../pipeline-store.ts'
import { collectionNames, type DocumentFields, type StoredDocument } from '../stored-document.ts'
import { documentOf, type SqliteDocuments } from './sqlite-documents.ts'
import { SqlitePipelineChanges } from './sqlite-pipeline-changes.ts'
import { SqlitePipelineClaims } from './sqlite-pipeline-claims.ts'
import { listItems } from './sqlite-pipeline-items.ts'
import { SqlitePipelineReconcile } from './sqlite-pipeline-reconcile.ts'
import { type MovieRow, writeMovies } from './sqlite-pipeline-statements.ts'

const COLLECTION = collectionNames.pipelines
/** Movies that are read or written in one step: the file's thread answers others between two. */
const STEP = 2000

/**
 * Pipelines in an SQLite file. A document is kept in a table of its own without its movies, each movie and
 * each item as a row, so that what is done for one movie costs the same among many. Nobody else reads the
 * file: movies are shown as their items stand, and the items' states are written into none of them.
 */
export class SqlitePipelines implements PipelineStore {
  readonly #documents: SqliteDocuments
  readonly #changes: SqlitePipelineChanges
  readonly #claims: SqlitePipelineClaims
  readonly #reconcile: SqlitePipelineReconcile
  readonly #unsettled = new Set<Promise<unknown>>()
  #lastNum: number

  private constructor(documents: SqliteDocuments, now: () => number, lastNum: number) {
    this.#documents = documents
    this.#changes = new SqlitePipelineChanges(documents)
    this.#claims = new SqlitePipelineClaims(documents, now)
    this.#reconcile = new SqlitePipelineReconcile(documents)
    this.#lastNum = lastNum
  }

  /** Whatever was running when the file was last open waits again, its attempt counted: its host is gone. */
  static async open(
    documents: SqliteDocuments,
    now: () => number = Date.now
  ): Promise<SqlitePipelines> {
    const isRunning = `task IN (SELECT num FROM pipeline_tasks) AND state = 'running'`
    const results = await documents.run(
      {
        // The document may have come to say meanwhile that what was running is done.
        sql: `UPDATE pipelines SET seen = 0 WHERE num IN (
                SELECT pipeline FROM pipeline_tasks WHERE num IN (
                  SELECT task FROM pipeline_items WHERE ${isRunning}))`
      },
      {
        sql: `UPDATE pipeline_items INDEXED BY pipeline_items_by_state
              SET state = 'ready', due = NULL WHERE ${isRunning}`
      },
      // Creations that were not finished.
      {
        sql: `DELETE FROM pipeline_movies
              WHERE pipeline IN (SELECT num FROM pipelines WHERE key IS NULL)`
      },
      { sql: 'DELETE FROM pipelines WHERE key IS NULL' },
      { sql: 'SELECT coalesce(max(num), 0) AS num FROM pipelines' }
    )
    return new SqlitePipelines(documents, now, results.at(-1)?.rows[0]?.['num'] as number)
  }

  /** Ends when what was asked before is done. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#unsettled])
  }

  create(document: DocumentFields): Promise<StoredDocument> {
    return this.#settling(this.#create(document))
  }

  async get(
    id: string,
    { movies = true }: { movies?: boolean } = {}
  ): Promise<StoredDocument | undefined> {
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    const [found] = await this.#documents.run({
      sql: 'SELECT num, key, rev, body FROM pipelines WHERE key = ?',
      params: [key]
    })
    const row = found?.rows[0]
    if (row === undefined) return undefined
    if (!movies) return documentIn(row)
    return { ...documentIn(row), movies: await this.#movies(row['num'] as number) }
  }

  async list(query: PipelineQuery) {
    const { status, unclaimed } = query
    const { after, count } = pageStart(query)
    const conditions = ['key > ?']
    const params: SqlValue[] = [after]
    if (status === null) conditions.push("(status IS NULL OR status = 'null')")
    else if (status !== undefined) {
      conditions.push('status = ?')
      params.push(JSON.stringify(status))
    }
    if (unclaimed !== undefined) {
      const task = JSON.stringify(unclaimed.task)
      conditions.push(IS_UNCLAIMED)
      params.push(task, task, unclaimed.now)
    }
    const [found] = await this.#documents.run({
      sql: `SELECT key, rev, body FROM pipelines WHERE ${conditions.join(' AND ')}
            ORDER BY key LIMIT ?`,
      params: [...params, count]
    })
    return pageOf((found?.rows ?? []).map(documentIn), query)
  }

  async update(id: string, change: PipelineChange, condition?: PipelineCondition) {
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    return this.#settling(this.#changes.update(key, change, condition))
  }

  async reconcile(
    id: string,
    tasks: readonly PlannedTask[],
    { again = false }: { again?: boolean } = {}
  ) {
    checkPlan(tasks)
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    return this.#settling(this.#reconcile.reconcile(key, tasks, again))
  }

  async claim(
    pipeline: string,
    task: string,
    options: { owner: string; limit: number }
  ): Promise<ItemClaim[]> {
    const key = keyIn(COLLECTION, pipeline)
    return key === undefined ? [] : this.#claims.claim(key, task, options)
  }

  async record(changes: readonly ItemChange[], tasks: readonly PlannedTask[]): Promise<boolean[]> {
    const ended = changes.filter(({ state }) => state === 'success' || state === 'fail')
    const keys = ended.map(({ claim }) => claim.pipeline)
    return this.#claims.record(changes, tasks, this.#reconcile.lookAgain(keys, tasks))
  }

  async items(query: ItemQuery) {
    const key = keyIn(COLLECTION, query.pipeline)
    return key === undefined
      ? { items: [], next: undefined }
      : listItems(this.#documents, key, query)
  }

  async #create(document: DocumentFields): Promise<StoredDocument> {
    const { key, fields, movies } = newPipeline(document)
    const num = ++this.#lastNum
    const body = JSON.stringify(fields)
    const [taken] = await this.#documents.run({
      sql: 'SELECT 1 FROM pipelines WHERE key = ?',
      params: [key]
    })
    if (taken?.rows.length !== 0) throw exists(key)
    try {
      if (await this.#write(key, num, body, movies)) {
        return documentOf({ collection: COLLECTION, key, rev: 1, body })
      }
    } catch (error) {
      // What is left of it is no document, and goes when the file is opened again.
      await this.#forget(num).catch(() => {})
      throw error
    }
    await this.#forget(num)
    throw exists(key)
  }

  #settling<T>(work: Promise<T>): Promise<T> {
    this.#unsettled.add(work)
    const settled = () => this.#unsettled.delete(work)
    work.then(settled, settled)
    return work
  }

  /** @returns false when another has taken the key meanwhile */
  async #write(
    key: string,
    num: number,
    body: string,
    movies: Map<string, DocumentFields>
  ): Promise<boolean> {
    // Without its key nobody sees it, so that its movies can come step by step.
    let statements: Statement[] = [
      { sql: 'INSERT INTO pipelines (num, rev, body) VALUES (?, 1, ?)', params: [num, body] }
    ]
    const rows = [...movies].map(([movie, entry], at): MovieRow => ({ seq: at + 1, movie, entry }))
    for (let at = 0; at < rows.length; at += STEP) {
      if (at > 0) {
        await this.#documents.run(...statements)
        statements = []
      }
      statements.push(writeMovies(num, rows.slice(at, at + STEP)))
    }
    const named = {
      sql: 'UPDATE OR IGNORE pipelines SET key = ? WHERE num = ?',
      params: [key, num]
    }
    const results = await this.#documents.run(...statements, named)
    return results.at(-1)?.changes === 1
  }

  async #forget(num: number): Promise<void> {
    await this.#documents.run(
      { sql: 'DELETE FROM pipeline_movies WHERE pipeline = ?', params: [num] },
      { sql: 'DELETE FROM pipelines WHERE num = ?', params: [num] }
    )
  }

  async #movies(num: number): Promise<DocumentFields> {
    const movies = new Map<string, DocumentFields>()
    let last = 0
    for (;;) {
      const [found] = await this.#documents.run({
        sql: `SELECT seq, movie, body, (
                SELECT json_group_array(json_array(t.task, i.state)) FROM pipeline_tasks AS t
                CROSS JOIN pipeline_items AS i ON i.task = t.num AND i.seq = m.seq
                WHERE t.pipeline = m.pipeline AND i.state NOT IN ('blocked', 'ready')
              ) AS states
              FROM pipeline_movies AS m WHERE pipeline = ? AND seq > ? ORDER BY seq LIMIT ?`,
        params: [num, last, STEP]
      })
      const rows = found?.rows ?? []
      for (const { seq, movie, body, states } of rows) {
        const entry = JSON.parse(body as string) as DocumentFields
        const shown = JSON.parse(states as string) as Array<[string, ItemState]>
        movies.set(movie as string, withStates(entry, shown))
        last = seq as number
      }
      if (rows.length < STEP) return Object.fromEntries(movies)
    }
  }
}

/** What `holds` says of `PipelineCondition.unclaimed`; both names as JSON, then the time. */
const IS_UNCLAIMED = `(
  NOT EXISTS (SELECT 1 FROM json_each(body, '$.tasks') WHERE key = (? ->> '$'))
  OR EXISTS (
    SELECT 1 FROM json_each(body, '$.claims') AS claim
    WHERE claim.key = (? ->> '$') AND CASE claim.type WHEN 'object'
      THEN json_type(claim.value, '$.until') IN ('integer', 'real')
        AND (claim.value ->> '$.until') <= ? END
  ))`

function documentIn(row: Row): StoredDocument {
  const { key, rev, body } = row as { key: string; rev: number; body: string }
  return documentOf({ collection: COLLECTION, key, rev, body })
}

function exists(key: string) {
  return hostError('HOST_DOCUMENT_EXISTS', [`${COLLECTION}/${key}`])
}
