/** A job that its claimer may run now, as long as it renews the lease. */
export interface Claim {
  jobId: string
  expert: string
  /** Grows with every claim of a job: what an earlier claimer writes later is refused by it. */
  token: number
  /** Nothing else may run in the process that runs it. */
  alone: boolean
}

/** Where in the line a job stands. */
export interface Place {
  /** Higher first; first come, first served within one. */
  priority: number
  /** Behind all that are not. */
  alone?: boolean
  /** Not claimed before, epoch milliseconds. */
  notBefore?: number
  /** Only this host can run it, while it is there: it has its files. Means nothing where hosts share no line. */
  here?: boolean
}

/** How long a claim holds without being renewed, milliseconds. */
export const LEASE_MS = 30_000

/**
 * Hands accepted jobs to hosts, each to one at a time: a driver is one file that passes the suite of
 * `host/test/dispatch-contract.ts`. Each method may throw HostError HOST_STORE_FULL or HOST_STORE_FAILED.
 */
export interface Dispatch {
  /** Puts a job at the end of the line; does nothing when it stands there or is claimed. */
  push(expert: string, jobId: string, place: Place): Promise<void>
  /** Takes up to `limit` jobs of one expert, those whose claimer let its lease run out among them. */
  claim(expert: string, limit: number): Promise<Claim[]>
  /** Prolongs leases. @returns the claims that are lost: ended, dropped or claimed by another */
  renew(claims: Claim[]): Promise<Claim[]>
  /** The claimed job has ended. */
  done(claim: Claim): Promise<void>
  /** Puts a claimed job back into the line; does nothing when the claim is lost. */
  release(claim: Claim, place: Place): Promise<void>
  /** Takes a job out, waiting or claimed; false when it is not there. */
  drop(jobId: string): Promise<boolean>
  /** How many wait, by expert; those without any are left out. */
  waiting(): Promise<Map<string, number>>
}
