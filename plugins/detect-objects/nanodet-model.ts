import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type DecodedImage, ExpertError } from '@nebula-experts/sdk'
import {
  type Box,
  decodeNanodet,
  imageTensor,
  type NanodetGrid,
  nonMaxSuppression
} from '@nebula-experts/sdk/images'
import {
  type OnnxSession,
  type OnnxTensor,
  type OpenSessionOptions,
  openSession
} from '@nebula-experts/sdk/onnx'

/** Pixels of each side of the canvas on which the model sees a picture. */
export const CANVAS = 416
const STRIDES = [8, 16, 32]
const BINS = 11
const INPUT = {
  width: CANVAS,
  height: CANVAS,
  // Stretched, a cat becomes a person.
  fit: 'letterbox',
  channels: 3,
  channelOrder: 'BGR',
  mean: [103.53, 116.28, 123.675],
  std: [57.375, 57.12, 58.395]
} as const

/** An object in a picture. */
export interface DetectedObject {
  /** Pixels of the picture. */
  box: Box
  /** How certain the model is, 0 to 1. */
  score: number
  /** Name of the class. */
  label: string
}

/** Which objects count. */
export interface DetectOptions {
  /** The least score. */
  minScore: number
  /** Of two boxes of a class that overlap by more, the better is kept. */
  iou: number
  /** Names of the classes; null: all. */
  labels: ReadonlySet<string> | null
  /** Most objects of one picture; the best are kept. */
  limit: number
}

/** The NanoDet model of this package, open. It knows the 80 classes of COCO. */
export class NanodetModel {
  /** Names of the classes, by index. */
  readonly labels: readonly string[]
  readonly #session: OnnxSession

  private constructor(session: OnnxSession, labels: readonly string[]) {
    this.#session = session
    this.labels = labels
  }

  /**
   * Opens the model and runs it once.
   *
   * @throws ExpertError EXP_MODEL when it cannot be opened, or is not what this code reads
   */
  static async open(options: OpenSessionOptions = {}): Promise<NanodetModel> {
    const labels = JSON.parse(await readFile(modelFile('labels.json'), 'utf8')) as string[]
    const session = await openSession(modelFile('nanodet.onnx'), options)
    const model = new NanodetModel(session, labels)
    const blank = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 } as const
    await model.detect(blank, { minScore: 1, iou: 1, labels: null, limit: 1 })
    return model
  }

  get sha256(): string {
    return this.#session.sha256
  }

  /**
   * Finds the objects in a picture. Blocks the event loop while the model computes.
   *
   * @param image - RGB or grey
   * @returns the most certain first
   */
  async detect(
    image: DecodedImage,
    { minScore, iou, labels, limit }: DetectOptions
  ): Promise<DetectedObject[]> {
    const { tensor, placement } = await imageTensor(image, INPUT)
    const outputs = await this.#session.run({ input: tensor })
    const grids = STRIDES.map((stride) => gridOf(outputs, stride, this.labels.length))
    const wanted = (label: number) => labels === null || labels.has(this.labels[label]!)
    const candidates = decodeNanodet(grids, minScore, wanted)
    return nonMaxSuppression(candidates, { iou, limit })
      .map(({ box, score, label }) => ({
        box: placement.toImage(box),
        score,
        label: this.labels[label]!
      }))
      .filter(({ box: [left, top, right, bottom] }) => right > left && bottom > top)
  }

  async release(): Promise<void> {
    await this.#session.release()
  }
}

function modelFile(name: string): string {
  return fileURLToPath(import.meta.resolve(`#model/${name}`))
}

function gridOf(outputs: Record<string, OnnxTensor>, stride: number, classes: number): NanodetGrid {
  const columns = CANVAS / stride
  const cells = columns * columns
  return {
    stride,
    columns,
    rows: columns,
    scores: floatsOf(outputs, `scores_${stride}`, cells * classes),
    sides: floatsOf(outputs, `boxes_${stride}`, cells * 4 * BINS)
  }
}

function floatsOf(outputs: Record<string, OnnxTensor>, name: string, size: number): Float32Array {
  const data = outputs[name]?.data
  if (data instanceof Float32Array && data.length === size) return data
  const found = data === undefined ? 'missing' : `${data.constructor.name} of ${data.length}`
  const message = `Output '${name}' of nanodet.onnx is ${found}, wanted Float32Array of ${size}`
  throw new ExpertError('EXP_MODEL', message)
}
