import { readFile } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type OnnxSession, type OpenSessionOptions, openSession } from '@nebula-experts/sdk/onnx'
import { unitLength } from '@nebula-experts/sdk/vectors'
import { type TokenizedText, UnigramTokenizer } from './unigram-tokenizer.ts'

/** Numbers of a vector. */
export const DIMENSIONS = 512
/** Pieces of a text that the model reads. */
const TOKENS_MAX = 128
/** Pieces of one run, the shorter texts made as long as the longest: memory grows with it, and speed no more. */
const RUN_TOKENS = 1024
const RUN_TEXTS = 32

/** A text as a vector. */
export interface EncodedText {
  /** Which of the texts. */
  place: number
  /** Of unit length; null for a text without signs. */
  vector: Float32Array | null
  /** Its end was not read, since the model reads 128 pieces. */
  truncated: boolean
}

/** The sentence encoder: its model, open, and its vocabulary. */
export class TextEncoder {
  readonly #session: OnnxSession
  readonly #tokenizer: UnigramTokenizer

  private constructor(session: OnnxSession, tokenizer: UnigramTokenizer) {
    this.#session = session
    this.#tokenizer = tokenizer
  }

  /** @throws ExpertError EXP_MODEL when the model cannot be read */
  static async open(options: OpenSessionOptions = {}): Promise<TextEncoder> {
    const vocabulary = JSON.parse(await readFile(modelFile('vocab.json'), 'utf8'))
    const session = await openSession(modelFile('use-lite.onnx'), options)
    try {
      const encoder = new TextEncoder(session, new UnigramTokenizer(vocabulary))
      await encoder.encodeOne('The first run is the slow one.')
      return encoder
    } catch (error) {
      await session.release()
      throw error
    }
  }

  get sha256(): string {
    return this.#session.sha256
  }

  /**
   * Encodes texts, many at a time, those of one length together.
   *
   * @param signal - ends it between two runs of the model
   * @returns each text once, in no order; as many together as were made in one run
   * @throws the reason of `signal`
   */
  async *encode(
    texts: readonly string[],
    signal?: AbortSignal
  ): AsyncGenerator<EncodedText[], void> {
    const tokenized: Array<TokenizedText & { place: number }> = []
    const empty: EncodedText[] = []
    for (const [place, text] of texts.entries()) {
      // Ten thousand take a second.
      if (place % RUN_TEXTS === RUN_TEXTS - 1) await setImmediate()
      signal?.throwIfAborted()
      const { ids, isCut } = this.#tokenizer.encode(text, TOKENS_MAX)
      if (ids.length === 0) empty.push({ place, vector: null, truncated: false })
      else tokenized.push({ place, ids, isCut })
    }
    if (empty.length > 0) yield empty
    tokenized.sort((a, b) => a.ids.length - b.ids.length)
    for (let from = 0; from < tokenized.length; ) {
      const run = tokenized.slice(from, from + runLength(tokenized, from))
      signal?.throwIfAborted()
      const vectors = await this.#run(run)
      yield run.map(({ place, isCut }, row) => {
        const vector = vectors.subarray(row * DIMENSIONS, (row + 1) * DIMENSIONS)
        return { place, vector: unitLength(vector), truncated: isCut }
      })
      from += run.length
    }
  }

  /** Encodes one text. */
  async encodeOne(text: string): Promise<EncodedText> {
    for await (const [encoded] of this.encode([text])) return encoded!
    throw new Error('A text was not encoded')
  }

  release(): Promise<void> {
    return this.#session.release()
  }

  async #run(texts: ReadonlyArray<{ ids: number[] }>): Promise<Float32Array> {
    const count = texts.reduce((sum, { ids }) => sum + ids.length, 0)
    const values = new Int32Array(count)
    const indices = new Int32Array(count * 2)
    let at = 0
    for (const [row, { ids }] of texts.entries()) {
      for (const [position, id] of ids.entries()) {
        values[at] = id
        indices[at * 2] = row
        indices[at * 2 + 1] = position
        at += 1
      }
    }
    const { embedding } = await this.#session.run({
      indices: { data: indices, shape: [count, 2] },
      values: { data: values, shape: [count] }
    })
    return embedding!.data as Float32Array
  }
}

/** How many texts, of ascending length, the run that begins with one of them has. */
function runLength(texts: ReadonlyArray<{ ids: number[] }>, from: number): number {
  let count = 1
  while (count < RUN_TEXTS && from + count < texts.length) {
    if (texts[from + count]!.ids.length * (count + 1) > RUN_TOKENS) break
    count += 1
  }
  return count
}

function modelFile(name: string): string {
  return fileURLToPath(import.meta.resolve(`#model/${name}`))
}
