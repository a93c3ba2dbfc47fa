import type { Row, Statement } from '../../sqlite/sqlite-store.ts'
import { noItems } from '../pipeline-documents.ts'
import type { ItemCounts, ItemState, PlannedTask } from '../pipeline-store.ts'
import type { SqliteDocuments } from './sqlite-documents.ts'
import { entrySucceeded, PIPELINE_NUM, unblock } from './sqlite-pipeline-statements.ts'

/** Items that one step makes or makes anew: the file's thread answers others between two steps. */
const STEP = 4000
/** Plans that are remembered; of one that is not, all movies are looked at again. */
const MAX_PLANS = 1000

const STATES = JSON.stringify(Object.keys(noItems()))

type Counts = Record<string, ItemCounts>

/**
 * Brings the items of pipelines up to their documents. A movie has a number that grows with each change of
 * it, and a pipeline the number up to which it was looked at: so it costs as much as has changed.
 */
export class SqlitePipelineReconcile {
  readonly #documents: SqliteDocuments
  /** By pipeline, the end of the last call: calls of one pipeline are worked off one by one. */
  readonly #turns = new Map<string, Promise<unknown>>()
  /** By pipeline, the plan as it was last reconciled here. */
  readonly #plans = new Map<string, string>()

  constructor(documents: SqliteDocuments) {
    this.#documents = documents
  }

  /** `PipelineStore.reconcile` of the pipeline with that key. */
  reconcile(
    key: string,
    tasks: readonly PlannedTask[],
    again: boolean
  ): Promise<Counts | undefined> {
    const before = this.#turns.get(key) ?? Promise.resolve()
    const turn = before.then(() => this.#reconcile(key, tasks, again))
    const ended = turn.then(
      () => {},
      () => {}
    )
    this.#turns.set(key, ended)
    void ended.then(() => {
      if (this.#turns.get(key) === ended) this.#turns.delete(key)
    })
    return turn
  }

  /**
   * What makes the next `reconcile` look at every movie, for those of the pipelines whose ends are recorded
   * under another plan than the one that it will have.
   */
  lookAgain(keys: Iterable<string>, tasks: readonly PlannedTask[]): Statement[] {
    const plan = planOf(tasks)
    return [...new Set(keys)]
      .filter((key) => this.#plans.get(key) !== plan)
      .map((key) => ({ sql: 'UPDATE pipelines SET seen = 0 WHERE key = ?', params: [key] }))
  }

  async #reconcile(
    key: string,
    tasks: readonly PlannedTask[],
    again: boolean
  ): Promise<Counts | undefined> {
    const plan = planOf(tasks)
    const [found] = await this.#documents.run({
      sql: 'SELECT num, plan FROM pipelines WHERE key = ?',
      params: [key]
    })
    const row = found?.rows[0]
    if (row === undefined) return undefined
    if (row['plan'] !== plan) {
      await this.#documents.run(...takePlan(row['num'] as number, tasks, plan))
    }
    this.#remember(key, plan)
    if (again) await this.#makeAnew(key, tasks)
    let hasMore = true
    while (hasMore) hasMore = await this.#look(key, tasks)
    const [counted] = await this.#documents.run(countItems(key))
    return countsOf(tasks, counted?.rows)
  }

  /** Looks at the next movies that have changed; false when there are none. */
  async #look(key: string, tasks: readonly PlannedTask[]): Promise<boolean> {
    const movies = Math.max(100, Math.ceil(STEP / Math.max(1, tasks.length)))
    const [found, changed] = await this.#documents.run(
      { sql: 'SELECT seen FROM pipelines WHERE key = ?', params: [key] },
      changedMovies(key, movies)
    )
    const { seqs, count, last } = { ...changed?.rows[0] }
    if (count === 0) return false
    const written = tasks.flatMap((task) => [
      addItems(key, task.task, seqs as string),
      endDone(key, task.task, seqs as string),
      unblock(key, task, seqs as string)
    ])
    await this.#documents.run(...written, {
      // Not when all is to be looked at again since.
      sql: 'UPDATE pipelines SET seen = ? WHERE key = ? AND seen = ?',
      params: [last as number, key, found?.rows[0]?.['seen'] as number]
    })
    return count === movies
  }

  /** Makes failed and skipped items wait again, in steps: first what others depend on. */
  async #makeAnew(key: string, tasks: readonly PlannedTask[]): Promise<void> {
    for (const { task } of tasks) {
      for (;;) {
        const [made] = await this.#documents.run(makeAnew(key, task), {
          sql: 'UPDATE pipelines SET seen = 0 WHERE key = ?',
          params: [key]
        })
        if ((made?.changes ?? 0) < STEP) break
      }
    }
  }

  #remember(key: string, plan: string): void {
    this.#plans.delete(key)
    this.#plans.set(key, plan)
    if (this.#plans.size <= MAX_PLANS) return
    for (const oldest of this.#plans.keys()) {
      this.#plans.delete(oldest)
      return
    }
  }
}

