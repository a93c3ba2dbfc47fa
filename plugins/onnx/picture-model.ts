import { type DecodedImage, ExpertError } from '@nebula-experts/sdk'
import { type ImageTensorData, imageTensor, type Placement } from '@nebula-experts/sdk/images'
import { fromHalfFloat, type OnnxSession, type OnnxTensor } from '@nebula-experts/sdk/onnx'
import { classifier } from './classify.ts'
import type { Decoder, DecoderKind, DecoderModel, Finding, Item, Seen, Wishes } from './decoder.ts'
import { misfit } from './decoder.ts'
import { nanodet } from './detect-nanodet.ts'
import { ssd } from './detect-ssd.ts'
import { yolov5, yolov8, yolov10, yolox } from './detect-yolo.ts'
import { embedder } from './embed.ts'
import { checkPart, type ExpertSettings, type Task } from './expert-file.ts'
import { feedsOf, type ModelPorts } from './model-ports.ts'
import { type PictureInput, pictureInputOf } from './picture-input.ts'
import { segmenter } from './segment.ts'

/** Kinds of decoders by task and `decoder.type`; of a type that is left out, the first. */
const KINDS: Record<Task, Record<string, DecoderKind>> = {
  classification: { softmax: classifier, logits: classifier, sigmoid: classifier },
  detection: { yolov5, yolov8, yolov10, yolox, ssd, nanodet },
  embedding: { vector: embedder },
  segmentation: { softmax: segmenter, logits: segmenter, sigmoid: segmenter, classes: segmenter }
}

/** Pictures that go through the model at once. */
const BATCH = 8

/** A picture to be answered. */
export interface PictureJob {
  /** Called when its turn comes, so that few pictures are in memory at a time. */
  load(): Promise<DecodedImage>
}

/** What a picture gave, or what it could not be answered for. */
export type PictureOutcome = { findings: Finding[] } | { error: unknown }

/** A model whose input is a picture, with what brings pictures in and findings out. */
export class PictureModel {
  readonly task: Task
  readonly channels: 1 | 3
  readonly #session: OnnxSession
  readonly #input: PictureInput
  readonly #decoder: Decoder
  #batch: number

  /**
   * Runs the model once on a black picture: what it gives must fit the decoder.
   *
   * @throws ExpertError EXP_MODEL in words for who wrote `expert.json`
   */
  static async open(
    session: OnnxSession,
    ports: ModelPorts,
    settings: ExpertSettings & { task: Task }
  ): Promise<PictureModel> {
    const input = pictureInputOf(ports.inputs, settings.input)
    const decoder = makeDecoder(settings, {
      outputs: ports.outputs.filter((port) => port.type.bytes > 0).map((port) => port.name),
      canvas: { width: input.width, height: input.height },
      labels: settings.labels
    })
    const model = new PictureModel(session, settings.task, input, decoder)
    await model.#try()
    return model
  }

  private constructor(session: OnnxSession, task: Task, input: PictureInput, decoder: Decoder) {
    this.#session = session
    this.#input = input
    this.#decoder = decoder
    this.task = task
    this.channels = input.channels
    this.#batch = input.isBatchOpen ? BATCH : 1
  }

  /** How many pictures are run at once. */
  get batch(): number {
    return this.#batch
  }

