import { hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { SqliteStore, type Statement, StoreError } from '../sqlite/sqlite-store.ts'
import type { Dispatch } from './dispatch.ts'
import type { JobRecords, Retention } from './job-records.ts'
import { SqliteDispatch } from './sqlite-dispatch.ts'
import { SqliteJobRecords } from './sqlite-job-records.ts'
import { SqliteWebhookOutbox, WEBHOOKS_MIGRATION } from './sqlite-webhook-outbox.ts'
import type { WebhookOutbox } from './webhook-outbox.ts'

/** Jobs and their line, in one file of this host. */
export interface SqliteJobs {
  records: JobRecords
  dispatch: Dispatch
  outbox: WebhookOutbox
  /** Why the file cannot be used any more, or null. */
  readonly failure: Error | null
  close(): Promise<void>
}

// SQLite writes a whole row when one column changes, and reads past long ones: so texts of any length
// are in tables of their own, and `jobs` has only what is short.
const MIGRATIONS = [
  `
  CREATE TABLE jobs (
    num INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    expert TEXT NOT NULL,
    key TEXT,
    status TEXT NOT NULL,
    priority REAL NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    changed REAL NOT NULL,
    attempts INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL,
    fixed TEXT NOT NULL,
    progress TEXT,
    place TEXT
  ) STRICT;
  CREATE UNIQUE INDEX jobs_by_key ON jobs (expert, key) WHERE key IS NOT NULL;
  CREATE INDEX jobs_by_change ON jobs (status, changed, expert);

  CREATE TABLE bodies (job INTEGER PRIMARY KEY, texts TEXT NOT NULL) STRICT;
  CREATE TABLE ends (job INTEGER PRIMARY KEY, facts TEXT NOT NULL, text TEXT) STRICT;
  CREATE TABLE items (
    job INTEGER NOT NULL,
    place INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, place)
  ) STRICT;
  -- Room that new jobs cannot take: the ends of the accepted ones fit also when all else is full.
  CREATE TABLE reserve (num INTEGER PRIMARY KEY, filler BLOB NOT NULL) STRICT;
  CREATE TRIGGER job_ends AFTER UPDATE OF status ON jobs
  WHEN NEW.status NOT IN ('queued', 'running') BEGIN
    DELETE FROM items WHERE job = NEW.num;
  END;
  CREATE TRIGGER job_goes AFTER DELETE ON jobs BEGIN
    DELETE FROM bodies WHERE job = OLD.num;
    DELETE FROM ends WHERE job = OLD.num;
    DELETE FROM items WHERE job = OLD.num;
  END;
  `,
  WEBHOOKS_MIGRATION
]

/** The file is this host's alone: what ran for the one before was lost. */
const RECOVERY: Statement = {
  sql: `UPDATE jobs SET status = 'queued', started_at = NULL, progress = NULL
        WHERE status = 'running'`
}

/**
 * Opens the jobs of a file, or makes it. What was claimed or running when the host before ended waits
 * again, in its old place.
 *
 * @param options.maxBytes - how large the file may grow
 * @throws StoreError and the other errors of `SqliteStore.open`
 */
export async function openSqliteJobs(options: {
  path: string
  retention: Retention
  log: Logger
  maxBytes?: number
  now?: () => number
}): Promise<SqliteJobs> {
  const { path, retention, log, maxBytes, now = Date.now } = options
  const store = await SqliteStore.open({ path, migrations: MIGRATIONS, log, maxBytes })
  const run: SqliteStore['run'] = (...statements) =>
    store.run(...statements).catch((error) => {
      throw withCode(error)
    })
  try {
    const [lost] = await store.run(RECOVERY)
    const records = await SqliteJobRecords.open({ run, retention, now })
    const insist: SqliteStore['run'] = (...statements) => records.insist(...statements)
    const dispatch = await SqliteDispatch.open({ insist, now })
    const outbox = new SqliteWebhookOutbox({ run, insist })
    records.onNotice = () => outbox.onNotice()
    if (lost?.changes !== 0) {
      log.info({ path, lost: lost?.changes }, 'jobs of the host before wait again')
    }
    return {
      records,
      dispatch,
      outbox,
      get failure() {
        return store.failure
      },
      close: () => store.close()
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

function withCode(error: Error): Error {
  return error instanceof StoreError && error.kind === 'full'
    ? hostError('HOST_STORE_FULL', [], { cause: error })
    : hostError('HOST_STORE_FAILED', [error.message], { cause: error })
}
