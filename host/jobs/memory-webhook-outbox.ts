import { randomBytes } from 'node:crypto'
import { chooseDue } from './choose-due.ts'
import { isFinal, type Job, type JobPatch, type WebhookEvent } from './job.ts'
import {
  MOST_FAILED,
  MOST_PARAMS_BYTES,
  MOST_RESULT_BYTES,
  type WebhookClaim,
  type WebhookDelivery,
  type WebhookNotice,
  type WebhookOutbox,
  type WebhookState
} from './webhook-outbox.ts'

/** `place` is by when it came, or what it replaced. */
type Entry = WebhookDelivery & { bytes: number; place: number }

/** The outbox of `MemoryJobRecords`, which puts in what it is given; it ends with the host. */
export class MemoryWebhookOutbox implements WebhookOutbox {
  onNotice: () => void = () => {}
  // In the order in which they came: a map keeps the order in which keys were set.
  readonly #waiting = new Map<string, Entry>()
  readonly #failed = new Map<string, Entry>()
  /** Those that wait of each job, oldest first. */
  readonly #lines = new Map<string, Entry[]>()
  /** Jobs that have told their start. */
  readonly #told = new WeakSet<Job>()
  readonly #now: () => number
  #bytes = 0
  #places = 0

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** Puts in what a job with a webhook tells, now that the patch is applied to it. */
  changed(job: Job, patch: JobPatch): void {
    if (job.webhook === null) return
    if (patch.status !== undefined && patch.status !== 'queued') {
      if (job.attempts > 0 && !this.#told.has(job)) {
        this.#told.add(job)
        this.#enter(job, 'start')
      }
      if (isFinal(job.status)) this.#enter(job, 'completed')
    }
    if (patch.progress != null && job.status === 'running') this.#enter(job, 'progress')
  }

  async claim(claim: WebhookClaim): Promise<WebhookDelivery[]> {
    const { now, busyJobs, busyOrigins } = claim
    const due = [...this.#waiting.values()].filter(
      ({ nextAt, jobId, origin }) =>
        nextAt !== null &&
        nextAt <= now &&
        !busyJobs.includes(jobId) &&
        !busyOrigins.includes(origin)
    )
    due.sort((a, b) => (a.nextAt as number) - (b.nextAt as number))
    return chooseDue(due, claim).map((entry) => ({ ...entry }))
  }

  async nextAt(now: number): Promise<number | null> {
    let next: number | null = null
    for (const { nextAt } of this.#waiting.values()) {
      if (nextAt !== null && nextAt > now && (next === null || nextAt < next)) next = nextAt
    }
    return next
  }

  async delivered({ id }: WebhookNotice): Promise<void> {
    const entry = this.#waiting.get(id)
    if (entry !== undefined) this.#leave(entry)
  }

  async tryLater(notice: WebhookNotice, at: number, error: string): Promise<void> {
    const entry = this.#inPlaceOf(notice)
    if (entry === undefined) return
    // An older one may have come back meanwhile.
    entry.nextAt = this.#isFirst(entry) ? at : null
    entry.attempts += 1
    entry.error = error
  }

  async giveUp(notice: WebhookNotice, now: number, error: string): Promise<void> {
    const entry = this.#inPlaceOf(notice)
    if (entry === undefined) return
    this.#leave(entry)
    const attempts = entry.attempts + 1
    const failed = { ...entry, state: 'failed', attempts, error, nextAt: now } as const
    this.#failed.set(entry.id, failed)
  }