function planOf(tasks: readonly PlannedTask[]): string {
  return JSON.stringify(tasks.map(({ task, dependsOn }) => [task, dependsOn]))
}

function changedMovies(key: string, limit: number): Statement {
  return {
    sql: `SELECT json_group_array(seq) AS seqs, count(*) AS count, max(changed) AS last FROM (
            SELECT seq, changed FROM pipeline_movies
            WHERE pipeline = ${PIPELINE_NUM}
              AND changed > (SELECT seen FROM pipelines WHERE key = ?)
            ORDER BY changed LIMIT ?)`,
    params: [key, key, limit]
  }
}

function countItems(key: string): Statement {
  return {
    // Each state by itself is a stretch of the index: a tenth of what grouping costs.
    sql: `SELECT t.task, states.value AS state, (
            SELECT count(*) FROM pipeline_items AS i WHERE i.task = t.num AND i.state = states.value
          ) AS count
          FROM pipeline_tasks AS t CROSS JOIN json_each(?) AS states
          WHERE t.pipeline = ${PIPELINE_NUM}`,
    params: [STATES, key]
  }
}

function takePlan(pipeline: number, tasks: readonly PlannedTask[], plan: string): Statement[] {
  return [
    {
      sql: `INSERT INTO pipeline_tasks (pipeline, task)
            SELECT ?, value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING`,
      params: [pipeline, JSON.stringify(tasks.map(({ task }) => task))]
    },
    { sql: 'UPDATE pipelines SET plan = ?, seen = 0 WHERE num = ?', params: [plan, pipeline] }
  ]
}

function addItems(key: string, task: string, seqs: string): Statement {
  return {
    sql: `INSERT INTO pipeline_items (task, seq, movie, state)
          SELECT t.num, m.seq, m.movie, 'blocked'
          FROM pipeline_tasks AS t CROSS JOIN pipeline_movies AS m ON m.pipeline = t.pipeline
          WHERE t.pipeline = ${PIPELINE_NUM} AND t.task = ?
            AND m.seq IN (SELECT value FROM json_each(?)) AND NOT ${entrySucceeded('t.task')}
          ON CONFLICT DO NOTHING`,
    params: [key, task, seqs]
  }
}

/** Ends what waits for something that the document says is done. */
function endDone(key: string, task: string, seqs: string): Statement {
  return {
    sql: `UPDATE pipeline_items AS item SET state = 'success', due = NULL
          FROM (
            SELECT num, pipeline, task FROM pipeline_tasks
            WHERE pipeline = ${PIPELINE_NUM} AND task = ?
          ) AS t
          CROSS JOIN pipeline_movies AS m ON m.pipeline = t.pipeline
          WHERE item.task = t.num AND item.seq = m.seq AND +item.state IN ('blocked', 'ready')
            AND m.seq IN (SELECT value FROM json_each(?)) AND ${entrySucceeded('t.task')}`,
    params: [key, task, seqs]
  }
}

function makeAnew(key: string, task: string): Statement {
  return {
    sql: `WITH place AS MATERIALIZED (
            SELECT num FROM pipeline_tasks WHERE pipeline = ${PIPELINE_NUM} AND task = ?
          )
          UPDATE pipeline_items SET state = 'blocked', attempts = 0, token = NULL, owner = NULL,
            error = NULL, expert = NULL, expert_version = NULL, model_sha256 = NULL,
            extra_params = NULL, started_at = NULL, finished_at = NULL
          WHERE task = (SELECT num FROM place) AND seq IN (
            SELECT seq FROM pipeline_items WHERE task = (SELECT num FROM place)
              AND state IN ('fail', 'skipped') LIMIT ${STEP}
          )`,
    params: [key, task]
  }
}

function countsOf(tasks: readonly PlannedTask[], rows: Row[] = []): Counts {
  const counts = new Map(tasks.map(({ task }) => [task, noItems()]))
  for (const row of rows) {
    const ofTask = counts.get(row['task'] as string)
    if (ofTask !== undefined) ofTask[row['state'] as ItemState] = row['count'] as number
  }
  return Object.fromEntries(counts)
}