  /**
   * Answers pictures in their order; one that cannot be loaded takes nothing from the others.
   *
   * @throws ExpertError EXP_CANCELED, EXP_MODEL when the run itself fails
   */
  async read(
    jobs: readonly PictureJob[],
    wishes: Wishes,
    options: { signal: AbortSignal; onProgress?: (fraction: number) => void }
  ): Promise<PictureOutcome[]> {
    const outcomes: PictureOutcome[] = []
    for (let from = 0; from < jobs.length; from += this.#batch) {
      const part = jobs.slice(from, from + this.#batch)
      outcomes.push(...(await this.#readBatch(part, wishes, options.signal)))
      options.onProgress?.(outcomes.length / jobs.length)
    }
    return outcomes
  }

  async #readBatch(
    jobs: readonly PictureJob[],
    wishes: Wishes,
    signal: AbortSignal
  ): Promise<PictureOutcome[]> {
    const outcomes = new Array<PictureOutcome>(jobs.length)
    const loaded: Array<{ place: number; seen: Seen; tensor: OnnxTensor }> = []
    for (const [place, job] of jobs.entries()) {
      if (signal.aborted) throw new ExpertError('EXP_CANCELED', 'The work was canceled')
      try {
        const image = await job.load()
        const { tensor, placement } = await imageTensor(image, this.#input.options)
        loaded.push({ place, tensor, seen: seenOf(image, placement) })
      } catch (error) {
        outcomes[place] = { error }
      }
    }
    if (loaded.length === 0) return outcomes
    const items = await this.#run(loaded.map(({ tensor }) => tensor))
    for (const [index, { place, seen }] of loaded.entries()) {
      outcomes[place] = { findings: this.#decoder.read(items[index]!, seen, wishes) }
    }
    return outcomes
  }

  async #try(): Promise<void> {
    const blank = await imageTensor(this.#blank(), this.#input.options)
    const [items] = await this.#run([blank.tensor])
    this.#decoder.check(items!)
    if (this.#batch === 1) return
    // An open axis is no promise: the graph behind it may know of one picture alone.
    try {
      for (const part of await this.#run([blank.tensor, blank.tensor])) this.#decoder.check(part)
    } catch {
      this.#batch = 1
    }
  }

  #blank(): DecodedImage {
    const { width, height, channels } = this.#input
    return { width, height, channels, data: new Uint8Array(width * height * channels) }
  }

  /** Items of each picture. */
  async #run(tensors: OnnxTensor[]): Promise<Item[][]> {
    const feed = tensors.length === 1 ? tensors[0]! : joined(tensors)
    const wanted = this.#decoder.outputs
    const outputs = await this.#session.run(feedsOf([[this.#input.name, feed]]), [
      ...new Set(wanted)
    ])
    const numbers = wanted.map((name) => numbersOf(name, outputs[name]!, this.#session))
    return tensors.map((_, index) =>
      numbers.map((output, place) => itemOf(wanted[place]!, output, index, tensors.length))
    )
  }
}

function makeDecoder(settings: ExpertSettings & { task: Task }, model: DecoderModel): Decoder {
  const kinds = KINDS[settings.task]
  const { type } = settings.decoder
  const name = typeof type === 'string' ? type : Object.keys(kinds)[0]!
  if (typeof type !== 'string' && settings.task === 'detection') {
    throw misfit(`decoder.type is required: one of ${Object.keys(kinds).join(', ')}`)
  }
  if (!Object.hasOwn(kinds, name)) {
    const wanted = Object.keys(kinds).join(', ')
    throw misfit(`decoder.type: found '${name}', ${settings.task} has ${wanted}`)
  }
  const kind = kinds[name]!
  const own = { ...settings.decoder, type: name }
  return kind.make(checkPart(kind.settings, own, ['decoder']) as never, model)
}

function seenOf({ width, height }: DecodedImage, placement: Placement): Seen {
  return { width, height, placement }
}

/** Tensors of one picture each as one of them all. */
function joined(tensors: OnnxTensor[]): OnnxTensor {
  const first = tensors[0] as OnnxTensor<ImageTensorData[keyof ImageTensorData]>
  const { length } = first.data
  const Data = first.data.constructor as Float32ArrayConstructor
  const data = new Data(length * tensors.length)
  for (const [index, tensor] of tensors.entries()) {
    data.set(tensor.data as Float32Array, index * length)
  }
  return { data, shape: [tensors.length, ...first.shape.slice(1)] }
}

function numbersOf(
  name: string,
  { data, shape }: OnnxTensor,
  session: OnnxSession
): Item & { data: ArrayLike<number> & { subarray(from: number, to: number): ArrayLike<number> } } {
  const type = session.outputs.find((port) => port.name === name)?.type
  if (type === 'float16') {
    const { buffer, byteOffset, length } = data as Uint16Array
    const bits = new Uint16Array(buffer, byteOffset, length)
    return { data: Float32Array.from(bits, fromHalfFloat), shape }
  }
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return { data: Float64Array.from(data as BigInt64Array, Number), shape }
  }
  return { data: data as Float32Array, shape }
}

function itemOf(
  name: string,
  { data, shape }: ReturnType<typeof numbersOf>,
  index: number,
  count: number
): Item {
  // Of one picture, the axis of pictures may be left out.
  if (count === 1) return { data, shape: shape[0] === 1 ? shape.slice(1) : shape }
  if (shape[0] !== count) {
    throw misfit(`output '${name}' has ${shape[0]} parts for ${count} pictures`)
  }
  const length = data.length / count
  return { data: data.subarray(index * length, (index + 1) * length), shape: shape.slice(1) }
}
