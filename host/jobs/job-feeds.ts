import type { RunLogLine } from '../runtime/expert-instance.ts'
import type { JobEnd, JobProgress, JobStatus } from './job.ts'

/** What happens to one job. */
export type JobEvent = { id: number } & (
  | { type: 'status'; data: { status: JobStatus; attempts: number } }
  | { type: 'progress'; data: JobProgress }
  | { type: 'log'; data: RunLogLine }
  | { type: 'end'; data: { status: JobStatus; end: JobEnd } }
)
export type UnnumberedEvent = WithoutId<JobEvent>
type WithoutId<E> = E extends unknown ? Omit<E, 'id'> : never

interface Feed {
  /** Progress and log lines, the newest `KEPT`. */
  events: JobEvent[]
  listeners: Set<(event: JobEvent | null) => void>
}

/** Events of one job that a client may have missed and still gets. */
const KEPT = 100
/** Jobs whose last events are kept after their end, for clients that just then lost their stream. */
const KEPT_FEEDS = 1000

/**
 * Those who follow jobs, and what they may have missed. A job that nobody follows and that says nothing
 * costs nothing here.
 */
export class JobFeeds {
  readonly #feeds = new Map<string, Feed>()
  readonly #ended = new Set<string>()
  #lastId = 0

  publish(jobId: string, event: UnnumberedEvent): void {
    const isKept = event.type === 'progress' || event.type === 'log'
    if (isKept || this.#feeds.has(jobId)) this.deliver(jobId, this.numbered(event))
  }

  /** An event with an id that is larger than all before. */
  numbered(event: UnnumberedEvent): JobEvent {
    this.#lastId = Math.max(this.#lastId + 1, Date.now() * 1000)
    return { id: this.#lastId, ...event } as JobEvent
  }

  /** Tells an event, and keeps it if it is progress or a log line. */
  deliver(jobId: string, event: JobEvent): void {
    let feed = this.#feeds.get(jobId)
    const isKept = event.type === 'progress' || event.type === 'log'
    if (feed === undefined) {
      if (!isKept) return
      feed = this.#open(jobId)
    }
    if (isKept) {
      feed.events.push(event)
      if (feed.events.length > KEPT) feed.events.shift()
    }
    for (const listener of feed.listeners) listener(event)
    if (event.type === 'end') this.#end(jobId)
  }

  /** Kept events after the one of that id. */
  since(jobId: string, id: number): JobEvent[] {
    return this.#feeds.get(jobId)?.events.filter((event) => event.id > id) ?? []
  }

  /** Calls `listener` for each event, and with null when the host stops. Gives the function that ends it. */
  listen(jobId: string, listener: (event: JobEvent | null) => void): () => void {
    const feed = this.#feeds.get(jobId) ?? this.#open(jobId)
    feed.listeners.add(listener)
    return () => {
      feed.listeners.delete(listener)
      if (feed.listeners.size === 0 && feed.events.length === 0) this.#feeds.delete(jobId)
    }
  }

  close(): void {
    for (const feed of this.#feeds.values()) {
      for (const listener of [...feed.listeners]) listener(null)
    }
    this.#feeds.clear()
  }

  #open(jobId: string): Feed {
    const feed: Feed = { events: [], listeners: new Set() }
    this.#feeds.set(jobId, feed)
    return feed
  }

  #end(jobId: string): void {
    this.#ended.delete(jobId)
    this.#ended.add(jobId)
    for (const oldest of this.#ended) {
      if (this.#ended.size <= KEPT_FEEDS) return
      this.#ended.delete(oldest)
      this.#feeds.delete(oldest)
    }
  }
}
