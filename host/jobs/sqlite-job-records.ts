import { HostError } from '../errors.ts'
import type { Row, SqliteStore, SqlValue, Statement } from '../sqlite/sqlite-store.ts'
import {
  type FixedFields,
  isFinal,
  type Job,
  type JobEnd,
  type JobPatch,
  type JobStatus,
  jobStatuses,
  keptBytes,
  type WebhookWish
} from './job.ts'
import { type JobQuery, type JobRecords, LIST_BYTES, type Retention } from './job-records.ts'

type Run = SqliteStore['run']

const ENDS = jobStatuses.filter(isFinal)
const LIVES = "status IN ('queued', 'running')"
/** With the parameter of `fence`. */
const WRITABLE = `${LIVES} AND token <= ?`
const WITH_TEXTS = `
  LEFT JOIN bodies ON bodies.job = jobs.num LEFT JOIN ends ON ends.job = jobs.num`
const COLUMNS = `
  id, expert, key, status, priority, created_at, started_at, finished_at, attempts, fixed, progress,
  webhook,
  bodies.texts AS bodies, ends.facts AS end_facts, ends.text AS end_text`
/** Of each final state those that ended first: each a stretch of an index. */
const OLDEST = ENDS.map(
  (status) => `SELECT * FROM (SELECT num, changed, bytes FROM jobs WHERE status = '${status}'
    ORDER BY changed LIMIT ?)`
).join(' UNION ALL ')
/** A control character that JSON never has as it is. */
const BETWEEN_BODIES = '\x1e'
/** Finished jobs that one statement deletes: the thread must not be busy with it for long. */
const STEP = 100
/** What is no larger is worth every finished job: the ends of all others. */
const SMALL_BYTES = 64 * 1024
const RESERVE_BYTES = 128 * 1024

/** Jobs in an SQLite file. */
export class SqliteJobRecords implements JobRecords {
  onForget: (id: string) => void = () => {}
  /** Called when what changed is something that a job's webhook may be told. */
  onNotice: () => void = () => {}
  readonly #run: Run
  readonly #retention: Retention
  readonly #now: () => number
  #lastNum: number
  #finished: number
  #finishedBytes: number
  #eviction: Promise<void> | null = null
  /** The end of the last call that had to make room. */
  #tight: Promise<unknown> = Promise.resolve()
  #hasReserve = false

  private constructor(run: Run, retention: Retention, now: () => number, counts: Row) {
    this.#run = run
    this.#retention = retention
    this.#now = now
    this.#lastNum = counts['last_num'] as number
    this.#finished = counts['finished'] as number
    this.#finishedBytes = counts['finished_bytes'] as number
  }

  static async open(options: {
    run: Run
    retention: Retention
    now: () => number
  }): Promise<SqliteJobRecords> {
    const { run, retention, now } = options
    const [counts] = await run({
      sql: `SELECT count(*) AS finished, coalesce(sum(bytes), 0) AS finished_bytes,
              (SELECT coalesce(max(num), 0) FROM jobs) AS last_num
            FROM jobs WHERE NOT ${LIVES}`
    })
    const records = new SqliteJobRecords(run, retention, now, counts?.rows[0] as Row)
    await records.#evict()
    await records.#layReserve()
    return records
  }

  async create(job: Job): Promise<Job | null> {
    const key = job.idempotency === null ? null : JSON.stringify(job.idempotency.key)
    for (;;) {
      const [created] = await this.#run(...insertion(job, key, ++this.#lastNum))
      if (created?.changes === 1) return null
      const [found] = await this.#run({
        sql: `SELECT ${COLUMNS}, (NOT ${LIVES} AND changed <= ?) AS is_over
              FROM jobs ${WITH_TEXTS} WHERE id = ? OR (expert = ? AND key = ?)`,
        params: [this.#horizon(), job.id, job.expert, key]
      })
      const rows = found?.rows as Row[]
      if (rows.some((row) => row['is_over'] === 1)) {
        await this.expire(this.#now())
        continue
      }
      const holder = rows.find((row) => row['expert'] === job.expert && row['key'] === key)
      if (key !== null && holder !== undefined) return jobOf(holder)
      if (rows.length > 0) throw new Error(`There is a job ${job.id} already`)
      // What was in the way has gone between the two calls.
    }
  }

  async get(id: string): Promise<Job | undefined> {
    // Ids come from callers' URLs; to SQLite, text ends there.
    return id.includes('\0') ? undefined : (await this.getMany([id])).get(id)
  }

