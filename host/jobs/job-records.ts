import type { Job, JobPatch, JobStatus } from './job.ts'

/** Which jobs a listing gives. */
export interface JobQuery {
  expert?: string | undefined
  statuses?: readonly JobStatus[] | undefined
  /** Only those whose last change is earlier than this: the first of the page before. */
  before?: number | undefined
  limit: number
}

/** What a listing gives at most, by `keptBytes`; one job is given whatever it has. */
export const LIST_BYTES = 32 * 1024 * 1024

/** How long finished jobs are kept. */
export interface Retention {
  /** Milliseconds from a job's end. */
  keepMs: number
  /** How many; the oldest go first. */
  maxFinished: number
  /** How many bytes of parameters and results. */
  maxFinishedBytes: number
}

/**
 * What is known of jobs: a driver is one file that passes the suite of `host/test/job-records-contract.ts`.
 *
 * Unfinished jobs are never evicted. What a method writes is as durable as the driver is when it resolves.
 * Each may throw HostError HOST_STORE_FULL or HOST_STORE_FAILED.
 */
export interface JobRecords {
  /** Called for each finished job that is forgotten here, whatever for. */
  onForget: (id: string) => void
  /**
   * Writes a new job, unless its expert has one of the same idempotency key.
   * @returns null, or the job that has the key
   * @throws Error when the id is taken
   */
  create(job: Job): Promise<Job | null>
  get(id: string): Promise<Job | undefined>
  /** Those of them that are known, by id. */
  getMany(ids: string[]): Promise<Map<string, Job>>
  /**
   * Changes an unfinished job; false when it is unknown or has ended: an end is final.
   * @param token - of the claim under which it runs: refused when a later claim has written
   */
  patch(id: string, patch: JobPatch, token?: number): Promise<boolean>
  /**
   * The newest `limit` jobs of the query by last change of state, oldest of them first; fewer when those
   * that follow would make it more than `LIST_BYTES`.
   */
  list(query: JobQuery): Promise<Job[]>
  /** How many jobs there are in each state, of all experts or of one. */
  count(expert?: string): Promise<Record<JobStatus, number>>
  /** Keeps the answer to one item of a list until the job ends. Refused like a patch. */
  keepItem(id: string, place: number, text: string, token?: number): Promise<boolean>
  /** The kept answers by place. */
  items(id: string): Promise<Map<number, string>>
  /** Forgets finished jobs whose time is over; gives how many. */
  expire(now: number): Promise<number>
}
