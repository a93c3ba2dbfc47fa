/** Waits between restarts: none before the first, then doubling, with jitter. */
const FIRST_MS = 250
const LONGEST_MS = 30_000
/** So many failures within so long are a crash loop. */
const FAILURES = 5
const WITHIN_MS = 60_000

/**
 * Counts failures within a sliding time, for two questions: how long to wait before the next start,
 * and whether to stop trying. A success clears it.
 */
export class FailureRecord {
  readonly #limit: number
  readonly #withinMs: number
  #failures: Array<{ at: number; cause: string | null }> = []
  #inARow = 0

  constructor(limit: number, withinMs: number) {
    this.#limit = limit
    this.#withinMs = withinMs
  }

  /** With the limits of an expert's settings. */
  static of(settings: { failures?: number; within_ms?: number } = {}): FailureRecord {
    return new FailureRecord(settings.failures ?? FAILURES, settings.within_ms ?? WITHIN_MS)
  }

  /** Why there is no next try, for people. */
  describe(last: string): string {
    return `${this.#limit} failures in a short time; the last: ${last}`
  }

  get inARow(): number {
    return this.#inARow
  }

  /** Of several with one known cause (a job that was run again) only the first counts. */
  add(now: number, cause: string | null = null): void {
    this.#failures = this.#failures.filter(({ at }) => now - at < this.#withinMs)
    if (cause !== null && this.#failures.some((failure) => failure.cause === cause)) return
    this.#inARow += 1
    this.#failures.push({ at: now, cause })
  }

  clear(): void {
    this.#inARow = 0
    this.#failures = []
  }

  /** True when so many failures in so short a time make another try pointless. */
  get isLoop(): boolean {
    return this.#failures.length >= this.#limit
  }

  /** Milliseconds to wait before the next start. */
  delay(random: () => number = Math.random): number {
    if (this.#inARow <= 1) return 0
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** (this.#inARow - 1))
    return Math.round(longest / 2 + (random() * longest) / 2)
  }
}
