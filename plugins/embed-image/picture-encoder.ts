import { fileURLToPath } from 'node:url'
import type { DecodedImage } from '@nebula-experts/sdk'
import { type OnnxSession, type OpenSessionOptions, openSession } from '@nebula-experts/sdk/onnx'
import { unitLength } from '@nebula-experts/sdk/vectors'
import { modelInput, SIDE, squarePicture } from './picture-input.ts'

/** Numbers of a vector. */
export const DIMENSIONS = 1792
/** Changes when pictures are made ready for the model in another way. */
const PREPARATION = 1

/** A picture made ready for the model. */
export type Square = Uint8Array

/** The picture encoder: its model, open. */
export class PictureEncoder {
  readonly #session: OnnxSession
  #scaling: Promise<unknown> = Promise.resolve()

  private constructor(session: OnnxSession) {
    this.#session = session
  }

  /** @throws ExpertError EXP_MODEL when the model cannot be read */
  static async open(options: OpenSessionOptions = {}): Promise<PictureEncoder> {
    const path = fileURLToPath(import.meta.resolve('#model/mobilenet.onnx'))
    const session = await openSession(path, options)
    try {
      const encoder = new PictureEncoder(session)
      await encoder.encode(new Uint8Array(SIDE * SIDE * 3))
      return encoder
    } catch (error) {
      await session.release()
      throw error
    }
  }

  get sha256(): string {
    return this.#session.sha256
  }

  /** Names what makes the vectors: two of another make cannot be compared. */
  get mark(): string {
    return `${this.sha256.slice(0, 16)}.${PREPARATION}`
  }

  /**
   * Decodes and scales a picture, one after another: so no more than one lies decoded in memory.
   *
   * @throws what `load` throws
   */
  prepare(load: () => Promise<DecodedImage>): Promise<Square> {
    const scaled = this.#scaling.then(async () => squarePicture(await load()))
    this.#scaling = scaled.catch(() => {})
    return scaled
  }

  /** The vector of a picture, of unit length. One at a time: more in a run are no faster. */
  async encode(square: Square): Promise<Float32Array> {
    const input = { data: modelInput(square), shape: [1, SIDE, SIDE, 3] }
    const { embedding } = await this.#session.run({ input })
    return unitLength(embedding!.data as Float32Array)
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}