  async getMany(ids: string[]): Promise<Map<string, Job>> {
    const [found] = await this.#run({
      sql: `SELECT ${COLUMNS} FROM jobs ${WITH_TEXTS}
            WHERE id IN (SELECT value FROM json_each(?)) AND (${LIVES} OR changed > ?)`,
      params: [JSON.stringify(ids), this.#horizon()]
    })
    return new Map(found?.rows.map((row) => [row['id'] as string, jobOf(row)]))
  }

  async patch(id: string, patch: JobPatch, token = 0): Promise<boolean> {
    const results = await this.insist(...change(id, patch, token))
    const row = results.at(-1)?.rows[0]
    if (row === undefined) return false
    if (row['tells'] === 1) this.onNotice()
    if (isFinal(row['status'] as JobStatus)) {
      this.#finished += 1
      this.#finishedBytes += row['bytes'] as number
      await this.#evict()
    }
    return true
  }

  async list(query: JobQuery): Promise<Job[]> {
    const { expert, statuses = jobStatuses, before = Number.POSITIVE_INFINITY } = query
    if (statuses.length === 0) return []
    const limit = Math.max(0, Math.min(query.limit, Number.MAX_SAFE_INTEGER))
    const horizon = this.#horizon()
    // Each state is a stretch of an index, read from its end: what is not given is not touched.
    const stretch = `SELECT * FROM (SELECT num, changed, bytes FROM jobs
      WHERE status = ? ${expert === undefined ? '' : 'AND expert = ?'} AND changed < ? AND changed > ?
      ORDER BY changed DESC LIMIT ?)`
    const stretches = [...new Set(statuses)].map((status): Statement => {
      const after = isFinal(status) ? horizon : Number.NEGATIVE_INFINITY
      const of = expert === undefined ? [] : [expert]
      return { sql: stretch, params: [status, ...of, before, after, limit] }
    })
    const [page] = await this.#run({
      sql: `SELECT ${COLUMNS} FROM (
              SELECT num, changed, sum(bytes) OVER (
                ORDER BY changed DESC, num DESC ROWS UNBOUNDED PRECEDING) - bytes AS newer
              FROM (${stretches.map(({ sql }) => sql).join(' UNION ALL ')} ORDER BY changed DESC LIMIT ?)
            ) AS page JOIN jobs ON jobs.num = page.num ${WITH_TEXTS}
            WHERE page.newer < ?
            ORDER BY page.changed, page.num`,
      params: [...stretches.flatMap(({ params = [] }) => params), limit, LIST_BYTES]
    })
    return (page?.rows ?? []).map(jobOf)
  }

  async count(expert?: string): Promise<Record<JobStatus, number>> {
    const [found] = await this.#run({
      sql: `SELECT status, count(*) AS jobs FROM jobs
            WHERE ${expert === undefined ? '' : 'expert = ? AND'} (${LIVES} OR changed > ?)
            GROUP BY status`,
      params: expert === undefined ? [this.#horizon()] : [expert, this.#horizon()]
    })
    const counts = { queued: 0, running: 0, succeeded: 0, failed: 0, canceled: 0 }
    for (const row of found?.rows ?? []) {
      counts[row['status'] as JobStatus] = row['jobs'] as number
    }
    return counts
  }

  async keepItem(id: string, place: number, text: string, token = 0): Promise<boolean> {
    const [, kept] = await this.insist(
      {
        sql: `UPDATE jobs SET token = ? WHERE id = ? AND ${LIVES} AND token < ?`,
        params: [token, id, token]
      },
      {
        sql: `INSERT INTO items (job, place, text) SELECT num, ?, ? FROM jobs
              WHERE id = ? AND ${WRITABLE}
              ON CONFLICT (job, place) DO UPDATE SET text = excluded.text`,
        params: [place, text, id, fence(token)]
      }
    )
    return kept?.changes === 1
  }

  async items(id: string): Promise<Map<number, string>> {
    const [found] = await this.#run({
      sql: `SELECT place, text FROM items WHERE job = (SELECT num FROM jobs WHERE id = ?)
            ORDER BY place`,
      params: [id]
    })
    const rows = found?.rows ?? []
    return new Map(rows.map((row) => [row['place'] as number, row['text'] as string]))
  }

  async expire(now: number): Promise<number> {
    let gone = 0
    while (this.#finished > 0) {
      const step = await this.#forget(
        `SELECT num FROM jobs WHERE NOT ${LIVES} AND status IN (${ENDS.map(() => '?').join()})
         AND changed <= ? LIMIT ?`,
        [...ENDS, now - this.#retention.keepMs, STEP]
      )
      gone += step
      if (step < STEP) break
    }
    if (!this.#hasReserve) await this.#layReserve()
    return gone
  }

  /**
   * Runs what ends or carries on accepted work. A full store makes room with the oldest finished jobs
   * that it keeps, unless all of them together would not be enough; and when it keeps none, with its reserve.
   *
   * @throws HostError HOST_STORE_FULL when that is used up too
   */
  insist(...statements: Statement[]): ReturnType<Run> {
    return this.#run(...statements).catch((error) => this.#makeRoom(error, statements))
  }

  #makeRoom(error: unknown, statements: Statement[]): ReturnType<Run> {
    if (!isFull(error) || sizeOf(statements) > this.#finishedBytes + SMALL_BYTES) throw error
    // One after another: the room that one has made may be enough for the next.
    const turn = this.#tight.then(() => this.#runMakingRoom(statements))
    this.#tight = turn.catch(() => {})
    return turn
  }

  async #runMakingRoom(statements: Statement[]): ReturnType<Run> {
    for (let count = 1; ; count = Math.min(count * 4, 1024)) {
      try {
        return await this.#run(...statements)
      } catch (error) {
        if (!isFull(error)) throw error
        if ((await this.#forgetOldest(count, 0)) === 0 && !(await this.#useReserve())) throw error
      }
    }
  }

  /** Sets room aside again, if there is any. */
  async #layReserve(): Promise<void> {
    const filler = `zeroblob(${RESERVE_BYTES})`
    try {
      await this.#run({ sql: `INSERT OR IGNORE INTO reserve (num, filler) VALUES (1, ${filler})` })
      this.#hasReserve = true
    } catch {
      // Still full: tried again with the next look at what is over its time.
    }
  }

  async #useReserve(): Promise<boolean> {
    if (!this.#hasReserve) return false
    this.#hasReserve = false
    await this.#run({ sql: 'DELETE FROM reserve' })
    return true
  }

  /** Jobs that ended then or before are past their time. */
  #horizon(): number {
    return this.#now() - this.#retention.keepMs
  }

  /** Deletes the oldest ends that are over the bounds, for all who wait for it at once. */
  #evict(): Promise<void> {
    if (!this.#isOver()) return Promise.resolve()
    this.#eviction ??= this.#evictSurplus()
    return this.#eviction
  }

  #isOver(): boolean {
    const { maxFinished, maxFinishedBytes } = this.#retention
    return this.#finished > maxFinished || this.#finishedBytes > maxFinishedBytes
  }

  async #evictSurplus(): Promise<void> {
    const { maxFinished, maxFinishedBytes } = this.#retention
    // Behind all who were answered with the same commit: their ends are then counted, and go in one step.
    await Promise.resolve()
    try {
      while (this.#isOver()) {
        const count = this.#finished - maxFinished
        const gone = await this.#forgetOldest(count, this.#finishedBytes - maxFinishedBytes)
        if (gone === 0) return
      }
    } catch {
      // The end that brought the surplus is written: that is what its writer must hear. The next tries again.
    } finally {
      this.#eviction = null
    }
  }

  /** Deletes at least so many finished jobs or bytes of them, if it can be in one step. */
  #forgetOldest(count: number, bytes: number): Promise<number> {
    const limit = Math.max(STEP, count)
    return this.#forget(
      `SELECT num FROM (
         SELECT num, row_number() OVER age AS rank, sum(bytes) OVER age - bytes AS before
         FROM (${OLDEST} ORDER BY changed, num LIMIT ?)
         WINDOW age AS (ORDER BY changed, num ROWS UNBOUNDED PRECEDING)
       ) WHERE rank <= ? OR before < ?`,
      [...ENDS.map(() => limit), limit, count, bytes]
    )
  }

  async #forget(which: string, params: SqlValue[]): Promise<number> {
    const [deleted] = await this.#run({
      sql: `DELETE FROM jobs WHERE num IN (${which}) RETURNING id, bytes`,
      params
    })
    const rows = deleted?.rows ?? []
    this.#finished -= rows.length
    for (const row of rows) {
      this.#finishedBytes -= row['bytes'] as number
      this.onForget(row['id'] as string)
    }
    return rows.length
  }
}

