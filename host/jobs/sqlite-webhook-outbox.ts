import type { Row, SqliteStore, SqlValue } from '../sqlite/sqlite-store.ts'
import { chooseDue } from './choose-due.ts'
import type { WebhookEvent } from './job.ts'
import { jobOf } from './sqlite-job-records.ts'
import {
  MOST_FAILED,
  MOST_PARAMS_BYTES,
  MOST_RESULT_BYTES,
  type WebhookClaim,
  type WebhookDelivery,
  type WebhookNotice,
  type WebhookOutbox,
  type WebhookState
} from './webhook-outbox.ts'

/** Behind another one of its job: due when that is gone. */
const BEHIND = Number.MAX_SAFE_INTEGER
const NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
const NEW_ID = "'msg_' || lower(hex(randomblob(16)))"
const URL_OF = "json_extract(NEW.webhook, '$.url')"
const ORIGIN_OF = "json_extract(NEW.webhook, '$.origin')"
const PARAMS = '(SELECT texts FROM bodies WHERE job = NEW.num)'
const RESULT = '(SELECT text FROM ends WHERE job = NEW.num)'
const FACTS = '(SELECT facts FROM ends WHERE job = NEW.num)'

const wants = (event: WebhookEvent) =>
  `EXISTS (SELECT 1 FROM json_each(NEW.webhook, '$.events') WHERE value = '${event}')`
const bytesOf = (text: string) => `coalesce(length(CAST(${text} AS BLOB)), 0)`

/** Writes a notice with the job as it stands; an end alone has its answer, and what is before it its parameters. */
function enter(event: WebhookEvent, condition: string): string {
  const isEnd = event === 'completed'
  const [text, most] = isEnd ? [RESULT, MOST_RESULT_BYTES] : [PARAMS, MOST_PARAMS_BYTES]
  const fits = `${bytesOf(text)} <= ${most}`
  const kept = `CASE WHEN ${fits} THEN ${text} END`
  return `
    INSERT INTO webhooks (id, job, event, url, origin, state, created_at, next_at, bytes, expert,
      status, job_created_at, started_at, finished_at, job_attempts, fixed, progress, left_out, facts,
      ${isEnd ? 'result' : 'params'})
    SELECT ${NEW_ID}, NEW.id, '${event}', ${URL_OF}, ${ORIGIN_OF}, 'waiting', ${NOW},
      CASE WHEN EXISTS (SELECT 1 FROM webhooks WHERE job = NEW.id AND state = 'waiting')
        THEN ${BEHIND} ELSE ${NOW} END,
      500 + ${bytesOf(kept)}, NEW.expert, ${isEnd ? 'NEW.status' : "'running'"}, NEW.created_at,
      NEW.started_at, ${isEnd ? 'NEW.finished_at' : 'NULL'}, NEW.attempts, NEW.fixed, NEW.progress,
      NOT (${fits}), ${isEnd ? FACTS : 'NULL'}, ${kept}
    WHERE ${wants(event)} AND ${condition};`
}

/**
 * The table, and the triggers that fill it in the very statement that changes a job. A job that was told to have
 * started is marked so: a run that is begun again is no other start.
 */
export const WEBHOOKS_MIGRATION = `
  ALTER TABLE jobs ADD COLUMN webhook TEXT;
  CREATE TABLE webhooks (
    num INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    event TEXT NOT NULL,
    url TEXT NOT NULL,
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    bytes INTEGER NOT NULL,
    expert TEXT NOT NULL,
    status TEXT NOT NULL,
    job_created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    job_attempts INTEGER NOT NULL,
    left_out INTEGER NOT NULL,
    fixed TEXT NOT NULL,
    progress TEXT,
    facts TEXT,
    params TEXT,
    result TEXT
  ) STRICT;
  CREATE INDEX webhooks_by_time ON webhooks (state, next_at, bytes);
  CREATE INDEX webhooks_by_origin ON webhooks (state, origin, next_at, job);
  CREATE INDEX webhooks_by_job ON webhooks (job, state);

  CREATE TRIGGER job_tells_status AFTER UPDATE OF status ON jobs
  WHEN NEW.webhook IS NOT NULL AND NEW.status <> 'queued' BEGIN
    ${enter('start', "NEW.attempts > 0 AND json_extract(NEW.webhook, '$.told') IS NULL")}
    UPDATE jobs SET webhook = json_set(webhook, '$.told', 1)
    WHERE num = NEW.num AND NEW.attempts > 0 AND json_extract(NEW.webhook, '$.told') IS NULL;
    ${enter('completed', "NEW.status <> 'running'")}
  END;
  CREATE TRIGGER job_tells_progress AFTER UPDATE OF progress ON jobs
  WHEN NEW.webhook IS NOT NULL AND NEW.progress IS NOT NULL AND NEW.status = 'running' BEGIN
    UPDATE webhooks SET id = ${NEW_ID}, created_at = ${NOW}, started_at = NEW.started_at,
      job_attempts = NEW.attempts, progress = NEW.progress
    WHERE job = NEW.id AND state = 'waiting' AND event = 'progress';
    ${enter(
      'progress',
      `NOT EXISTS (SELECT 1 FROM webhooks
        WHERE job = NEW.id AND state = 'waiting' AND event = 'progress')`
    )}
  END;
`

