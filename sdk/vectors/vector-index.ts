/** How many rows there is room for at first; each time they are full there is room for half as many again. */
const FIRST_ROWS = 256

/** Scores are answered with six digits: what was answered as its score lets a vector in again. */
const ROUNDING = 6e-7

/** What is known of a vector beside its numbers. */
export interface VectorEntry {
  /** Tells it from all others; the same is written over. */
  key: string
  /** Another one means that the vector may be another. */
  revision: string
  id: string
  type: string
  /** What it was made of, where that was kept. */
  text: string | null
}

/** A vector that is like the one that was asked about. */
export interface Neighbour {
  entry: VectorEntry
  /** Cosine of the angle between them, -1 to 1. */
  score: number
}

/** Vectors in memory, two bytes a number, all looked at for each question. */
export class VectorIndex {
  readonly #dimensions: number
  readonly #entries: VectorEntry[] = []
  readonly #places = new Map<string, number>()
  #rows: Int16Array
  /** Of each row what its dot products are multiplied with, so that rounding has not changed its length. */
  #scales: Float32Array

  constructor(dimensions: number) {
    this.#dimensions = dimensions
    this.#rows = new Int16Array(0)
    this.#scales = new Float32Array(0)
  }

  get size(): number {
    return this.#entries.length
  }

  /** Whether the entry is here in this revision. */
  has(key: string, revision: string): boolean {
    const place = this.#places.get(key)
    return place !== undefined && this.#entries[place]!.revision === revision
  }

  /** @param numbers - as many as there are dimensions, of any length but 0 */
  put(entry: VectorEntry, numbers: Int16Array): void {
    let place = this.#places.get(entry.key)
    if (place === undefined) {
      place = this.#entries.length
      this.#places.set(entry.key, place)
      this.#makeRoom(place + 1)
    }
    this.#entries[place] = entry
    this.#rows.set(numbers, place * this.#dimensions)
    this.#scales[place] = 1 / lengthOf(numbers)
  }

  remove(key: string): void {
    const place = this.#places.get(key)
    if (place === undefined) return
    this.#places.delete(key)
    const last = this.#entries.pop()!
    if (last.key === key) return
    // The last row moves to where there is room now.
    const from = this.#entries.length * this.#dimensions
    this.#rows.copyWithin(place * this.#dimensions, from, from + this.#dimensions)
    this.#scales[place] = this.#scales[this.#entries.length]!
    this.#entries[place] = last
    this.#places.set(last.key, place)
  }

  /** Removes all that are not named. */
  keepOnly(keys: ReadonlySet<string>): void {
    if (keys.size === this.size) return
    for (const key of [...this.#places.keys()]) if (!keys.has(key)) this.remove(key)
  }

  /**
   * The nearest vectors, the most alike first; of equals the one whose id comes first.
   *
   * @param vector - of unit length
   * @param options - `minScore`: what is less alike is left out
   */
  nearest(
    vector: Float32Array,
    { topK, minScore = -1 }: { topK: number; minScore?: number | undefined }
  ): Neighbour[] {
    const scores = this.#scores(vector)
    const found: number[] = []
    // What is certainly not among the best is never sorted.
    const bar = Math.max(minScore - ROUNDING, scoreAt(scores, topK))
    for (let place = 0; place < scores.length; place += 1) {
      if (scores[place]! >= bar) found.push(place)
    }
    return found
      .map((place) => ({ entry: this.#entries[place]!, score: scores[place]! }))
      .sort((a, b) => b.score - a.score || (a.entry.id < b.entry.id ? -1 : 1))
      .slice(0, topK)
  }

  #scores(vector: Float32Array): Float32Array {
    const dimensions = this.#dimensions
    const rows = this.#rows
    const scores = new Float32Array(this.size)
    // Four sums, which do not wait for each other.
    const whole = dimensions - (dimensions % 4)
    for (let place = 0; place < scores.length; place += 1) {
      const row = place * dimensions
      let a = 0
      let b = 0
      let c = 0
      let d = 0
      for (let i = 0; i < whole; i += 4) {
        a += rows[row + i]! * vector[i]!
        b += rows[row + i + 1]! * vector[i + 1]!
        c += rows[row + i + 2]! * vector[i + 2]!
        d += rows[row + i + 3]! * vector[i + 3]!
      }
      for (let i = whole; i < dimensions; i += 1) a += rows[row + i]! * vector[i]!
      scores[place] = Math.max(-1, Math.min(1, (a + b + c + d) * this.#scales[place]!))
    }
    return scores
  }

  #makeRoom(rows: number): void {
    const room = this.#rows.length / this.#dimensions
    if (rows <= room) return
    const wanted = Math.max(FIRST_ROWS, Math.ceil(room * 1.5))
    const larger = new Int16Array(wanted * this.#dimensions)
    larger.set(this.#rows)
    this.#rows = larger
    const scales = new Float32Array(wanted)
    scales.set(this.#scales)
    this.#scales = scales
  }
}

function lengthOf(numbers: Int16Array): number {
  let squares = 0
  for (let i = 0; i < numbers.length; i += 1) squares += numbers[i]! * numbers[i]!
  return Math.sqrt(squares)
}

/** The score at a place of the order, the highest first; the lowest there can be when there are fewer. */
function scoreAt(scores: Float32Array, place: number): number {
  if (scores.length <= place) return -1
  return scores.slice().sort()[scores.length - place]!
}
