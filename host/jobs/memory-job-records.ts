import { isFinal, type Job, type JobPatch } from './job.ts'
import type { JobRecords } from './job-records.ts'

export interface Retention {
  /** How long a finished job is kept, milliseconds from its end. */
  keepMs: number
  /** How many finished jobs are kept; the oldest go first. */
  maxFinished: number
  /** How many bytes of finished jobs are kept. */
  maxFinishedBytes: number
}

/** Jobs in the memory of this host; they end with it. */
export class MemoryJobRecords implements JobRecords {
  readonly #retention: Retention
  readonly #now: () => number
  // In order of last change of state: a map keeps the order in which keys were set.
  readonly #live = new Map<string, Job>()
  readonly #finished = new Map<string, { job: Job; bytes: number }>()
  #finishedBytes = 0

  constructor(retention: Retention, now: () => number = Date.now) {
    this.#retention = retention
    this.#now = now
  }

  async create(job: Job): Promise<void> {
    if (this.#live.has(job.id) || this.#finished.has(job.id)) {
      throw new Error(`There is a job ${job.id} already`)
    }
    this.#live.set(job.id, { ...job })
  }

  async get(id: string): Promise<Job | undefined> {
    this.#expire(this.#now())
    const job = this.#live.get(id) ?? this.#finished.get(id)?.job
    return job === undefined ? undefined : { ...job }
  }

  async patch(id: string, patch: JobPatch): Promise<boolean> {
    const job = this.#live.get(id)
    if (job === undefined) return false
    Object.assign(job, patch)
    if (isFinal(job.status)) {
      this.#live.delete(id)
      const bytes = sizeOf(job)
      this.#finished.set(id, { job, bytes })
      this.#finishedBytes += bytes
      this.#evict()
    }
    return true
  }

  async list(expert?: string): Promise<Job[]> {
    this.#expire(this.#now())
    const jobs: Job[] = []
    // A finish is later than the beginning of what still lives only by chance: merge by time.
    for (const { job } of this.#finished.values()) jobs.push(job)
    for (const job of this.#live.values()) jobs.push(job)
    const chosen = expert === undefined ? jobs : jobs.filter((job) => job.expert === expert)
    return chosen.sort((a, b) => lastWrite(a) - lastWrite(b)).map((job) => ({ ...job }))
  }

  async expire(now: number): Promise<number> {
    return this.#expire(now)
  }

  #expire(now: number): number {
    let gone = 0
    for (const [id, { job }] of this.#finished) {
      if ((job.finishedAt as number) + this.#retention.keepMs > now) break
      this.#forget(id)
      gone += 1
    }
    return gone
  }

  #evict(): void {
    const { maxFinished, maxFinishedBytes } = this.#retention
    for (const id of this.#finished.keys()) {
      if (this.#finished.size <= maxFinished && this.#finishedBytes <= maxFinishedBytes) return
      this.#forget(id)
    }
  }

  #forget(id: string): void {
    this.#finishedBytes -= this.#finished.get(id)?.bytes ?? 0
    this.#finished.delete(id)
  }
}

function lastWrite(job: Job): number {
  return job.finishedAt ?? job.createdAt
}

function sizeOf(job: Job): number {
  let bytes = 500
  for (const body of job.bodies) bytes += body.length
  if (job.end?.ok === true) bytes += job.end.text.length
  return bytes
}
