/** Lines a second that one source may write; a flood beyond it is counted and dropped. */
const MAX_LINES_PER_SECOND = 500

/** Lets lines through up to a rate, and says once a second how many it did not. */
export class LineLimit {
  readonly #onDropped: (notice: string) => void
  #second = 0
  #taken = 0
  #dropped = 0

  constructor(onDropped: (notice: string) => void) {
    this.#onDropped = onDropped
  }

  /** True when one more line may pass now. */
  take(): boolean {
    const now = Math.floor(performance.now() / 1000)
    if (now !== this.#second) {
      this.end()
      this.#second = now
      this.#taken = 0
    }
    if (this.#taken >= MAX_LINES_PER_SECOND) {
      this.#dropped += 1
      return false
    }
    this.#taken += 1
    return true
  }

  /** Tells what was dropped since it was last told. */
  end(): void {
    if (this.#dropped === 0) return
    const notice = `(${this.#dropped} lines dropped: more than ${MAX_LINES_PER_SECOND} a second)`
    this.#dropped = 0
    this.#onDropped(notice)
  }
}
