import type { TaskCounts } from './conclude.ts'

/** How far a pipeline is. */
export interface PipelineEvent {
  id: string
  status: string
  /** The document's `tasks`. */
  tasks: Record<string, unknown>
  counts: TaskCounts
}

type Listener = (event: PipelineEvent | null) => void

/** How often at most those who follow are told of progress, milliseconds. */
const TELL_MS = 250

/** Those who follow pipelines. An event is the whole state, so that one that was missed is not missed. */
export class PipelineFeeds {
  readonly #listeners = new Map<string, Set<Listener>>()
  readonly #waiting = new Map<string, NodeJS.Timeout>()

  listen(id: string, listener: Listener): () => void {
    const listeners = this.#listeners.get(id) ?? new Set()
    this.#listeners.set(id, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.#listeners.get(id) === listeners) this.#listeners.delete(id)
    }
  }

  /** Tells it now. */
  publish(event: PipelineEvent): void {
    clearTimeout(this.#waiting.get(event.id))
    this.#waiting.delete(event.id)
    for (const listener of [...(this.#listeners.get(event.id) ?? [])]) listener(event)
  }

  /** Tells in a moment how it stands then, unless it is told before. */
  publishSoon(id: string, look: () => PipelineEvent): void {
    if (!this.#listeners.has(id) || this.#waiting.has(id)) return
    const timer = setTimeout(() => this.publish(look()), TELL_MS)
    this.#waiting.set(id, timer)
  }

  close(): void {
    for (const timer of this.#waiting.values()) clearTimeout(timer)
    this.#waiting.clear()
    for (const listeners of this.#listeners.values()) {
      for (const listener of [...listeners]) listener(null)
    }
    this.#listeners.clear()
  }
}
