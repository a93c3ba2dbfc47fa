import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '../observe/log.ts'
import { StoreInUseError } from '../sqlite/store-error.ts'
import type { Dispatch } from './dispatch.ts'
import type { JobRecords, Retention } from './job-records.ts'
import { MemoryDispatch } from './memory-dispatch.ts'
import { MemoryJobRecords } from './memory-job-records.ts'
import { MemoryWebhookOutbox } from './memory-webhook-outbox.ts'
import { openSqliteJobs } from './sqlite-jobs.ts'
import type { WebhookOutbox } from './webhook-outbox.ts'

/** Where accepted jobs are kept, and the line they stand in. */
export interface JobStore {
  records: JobRecords
  dispatch: Dispatch
  /** What the webhooks of its jobs are still to be told. */
  outbox: WebhookOutbox
  /** Why it cannot be used any more, or null. */
  readonly failure: Error | null
  close(): Promise<void>
}

export interface JobStoreOptions {
  /** A folder of its own. */
  dir: string
  /** Bytes on disk that it may take; null for as many as there are. */
  maxBytes: number | null
  retention: Retention
  log: Logger
}

/** What `NEBULA_JOB_STORE` chooses from: a driver is one line here, and one test of each contract suite. */
export const jobStores = {
  sqlite: async ({ dir, maxBytes, retention, log }: JobStoreOptions): Promise<JobStore> => {
    await mkdir(dir, { recursive: true })
    const limit = maxBytes === null ? {} : { maxBytes }
    try {
      return await openSqliteJobs({ path: join(dir, 'jobs.sqlite'), retention, log, ...limit })
    } catch (error) {
      if (!(error instanceof StoreInUseError)) throw error
      const advice = 'a data folder belongs to one host, NEBULA_DATA_DIR gives this one its own'
      throw new Error(`${error.message}: ${advice}`, { cause: error })
    }
  },
  /** Ends with the host; for a file system that cannot be written. */
  memory: async ({ retention }: JobStoreOptions): Promise<JobStore> => {
    const outbox = new MemoryWebhookOutbox()
    return {
      records: new MemoryJobRecords(retention, Date.now, { outbox }),
      dispatch: new MemoryDispatch(),
      outbox,
      failure: null,
      close: async () => {}
    }
  }
}

export type JobStoreName = keyof typeof jobStores
