/** Counts durations by how long they were. A call has three of these to pay for: one adds to numbers, and makes nothing. */
export class DurationTally {
  /** Upper bounds, seconds, ascending. */
  readonly bounds: readonly number[]
  /** How many were over the bound before and not over this one; the last, over all bounds. */
  readonly counts: Float64Array
  /** Of all, seconds. */
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  add(milliseconds: number): void {
    const seconds = milliseconds / 1000
    const { bounds } = this
    let place = 0
    while (place < bounds.length && seconds > (bounds[place] as number)) place++
    ;(this.counts[place] as number)++
    this.sum += seconds
  }

  get count(): number {
    return this.counts.reduce((sum, count) => sum + count, 0)
  }
}
