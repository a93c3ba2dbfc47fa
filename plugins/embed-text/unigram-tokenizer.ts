/** What stands for a space, and before the first word. */
const SPACE = '\u2581'
const UNKNOWN = 0
/** Pieces 0 to 5 stand for no text. */
const RESERVED = 6
/** An unknown sign is worse than the least likely piece by so much. */
const UNKNOWN_PENALTY = 10
/** A longer word is looked at so far: of its signs at most 16 make a piece, so it is cut by tokens before. */
const WORD_MAX = 4096

/** A text as the numbers of its pieces. */
export interface TokenizedText {
  ids: number[]
  /** There is more text than the limit takes. */
  isCut: boolean
}

interface PieceNode {
  /** Number of the piece that ends here; -1 for none. */
  id: number
  next: Map<number, PieceNode>
}

/**
 * Cuts text into the most likely pieces of a vocabulary (unigram model, Viterbi), as SentencePiece does. No piece
 * reaches over a space, so each word is cut for itself.
 */
export class UnigramTokenizer {
  readonly #scores: Float64Array
  readonly #unknownScore: number
  readonly #root: PieceNode = { id: -1, next: new Map() }
  readonly #best = new Float64Array(WORD_MAX + 1)
  readonly #starts = new Int32Array(WORD_MAX + 1)
  readonly #ids = new Int32Array(WORD_MAX + 1)

  /**
   * @param vocabulary - pieces with the logarithm of their probability, the likeliest first; a piece's number is its
   *   place. One that lacks its score, as the published pieces with a colon do, has that of the one before
   */
  constructor(vocabulary: ReadonlyArray<readonly [piece: string, score: number | null]>) {
    this.#scores = new Float64Array(vocabulary.length)
    for (const [id, [, score]] of vocabulary.entries()) {
      this.#scores[id] = score ?? this.#scores[id - 1] ?? 0
    }
    const least = this.#scores.reduce((a, b) => Math.min(a, b), 0)
    this.#unknownScore = least - UNKNOWN_PENALTY
    for (const [id, [piece]] of vocabulary.entries()) {
      if (id >= RESERVED) this.#add(piece, id)
    }
  }

  /**
   * @param limit - how many numbers at most
   * @returns none for a text without signs
   */
  encode(text: string, limit: number): TokenizedText {
    const ids: number[] = []
    const normal = normalizeText(text)
    let isCut = false
    for (let from = 0; from < normal.length && !isCut; ) {
      const space = normal.indexOf(' ', from)
      const end = space === -1 ? normal.length : space
      isCut = end - from > WORD_MAX - 1
      const word = SPACE + normal.slice(from, Math.min(end, from + WORD_MAX - 1))
      ids.push(...this.#cutWord(word))
      if (ids.length > limit) isCut = true
      from = end + 1
    }
    return { ids: ids.slice(0, limit), isCut }
  }

  /** Numbers of a word's pieces; unknown signs in a row are one. */
  #cutWord(word: string): number[] {
    const { length } = word
    const best = this.#best.fill(Number.NEGATIVE_INFINITY, 0, length + 1)
    best[0] = 0
    for (let start = 0; start < length; start += 1) {
      let node: PieceNode | undefined = this.#root
      let isKnown = false
      for (let end = start; end < length; ) {
        node = node.next.get(word.charCodeAt(end))
        if (node === undefined) break
        end += 1
        if (node.id < 0) continue
        if (end === start + 1) isKnown = true
        this.#reach(start, end, node.id, this.#scores[node.id]!)
      }
      if (!isKnown) this.#reach(start, start + 1, UNKNOWN, this.#unknownScore)
    }
    const pieces: number[] = []
    for (let end = length; end > 0; end = this.#starts[end]!) {
      const id = this.#ids[end]!
      if (id !== UNKNOWN || pieces.at(-1) !== UNKNOWN) pieces.push(id)
    }
    return pieces.reverse()
  }

  #reach(start: number, end: number, id: number, score: number): void {
    const total = this.#best[start]! + score
    if (total <= this.#best[end]!) return
    this.#best[end] = total
    this.#starts[end] = start
    this.#ids[end] = id
  }

  #add(piece: string, id: number): void {
    let node = this.#root
    for (let i = 0; i < piece.length; i += 1) {
      const code = piece.charCodeAt(i)
      let next = node.next.get(code)
      if (next === undefined) {
        next = { id: -1, next: new Map() }
        node.next.set(code, next)
      }
      node = next
    }
    // Of pieces that read the same the likeliest, which came first.
    if (node.id < 0) node.id = id
  }
}

/**
 * The text as the vocabulary was made from it: compatible forms are one (NFKC), white space and some
 * signs without width are single spaces, none at the ends; control characters are gone.
 */
export function normalizeText(text: string): string {
  return text
    .normalize('NFKC')
    .replace(/[\s\u0085\u200b\u200c\u200e\u200f\u2581]+/g, ' ')
    .replace(/\p{Cc}+/gu, '')
    .replace(/ {2,}/g, ' ')
    .trim()
}
