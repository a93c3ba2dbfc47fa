import type { JobEvent } from './job-feeds.ts'

/** What is heard of a job that is followed: an event, or that its record is worth a look, for it may have ended. */
export type HeardEvent = JobEvent | 'look'

/** What hosts that share a store of jobs tell each other. What cannot be sent is lost: records say what counts. */
export interface JobExchange {
  /** Jobs of that expert wait. */
  onWaiting: (expert: string) => void
  /** Another host has canceled it. */
  onCanceled: (jobId: string) => void
  /** Another host has forgotten it, which had an answered file. */
  onForgotten: (jobId: string) => void
  /** Tells those who follow a job on other hosts. */
  tell(jobId: string, event: JobEvent): void
  /** What was told of a job is sent before what its teller asks of the store next. */
  flush(jobId: string): void
  /**
   * Calls `listener` for what other hosts tell of a job. Resolves when nothing is missed any more, with
   * the function that ends it.
   */
  follow(jobId: string, listener: (heard: HeardEvent) => void): Promise<() => void>
  /** Progress and log lines of a job that are kept, whichever host they are from. */
  kept(jobId: string): Promise<JobEvent[]>
  /** Says what this host serves, by any names that hosts agree on. @returns what any host serves, as of some 30 s */
  served(names: string[]): Promise<Set<string>>
}