const FACTS_OF_NOTICE =
  'num, id, job, event, url, origin, state, created_at, next_at, attempts, error, expert'
/** Of one origin no more are looked at in one claim. */
const LOOK = 16
/** Each origin that has some waiting, found by leaps through an index. */
const ORIGINS = `
  WITH RECURSIVE origins (origin) AS (
    SELECT min(origin) FROM webhooks WHERE state = 'waiting'
    UNION ALL
    SELECT (SELECT min(origin) FROM webhooks WHERE state = 'waiting' AND origin > origins.origin)
    FROM origins WHERE origin IS NOT NULL
  )`
/** The next of a job stands where it now is due. */
const PROMOTE = `UPDATE webhooks SET next_at = ?
  WHERE next_at = ${BEHIND} AND state = 'waiting'
    AND num = (SELECT min(num) FROM webhooks WHERE job = ? AND state = 'waiting')`

/** A notice that was tried, or the newer progress that took its place meanwhile: `placeOf` it. */
const IN_PLACE_OF = "state = 'waiting' AND (id = ? OR (job = ? AND event = ?))"

/** A time, or that of what stands behind an older one of its job. */
const UNLESS_BEHIND = `CASE WHEN EXISTS (SELECT 1 FROM webhooks AS other WHERE other.job = webhooks.job
  AND other.state = 'waiting' AND other.num < webhooks.num) THEN ${BEHIND} ELSE ? END`

/** The outbox in the file of the jobs; `WEBHOOKS_MIGRATION` fills it. */
export class SqliteWebhookOutbox implements WebhookOutbox {
  onNotice: () => void = () => {}
  readonly #run: SqliteStore['run']
  readonly #insist: SqliteStore['run']

  /** @param options.insist - for what carries on accepted work, also in a full store */
  constructor(options: { run: SqliteStore['run']; insist: SqliteStore['run'] }) {
    this.#run = options.run
    this.#insist = options.insist
  }

