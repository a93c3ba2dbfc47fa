import type { RunLogLine } from '../runtime/expert-instance.ts'
import { isFinal, type Job, type JobEnd, type JobProgress, statusOf } from './job.ts'
import type { JobExchange } from './job-exchange.ts'
import type { JobFeeds, UnnumberedEvent } from './job-feeds.ts'
import type { JobRecords } from './job-records.ts'

/** Between two writes of one job's progress, milliseconds; those who follow it hear of each at once. */
const PROGRESS_MS = 1000
/** A short run that ends within this time of its start, milliseconds, has both written at once. */
const BEGUN_MS = 5

/** A job whose run has begun here, and what is not yet written of it. */
interface Running {
  token: number | undefined
  facts: Pick<Job, 'status' | 'startedAt' | 'attempts'>
  isWritten: boolean
  progress: JobProgress | null
  progressWrittenAt: number
}

/**
 * Writes into the records what becomes of jobs that run here, and tells those who follow them.
 */
export class JobJournal {
  readonly records: JobRecords
  readonly #feeds: JobFeeds
  readonly #exchange: JobExchange | null
  readonly #onFault: (error: Error) => void
  readonly #running = new Map<string, Running>()
  #unwritten: string[] = []

  /** @param options.exchange - of records that other hosts read too; default: none */
  constructor(options: {
    records: JobRecords
    feeds: JobFeeds
    exchange?: JobExchange | null
    onFault: (error: Error) => void
  }) {
    this.records = options.records
    this.#feeds = options.feeds
    this.#exchange = options.exchange ?? null
    this.#onFault = options.onFault
  }

  /**
   * A run has begun. Nobody waits for the write: what it says is seen while the run lasts.
   * @param isShort - it may end so soon that its start and its end are one write
   */
  begun(job: Job, options: { token?: number; isShort?: boolean } = {}): void {
    if (job.startedAt !== null) return
    job.startedAt = Date.now()
    job.attempts += 1
    const { id, startedAt, attempts } = job
    const { token, isShort = false } = options
    const facts = { status: 'running', startedAt, attempts } as const
    const running = { token, facts, isWritten: false, progress: null, progressWrittenAt: 0 }
    this.#running.set(id, running)
    if (isShort && this.#unwritten.length === 0) setTimeout(() => this.#writeBegun(), BEGUN_MS)
    this.#unwritten.push(id)
    if (!isShort) this.#writeBegun()
    this.#publish(id, { type: 'status', data: { status: 'running', attempts } })
  }

  progress(id: string, progress: JobProgress): void {
    const running = this.#running.get(id)
    if (running === undefined) return
    running.progress = progress
    this.#publish(id, { type: 'progress', data: progress })
    const now = Date.now()
    if (now - running.progressWrittenAt < PROGRESS_MS) return
    running.progressWrittenAt = now
    this.#soon(this.records.patch(id, { progress }, running.token))
  }

  logged(id: string, line: RunLogLine): void {
    // After its end a run may still say something: there is nobody to keep it for.
    if (this.#running.has(id)) this.#publish(id, { type: 'log', data: line })
  }

  item(id: string, place: number, text: string, token?: number): void {
    this.#soon(this.records.keepItem(id, place, text, token))
  }

  /** The job waits again: what ran it is gone. `attempts` is how many runs count so far. */
  async waitsAgain(job: Job, attempts: number, token?: number): Promise<void> {
    this.#running.delete(job.id)
    const patch = { status: 'queued', startedAt: null, progress: null, attempts } as const
    await this.records.patch(job.id, patch, token)
    this.#publish(job.id, { type: 'status', data: { status: 'queued', attempts } })
  }

  /** @returns false when the job has ended before: its first end stands */
  async close(id: string, end: JobEnd, token?: number): Promise<boolean> {
    const running = this.#running.get(id)
    const status = statusOf(end)
    this.#exchange?.flush(id)
    // With the end, that is.
    if (running !== undefined) running.isWritten = true
    const closed = await this.records.patch(
      id,
      {
        ...running?.facts,
        ...(running?.progress && { progress: running.progress }),
        status,
        finishedAt: stamp(),
        end
      },
      token
    )
    this.#running.delete(id)
    // Followers at other hosts are told by the records.
    if (closed) this.#feeds.publish(id, { type: 'end', data: { status, end } })
    return closed
  }

  /** What becomes of its run is no longer seen to here. */
  leave(id: string): void {
    this.#running.delete(id)
  }

  /** The job as it stands now: what runs here is ahead of its record. */
  asItStands(job: Job): Job {
    const running = this.#running.get(job.id)
    if (running === undefined || isFinal(job.status)) return job
    return { ...job, ...running.facts, progress: running.progress ?? job.progress }
  }

  #publish(id: string, event: UnnumberedEvent): void {
    if (this.#exchange === null) {
      this.#feeds.publish(id, event)
      return
    }
    const numbered = this.#feeds.numbered(event)
    this.#feeds.deliver(id, numbered)
    this.#exchange.tell(id, numbered)
  }

  #writeBegun(): void {
    const ids = this.#unwritten
    this.#unwritten = []
    for (const id of ids) {
      const running = this.#running.get(id)
      if (running === undefined || running.isWritten) continue
      running.isWritten = true
      this.#soon(this.records.patch(id, running.facts, running.token))
    }
  }

  #soon(write: Promise<unknown>): void {
    write.catch((error) => this.#onFault(error))
  }
}

let last = 0

/** Epoch milliseconds that never come twice, so that listings keep the order of one millisecond. */
export function stamp(): number {
  last = Math.max(Date.now(), last + 0.001)
  return last
}