/** A job's rows; none of them when its id or its key is taken. */
function insertion(job: Job, key: string | null, num: number): Statement[] {
  const { expertVersion, kind, isList, timeoutMs, maxAttempts, upload, output, retryOf } = job
  const fingerprint = job.idempotency?.fingerprint ?? null
  const fixed: FixedFields = {
    expertVersion,
    kind,
    isList,
    timeoutMs,
    maxAttempts,
    upload,
    output,
    retryOf,
    fingerprint
  }
  const { id, expert, status, priority, createdAt, startedAt, attempts } = job
  const progress = jsonOf(job.progress)
  return [
    {
      sql: `INSERT INTO jobs (num, id, expert, key, status, priority, created_at, changed, started_at,
              attempts, bytes, fixed, progress, webhook)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      params: [
        ...[num, id, expert, key, status, priority, createdAt, createdAt, startedAt],
        ...[attempts, keptBytes(job), JSON.stringify(fixed), progress, jsonOf(job.webhook)]
      ]
    },
    {
      sql: 'INSERT INTO bodies (job, texts) SELECT num, ? FROM jobs WHERE num = ?',
      params: [job.bodies.join(BETWEEN_BODIES), num]
    }
  ]
}

const WRITE_END = `INSERT INTO ends (job, facts, text) SELECT num, ?, ? FROM jobs
  WHERE id = ? AND ${WRITABLE}
  ON CONFLICT (job) DO UPDATE SET facts = excluded.facts, text = excluded.text`
const ASSIGNMENTS = [
  'status = ?',
  'started_at = ?',
  'finished_at = ?',
  'changed = coalesce(?, created_at)',
  'attempts = ?',
  'progress = ?',
  'bytes = bytes + ?'
]
/** The updates that were made so far, by which of the assignments they have. */
const updates = new Map<number, string>()

/** What a patch writes; the last statement gives the row if it may be written. */
function change(id: string, patch: JobPatch, token: number): Statement[] {
  const { status, startedAt, finishedAt, attempts, progress } = patch
  const end = patch.end ?? null
  const text = end?.ok === true ? end.text : null
  const values: Array<SqlValue | undefined> = [
    status,
    startedAt,
    finishedAt,
    finishedAt,
    attempts,
    progress === undefined ? undefined : jsonOf(progress),
    text?.length
  ]
  const params: SqlValue[] = [token]
  let which = 0
  for (const [place, value] of values.entries()) {
    if (value === undefined) continue
    which |= 1 << place
    params.push(value)
  }
  params.push(id, fence(token))
  const update = { sql: updateOf(which), params }
  if (end === null) return [update]
  const facts = JSON.stringify({ ...end, text: undefined })
  return [{ sql: WRITE_END, params: [facts, text, id, fence(token)] }, update]
}

function updateOf(which: number): string {
  const made = updates.get(which)
  if (made !== undefined) return made
  const assignments = ASSIGNMENTS.filter((_, place) => (which & (1 << place)) !== 0)
  const sql = `UPDATE jobs SET ${['token = max(token, ?)', ...assignments].join(', ')}
    WHERE id = ? AND ${WRITABLE} RETURNING status, bytes, webhook IS NOT NULL AS tells`
  updates.set(which, sql)
  return sql
}

function isFull(error: unknown): boolean {
  return error instanceof HostError && error.code === 'HOST_STORE_FULL'
}

/** Characters that statements bring with them. */
function sizeOf(statements: Statement[]): number {
  const values = statements.flatMap(({ params = [] }) => params)
  return values.reduce<number>(
    (sum, value) => sum + (typeof value === 'string' ? value.length : 0),
    0
  )
}

/** Those who write without a token are let through. */
function fence(token: number): number {
  return token > 0 ? token : Number.MAX_SAFE_INTEGER
}

function jsonOf(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value)
}

/** A job of a row that has all of `COLUMNS`. */
export function jobOf(row: Row): Job {
  const { fingerprint, ...fixed } = JSON.parse(row['fixed'] as string) as FixedFields
  const key = row['key'] as string | null
  const bodies = row['bodies'] as string
  const progress = row['progress'] as string | null
  return {
    id: row['id'] as string,
    expert: row['expert'] as string,
    ...fixed,
    bodies: bodies === '' ? [] : bodies.split(BETWEEN_BODIES),
    priority: row['priority'] as number,
    idempotency: key === null ? null : { key: JSON.parse(key), fingerprint: fingerprint as string },
    createdAt: row['created_at'] as number,
    status: row['status'] as JobStatus,
    startedAt: row['started_at'] as number | null,
    finishedAt: row['finished_at'] as number | null,
    progress: progress === null ? null : JSON.parse(progress),
    attempts: row['attempts'] as number,
    webhook: webhookOf(row['webhook'] as string | null),
    end: endOf(row)
  }
}

function webhookOf(text: string | null): WebhookWish | null {
  if (text === null) return null
  const { url, origin, events } = JSON.parse(text)
  return { url, origin, events }
}

function endOf(row: Row): JobEnd | null {
  const facts = row['end_facts'] as string | null
  if (facts === null) return null
  const text = row['end_text'] as string | null
  return text === null ? JSON.parse(facts) : { ...JSON.parse(facts), text }
}
