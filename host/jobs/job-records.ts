import type { Job, JobPatch } from './job.ts'

/**
 * What is known of jobs: a driver is one file that passes the suite of `host/test/job-records-contract.ts`.
 *
 * Unfinished jobs are never evicted. Finished ones are kept for their time, and bounded in number and bytes.
 */
export interface JobRecords {
  /** @throws Error when the id is taken */
  create(job: Job): Promise<void>
  get(id: string): Promise<Job | undefined>
  /** Changes an unfinished job; false when it is unknown or has ended: an end is final. */
  patch(id: string, patch: JobPatch): Promise<boolean>
  /** All, or those of one expert, in the order of their last change of state, oldest first. */
  list(expert?: string): Promise<Job[]>
  /** Forgets finished jobs whose time is over; gives how many. */
  expire(now: number): Promise<number>
}