  async claim(claim: WebhookClaim): Promise<WebhookDelivery[]> {
    const { now, busyJobs, busyOrigins } = claim
    const [due] = await this.#run({
      sql: `${ORIGINS}
        SELECT due.num, due.origin, due.job FROM origins JOIN webhooks AS due ON due.num IN (
          SELECT num FROM webhooks
          WHERE state = 'waiting' AND origin = origins.origin AND next_at <= ?
            AND job NOT IN (SELECT value FROM json_each(?))
          ORDER BY next_at LIMIT ?)
        WHERE origins.origin NOT IN (SELECT value FROM json_each(?))
        ORDER BY due.next_at, due.num`,
      params: [now, JSON.stringify(busyJobs), LOOK, JSON.stringify(busyOrigins)]
    })
    const rows = (due?.rows ?? []).map(({ num, origin, job }) => ({
      num: num as number,
      origin: origin as string,
      jobId: job as string
    }))
    const chosen = chooseDue(rows, claim).map(({ num }) => num)
    if (chosen.length === 0) return []
    const [found] = await this.#run({
      sql: `SELECT ${FACTS_OF_NOTICE}, status, job_created_at, started_at, finished_at, job_attempts,
              left_out, fixed, progress, facts, params, result
            FROM webhooks WHERE num IN (SELECT value FROM json_each(?)) ORDER BY next_at, num`,
      params: [JSON.stringify(chosen)]
    })
    return (found?.rows ?? []).map(deliveryOf)
  }

  async nextAt(now: number): Promise<number | null> {
    const [found] = await this.#run({
      sql: "SELECT min(next_at) AS at FROM webhooks WHERE state = 'waiting' AND next_at > ?",
      params: [now]
    })
    const at = found?.rows[0]?.['at'] as number | null
    return at === BEHIND ? null : at
  }

  async delivered({ id, jobId }: WebhookNotice): Promise<void> {
    await this.#insist(
      { sql: "DELETE FROM webhooks WHERE id = ? AND state = 'waiting'", params: [id] },
      { sql: PROMOTE, params: [Date.now(), jobId] }
    )
  }

  async tryLater(notice: WebhookNotice, at: number, error: string): Promise<void> {
    // An older one may have come back meanwhile.
    await this.#insist({
      sql: `UPDATE webhooks SET next_at = ${UNLESS_BEHIND}, attempts = attempts + 1, error = ?
            WHERE ${IN_PLACE_OF}`,
      params: [Math.round(at), error, ...placeOf(notice)]
    })
  }

  async giveUp(notice: WebhookNotice, now: number, error: string): Promise<void> {
    await this.#insist(
      {
        sql: `UPDATE webhooks SET state = 'failed', next_at = ?, attempts = attempts + 1, error = ?
              WHERE ${IN_PLACE_OF}`,
        params: [Math.round(now), error, ...placeOf(notice)]
      },
      { sql: PROMOTE, params: [Math.round(now), notice.jobId] }
    )
  }

  async retry(id: string, now: number): Promise<boolean> {
    if (id.includes('\0')) return false
    const [changed] = await this.#run(
      {
        sql: `UPDATE webhooks SET state = 'waiting', attempts = 0, next_at = ${UNLESS_BEHIND}
              WHERE id = ?`,
        params: [Math.round(now), id]
      },
      {
        sql: `UPDATE webhooks SET next_at = ${BEHIND} WHERE state = 'waiting'
              AND job = (SELECT job FROM webhooks WHERE id = ?)
              AND num > (SELECT num FROM webhooks WHERE id = ?)`,
        params: [id, id]
      }
    )
    return changed?.changes === 1
  }

  async list(query: {
    state: WebhookState
    after?: string
    limit: number
  }): Promise<WebhookNotice[]> {
    const { state, after, limit } = query
    const params: SqlValue[] = after === undefined ? [state] : [state, after]
    const [found] = await this.#run({
      sql: `SELECT ${FACTS_OF_NOTICE} FROM webhooks WHERE state = ?
            ${after === undefined ? '' : 'AND num > (SELECT num FROM webhooks WHERE id = ?)'}
            ORDER BY num LIMIT ?`,
      params: [...params, limit]
    })
    return (found?.rows ?? []).map(noticeOf)
  }

  async get(id: string): Promise<WebhookNotice | undefined> {
    if (id.includes('\0')) return undefined
    const [found] = await this.#run({
      sql: `SELECT ${FACTS_OF_NOTICE} FROM webhooks WHERE id = ?`,
      params: [id]
    })
    const row = found?.rows[0]
    return row === undefined ? undefined : noticeOf(row)
  }

  async waiting(): Promise<{ count: number; bytes: number }> {
    const [found] = await this.#run({
      sql: `SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM webhooks
            WHERE state = 'waiting'`
    })
    const row = found?.rows[0]
    return { count: row?.['count'] as number, bytes: row?.['bytes'] as number }
  }

  async forgetFailed(before: number): Promise<void> {
    await this.#run(
      {
        sql: "DELETE FROM webhooks WHERE state = 'failed' AND next_at <= ?",
        params: [Math.round(before)]
      },
      {
        sql: `DELETE FROM webhooks WHERE num IN (SELECT num FROM webhooks WHERE state = 'failed'
              ORDER BY next_at DESC LIMIT -1 OFFSET ${MOST_FAILED})`
      }
    )
  }
}

function placeOf({ id, jobId, event }: WebhookNotice): SqlValue[] {
  return [id, jobId, event === 'progress' ? event : '']
}

function noticeOf(row: Row): WebhookNotice {
  const state = row['state'] as WebhookState
  const nextAt = row['next_at'] as number
  return {
    id: row['id'] as string,
    jobId: row['job'] as string,
    expert: row['expert'] as string,
    event: row['event'] as WebhookEvent,
    url: row['url'] as string,
    origin: row['origin'] as string,
    state,
    createdAt: row['created_at'] as number,
    nextAt: state === 'failed' || nextAt === BEHIND ? null : nextAt,
    attempts: row['attempts'] as number,
    error: row['error'] as string | null
  }
}

function deliveryOf(row: Row): WebhookDelivery {
  const notice = noticeOf(row)
  const isEnd = notice.event === 'completed'
  const isLeftOut = row['left_out'] === 1
  const leftOut = isLeftOut ? (isEnd ? 'result' : 'params') : null
  const job = jobOf({
    ...row,
    id: notice.jobId,
    key: null,
    priority: 0,
    created_at: row['job_created_at'] as number,
    attempts: row['job_attempts'] as number,
    webhook: null,
    bodies: row['params'] ?? '',
    end_facts: row['facts'] as string | null,
    end_text: isLeftOut && isEnd ? 'null' : (row['result'] as string | null)
  })
  return { ...notice, job, leftOut }
}