  async retry(id: string, now: number): Promise<boolean> {
    const waiting = this.#waiting.get(id)
    if (waiting !== undefined) {
      waiting.attempts = 0
      if (this.#isFirst(waiting)) waiting.nextAt = now
      return true
    }
    const failed = this.#failed.get(id)
    if (failed === undefined) return false
    this.#failed.delete(id)
    const entry: Entry = { ...failed, state: 'waiting', attempts: 0, nextAt: null }
    this.#waiting.set(id, entry)
    this.#bytes += entry.bytes
    const line = [...(this.#lines.get(entry.jobId) ?? []), entry]
    line.sort((a, b) => a.place - b.place)
    this.#lines.set(entry.jobId, line)
    if (this.#isFirst(entry)) {
      entry.nextAt = now
      for (const later of line.slice(1)) later.nextAt = null
    }
    return true
  }

  async list(query: {
    state: WebhookState
    after?: string
    limit: number
  }): Promise<WebhookNotice[]> {
    const { state, after, limit } = query
    const all = [...(state === 'waiting' ? this.#waiting : this.#failed).values()]
    const place = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1
    if (after !== undefined && place === 0) return []
    return all.slice(place, place + limit).map(noticeOf)
  }

  async get(id: string): Promise<WebhookNotice | undefined> {
    const entry = this.#waiting.get(id) ?? this.#failed.get(id)
    return entry === undefined ? undefined : noticeOf(entry)
  }

  async waiting(): Promise<{ count: number; bytes: number }> {
    return { count: this.#waiting.size, bytes: this.#bytes }
  }

  async forgetFailed(before: number): Promise<void> {
    for (const [id, { nextAt }] of this.#failed) {
      if ((nextAt as number) > before && this.#failed.size <= MOST_FAILED) return
      this.#failed.delete(id)
    }
  }

  /** A notice that was tried, or the newer progress that took its place meanwhile. */
  #inPlaceOf({ id, jobId, event }: WebhookNotice): Entry | undefined {
    const line = event === 'progress' ? this.#lines.get(jobId) : undefined
    return this.#waiting.get(id) ?? line?.find((other) => other.event === event)
  }

  #isFirst(entry: Entry): boolean {
    return this.#lines.get(entry.jobId)?.[0] === entry
  }

  #enter(job: Job, event: WebhookEvent): void {
    const { webhook } = job
    if (webhook === null || !webhook.events.includes(event)) return
    const line = this.#lines.get(job.id) ?? []
    const entry = this.#entryOf(job, event)
    const older = event === 'progress' ? line.findIndex((one) => one.event === event) : -1
    const replaced = line[older]
    if (replaced === undefined) {
      line.push(entry)
      if (line.length > 1) entry.nextAt = null
    } else {
      entry.place = replaced.place
      entry.nextAt = replaced.nextAt
      entry.attempts = replaced.attempts
      entry.error = replaced.error
      line[older] = entry
      this.#waiting.delete(replaced.id)
      this.#bytes -= replaced.bytes
    }
    this.#lines.set(job.id, line)
    this.#waiting.set(entry.id, entry)
    this.#bytes += entry.bytes
    this.onNotice()
  }

  #entryOf(job: Job, event: WebhookEvent): Entry {
    const { url, origin } = job.webhook as { url: string; origin: string }
    const { end, bodies } = job
    const now = this.#now()
    let leftOut: Entry['leftOut'] = null
    let bytes = 0
    let told: Job
    if (event === 'completed') {
      if (end?.ok === true) bytes = Buffer.byteLength(end.text)
      const isLarge = bytes > MOST_RESULT_BYTES
      if (isLarge) leftOut = 'result'
      told = {
        ...job,
        bodies: [],
        end: isLarge ? ({ ...end, ok: true, text: 'null' } as never) : end
      }
    } else {
      for (const body of bodies) bytes += Buffer.byteLength(body)
      if (bytes > MOST_PARAMS_BYTES) leftOut = 'params'
      const kept = leftOut === null ? bodies : []
      told = { ...job, bodies: kept, status: 'running', finishedAt: null, end: null }
    }
    return {
      id: `msg_${randomBytes(16).toString('hex')}`,
      jobId: job.id,
      expert: job.expert,
      event,
      url,
      origin,
      state: 'waiting',
      createdAt: now,
      nextAt: now,
      attempts: 0,
      error: null,
      job: told,
      leftOut,
      place: this.#places++,
      bytes: 500 + (leftOut === null ? bytes : 0)
    }
  }

  #leave(entry: Entry): void {
    this.#waiting.delete(entry.id)
    this.#bytes -= entry.bytes
    const line = (this.#lines.get(entry.jobId) ?? []).filter((one) => one !== entry)
    const [next] = line
    if (next === undefined) this.#lines.delete(entry.jobId)
    else {
      this.#lines.set(entry.jobId, line)
      next.nextAt ??= this.#now()
    }
  }
}

function noticeOf(entry: Entry): WebhookNotice {
  const { job: _job, leftOut: _leftOut, bytes: _bytes, place: _place, ...notice } = entry
  return notice.state === 'failed' ? { ...notice, nextAt: null } : notice
}
