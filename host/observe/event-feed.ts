/** One thing that happened. Ids grow by one; a listener that knows the last it saw misses none. */
export interface FeedEvent {
  id: number
  /** What it is about: `expert`. */
  type: string
  data: unknown
}

const KEPT = 1000

/** The last events, and those who listen for the next. */
export class EventFeed {
  #events: FeedEvent[] = []
  #nextId = 1
  readonly #listeners = new Set<(event: FeedEvent | null) => void>()

  publish(type: string, data: unknown): void {
    const event = { id: this.#nextId++, type, data }
    this.#events.push(event)
    if (this.#events.length > KEPT) this.#events.shift()
    for (const listener of this.#listeners) listener(event)
  }

  /** Id of the newest event; 0 before the first. */
  get lastId(): number {
    return this.#nextId - 1
  }

  /** Kept events after the one of that id. */
  since(id: number): FeedEvent[] {
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
