import { isFinal, type Job, type JobPatch, type JobStatus, keptBytes, lastChange } from './job.ts'
import { type JobQuery, type JobRecords, LIST_BYTES, type Retention } from './job-records.ts'
import type { MemoryWebhookOutbox } from './memory-webhook-outbox.ts'

interface Entry {
  job: Job
  /** Of the last claim that wrote. */
  token: number
  items: Map<number, string>
  /** Counted once it has ended. */
  bytes: number
}

/** Jobs in the memory of this host; they end with it. */
export class MemoryJobRecords implements JobRecords {
  onForget: (id: string) => void = () => {}
  readonly #retention: Retention
  readonly #now: () => number
  readonly #outbox: MemoryWebhookOutbox | null
  readonly #live = new Map<string, Entry>()
  // In the order of their ends: a map keeps the order in which keys were set.
  readonly #finished = new Map<string, Entry>()
  /** Ids by expert and idempotency key. */
  readonly #keys = new Map<string, string>()
  #finishedBytes = 0

  /** @param options.outbox - what jobs with a webhook are told to; without it they have none */
  constructor(
    retention: Retention,
    now: () => number = Date.now,
    options: { outbox?: MemoryWebhookOutbox } = {}
  ) {
    this.#retention = retention
    this.#now = now
    this.#outbox = options.outbox ?? null
  }

  async create(job: Job): Promise<Job | null> {
    this.#expire(this.#now())
    const key = keyOf(job)
    const holder = key === null ? undefined : this.#keys.get(key)
    if (holder !== undefined) return { ...(this.#entry(holder) as Entry).job }
    if (this.#entry(job.id) !== undefined) throw new Error(`There is a job ${job.id} already`)
    this.#live.set(job.id, { job: { ...job }, token: 0, items: new Map(), bytes: 0 })
    if (key !== null) this.#keys.set(key, job.id)
    return null
  }

  async get(id: string): Promise<Job | undefined> {
    this.#expire(this.#now())
    const entry = this.#entry(id)
    return entry === undefined ? undefined : { ...entry.job }
  }

  async getMany(ids: string[]): Promise<Map<string, Job>> {
    const found = await Promise.all(ids.map((id) => this.get(id)))
    return new Map(found.flatMap((job) => (job === undefined ? [] : [[job.id, job]])))
  }

  async patch(id: string, patch: JobPatch, token = 0): Promise<boolean> {
    const entry = this.#writable(id, token)
    if (entry === null) return false
    Object.assign(entry.job, patch)
    this.#outbox?.changed(entry.job, patch)
    if (isFinal(entry.job.status)) this.#finish(entry)
    return true
  }

  async list(query: JobQuery): Promise<Job[]> {
    this.#expire(this.#now())
    const { expert, statuses, before = Number.POSITIVE_INFINITY, limit } = query
    const found = this.#all()
      .filter(
        (job) =>
          (expert === undefined || job.expert === expert) &&
          (statuses === undefined || statuses.includes(job.status)) &&
          lastChange(job) < before
      )
      .sort((a, b) => lastChange(b) - lastChange(a))
      .slice(0, limit)
    let newer = 0
    const page = found.filter((job) => {
      const isTaken = newer < LIST_BYTES
      newer += keptBytes(job)
      return isTaken
    })
    return page.reverse().map((job) => ({ ...job }))
  }

  async count(expert?: string): Promise<Record<JobStatus, number>> {
    this.#expire(this.#now())
    const counts = { queued: 0, running: 0, succeeded: 0, failed: 0, canceled: 0 }
    for (const job of this.#all()) {
      if (expert === undefined || job.expert === expert) counts[job.status] += 1
    }
    return counts
  }

  async keepItem(id: string, place: number, text: string, token = 0): Promise<boolean> {
    const entry = this.#writable(id, token)
    entry?.items.set(place, text)
    return entry !== null
  }

  async items(id: string): Promise<Map<number, string>> {
    return new Map(this.#live.get(id)?.items)
  }

  async expire(now: number): Promise<number> {
    return this.#expire(now)
  }

  #all(): Job[] {
    return [...this.#finished.values(), ...this.#live.values()].map((entry) => entry.job)
  }

  #entry(id: string): Entry | undefined {
    return this.#live.get(id) ?? this.#finished.get(id)
  }

  /** The unfinished job, unless a later claim has written. */
  #writable(id: string, token: number): Entry | null {
    const entry = this.#live.get(id)
    if (entry === undefined || (token > 0 && token < entry.token)) return null
    entry.token = Math.max(entry.token, token)
    return entry
  }

  #finish(entry: Entry): void {
    const { job } = entry
    this.#live.delete(job.id)
    entry.items.clear()
    entry.bytes = keptBytes(job)
    this.#finished.set(job.id, entry)
    this.#finishedBytes += entry.bytes
    const { maxFinished, maxFinishedBytes } = this.#retention
    for (const id of this.#finished.keys()) {
      if (this.#finished.size <= maxFinished && this.#finishedBytes <= maxFinishedBytes) return
      this.#forget(id)
    }
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

  #forget(id: string): void {
    const entry = this.#finished.get(id)
    if (entry === undefined) return
    this.#finishedBytes -= entry.bytes
    this.#finished.delete(id)
    this.onForget(id)
    const key = keyOf(entry.job)
    if (key !== null) this.#keys.delete(key)
  }
}

function keyOf(job: Job): string | null {
  return job.idempotency === null ? null : JSON.stringify([job.expert, job.idempotency.key])
}
