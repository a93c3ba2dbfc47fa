/** Waiting entries, higher priority first, first come first served within one. */
export class RunQueue<T> {
  #entries: Array<{ item: T; priority: number }> = []

  get size(): number {
    return this.#entries.length
  }

  get first(): T | undefined {
    return this.#entries[0]?.item
  }

  push(item: T, priority = 0): void {
    let place = this.#entries.length
    while (place > 0 && (this.#entries[place - 1]?.priority ?? 0) < priority) place -= 1
    if (place === this.#entries.length) this.#entries.push({ item, priority })
    else this.#entries.splice(place, 0, { item, priority })
  }

  /** Puts items back in front of all others, in their order: they had their turn once. */
  putBack(items: T[]): void {
    const entries = items.map((item) => ({ item, priority: Number.MAX_SAFE_INTEGER }))
    this.#entries.unshift(...entries)
  }

  shift(): T | undefined {
    return this.#entries.shift()?.item
  }

  remove(item: T): boolean {
    const place = this.#entries.findIndex((entry) => entry.item === item)
    if (place === -1) return false
    this.#entries.splice(place, 1)
    return true
  }

  /** Empties it. */
  drain(): T[] {
    const items = this.#entries.map((entry) => entry.item)
    this.#entries = []
    return items
  }
}
