/** A job that its claimer may run now. */
export interface Claim {
  jobId: string
  expert: string
}

/**
 * Hands accepted jobs to hosts, each to one at a time: a driver is one file that passes the suite of
 * `host/test/dispatch-contract.ts`.
 */
export interface Dispatch {
  /** Puts a job in line; higher priority first, first come first served within one. */
  push(expert: string, jobId: string, priority: number): Promise<void>
  /** Takes up to `limit` jobs of one expert. */
  claim(expert: string, limit: number): Promise<Claim[]>
  /** The claimed job has ended. */
  done(claim: Claim): Promise<void>
  /** Takes a waiting job out of the line; false when it is not in it. */
  drop(jobId: string): Promise<boolean>
  /** How many wait, of all experts. */
  waiting(): Promise<number>
}
