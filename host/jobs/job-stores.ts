import { join } from 'node:path'
import { makeStoreFolder } from '../lasting-folder.ts'
import type { Logger } from '../observe/log.ts'
import { StoreInUseError } from '../sqlite/store-error.ts'
import type { Dispatch } from './dispatch.ts'
import type { JobExchange } from './job-exchange.ts'
import type { JobRecords, Retention } from './job-records.ts'
import { MemoryDispatch } from './memory-dispatch.ts'
import { MemoryJobRecords } from './memory-job-records.ts'
import { MemoryWebhookOutbox } from './memory-webhook-outbox.ts'
import { openRedisJobs } from './redis/redis-jobs.ts'
import { openSqliteJobs } from './sqlite-jobs.ts'
import type { WebhookOutbox } from './webhook-outbox.ts'

/** Where accepted jobs are kept, and the line they stand in. */
export interface JobStore {
  records: JobRecords
  dispatch: Dispatch
  /** What the webhooks of its jobs are still to be told. */
  outbox: WebhookOutbox
  /** Between the hosts that share it; null when it is one host's alone. */
  readonly exchange: JobExchange | null
  /** Why it cannot be used, at the moment or for good, or null. */
  readonly failure: Error | null
  /** What accepted jobs survive, in words. */
  readonly guarantee: string
  close(): Promise<void>
}

export interface JobStoreOptions {
  /** A folder of its own. */
  dir: string
  /** Bytes on disk that it may take; null for as many as there are. */
  maxBytes: number | null
  retention: Retention
  /** Where a server keeps them. */
  url: string | null
  /** How long jobs wait for the host that has their files, milliseconds. */
  absentMs: number
  log: Logger
}

/** What `NEBULA_STORE` and `REDIS_URL` choose from: a driver is one line here, and one test of each contract suite. */
export const jobStores = {
  sqlite: async ({ dir, maxBytes, retention, log }: JobStoreOptions): Promise<JobStore> => {
    await makeStoreFolder(dir, log)
    const limit = maxBytes === null ? {} : { maxBytes }
    try {
      const store = await openSqliteJobs({
        path: join(dir, 'jobs.sqlite'),
        retention,
        log,
        ...limit
      })
      return {
        records: store.records,
        dispatch: store.dispatch,
        outbox: store.outbox,
        exchange: null,
        get failure() {
          return store.failure
        },
        guarantee: 'accepted jobs survive the end of the host and a loss of power',
        close: () => store.close()
      }
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
      exchange: null,
      failure: null,
      guarantee: 'accepted jobs end with the host',
      close: async () => {}
    }
  },
  /** Shared by every host that has the same one. */
  redis: async (options: JobStoreOptions): Promise<JobStore> =>
    openRedisJobs({ ...options, url: options.url ?? 'redis://127.0.0.1' })
}

export type JobStoreName = keyof typeof jobStores
