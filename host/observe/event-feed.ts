/** One thing that happened. Ids grow by one; a listener that knows the last it saw misses none. */
export interface FeedEvent {
  id: number
  /** What it is about: `expert`. */
  type: string
  data: unknown
}

const KEPT = 128

/** The last events, and those who listen for the next. */
export class EventFeed {
  #events: FeedEvent[] = []
  // Past every id of a host that ran before: what its clients saw is never taken for ours.
  #nextId = Date.now() * 1000
  readonly #listeners = new Set<(event: FeedEvent | null) => void>()

  publish(type: string, data: unknown): void {
    const event = { id: this.#nextId++, type, data }
    this.#events.push(event)
    if (this.#events.length > KEPT) this.#events.shift()
    for (const listener of this.#listeners) listener(event)
  }

  /** Id of the newest event. */
  get lastId(): number {
    return this.#nextId - 1
  }

  /** Events after the one of that id; null when some of them are not kept any more. */
  since(id: number): FeedEvent[] | null {
    const oldest = this.#events[0]?.id ?? this.#nextId
    if (id < oldest - 1 || id > this.lastId) return null
    return this.#events.filter((event) => event.id > id)
  }

  /** Calls `listener` for each event, and with null at the end. Gives the function that ends it. */
  listen(listener: (event: FeedEvent | null) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  close(): void {
    for (const listener of this.#listeners) listener(null)
    this.#listeners.clear()
  }
}
