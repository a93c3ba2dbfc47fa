import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  BaseExpert,
  type ExpertApi,
  ExpertError,
  type ExpertParam,
  type ImageRecord,
  type InitContext,
  isExpertError,
  type RunContext,
  type Static,
  Type,
  type UploadedFile
} from '@nebula-experts/sdk'
import { type OnnxSession, type OnnxTensor, openSession } from '@nebula-experts/sdk/onnx'
import type { Finding } from './decoder.ts'
import { type ExpertSettings, readExpertFile, type Task } from './expert-file.ts'
import {
  InferAnswer,
  type Inference,
  inferBody,
  readInfer,
  requestSchema,
  writeOutput
} from './infer-json.ts'
import { readInferFile } from './infer-safetensors.ts'
import { locateModel } from './locate-model.ts'
import { type ModelPorts, type Port, portsOf } from './model-ports.ts'
import { PictureModel } from './picture-model.ts'
import { writeSafetensors } from './safetensors.ts'

const Path = (description: string) =>
  Type.Union([Type.String(), Type.Null()], { default: null, description })

const Config = Type.Object({
  ONNX_MODEL: Path('The model: a path from /, or from ./ in the "env" of experts.config.json'),
  ONNX_CONFIG: Path('Its expert.json; default: the one beside the model, else none')
})

const Params = Type.Object({
  min_score: Type.Optional(
    Type.Number({ minimum: 0, maximum: 1, description: 'What scores less is left out' })
  ),
  top_k: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 1000, description: 'Most records of a picture' })
  ),
  iou: Type.Optional(
    Type.Number({ minimum: 0, maximum: 1, description: 'Overlap over which boxes are one' })
  )
})
type Params = Static<typeof Params>

const OutputsQuery = Type.Object({
  outputs: Type.Optional(
    Type.Array(Type.String(), { description: 'Names of the outputs that are wanted; default: all' })
  )
})

const Tensor = Type.Object({
  name: Type.String(),
  datatype: Type.String(),
  shape: Type.Array(Type.Integer({ description: '-1 where the model takes any size' }))
})
const ModelAnswer = Type.Object({
  name: Type.String(),
  versions: Type.Array(Type.String()),
  platform: Type.String(),
  sha256: Type.String(),
  task: Type.Union([Type.String(), Type.Null()]),
  labels: Type.Union([Type.Array(Type.String()), Type.Null()]),
  inputs: Type.Array(Tensor),
  outputs: Type.Array(Tensor),
  left_out: Type.Array(Type.String(), { description: 'Outputs that are no tensors' }),
  request_schema: Type.Unknown({ description: 'JSON Schema of the bodies that POST /infer takes' })
})

/** What is said of a picture: one record for each label, object or class, or one with its vector. */
type PictureRecord = ImageRecord & { score?: number; embedding?: number[] }
interface PictureAnswer {
  result: PictureRecord[] | null
  error: string | null
}

const NO_PICTURES: PictureAnswer = {
  result: null,
  error: 'This model takes tensors alone, at /infer: its expert.json names no task for pictures'
}

interface Opened {
  session: OnnxSession
  ports: ModelPorts
  settings: ExpertSettings
  pictures: PictureModel | null
  version: string
}

/** Serves an ONNX model: its tensors as they are, and pictures where an `expert.json` says how. */
export default class OnnxExpert extends BaseExpert<typeof Config, typeof Params> {
  static override config = Config
  static override params = Params
  // What they take is the model's to say.
  static override lateRoutes = true

  #opened: Opened | undefined

  override async init(context: InitContext): Promise<void> {
    const { ONNX_MODEL: named, ONNX_CONFIG: config } = this.config
    const place = await locateModel({ model: named, config })
    const settings = await readExpertFile(place.config)
    context.progress(0.1, 'opening the model')
    const session = await openSession(place.model)
    try {
      const ports = portsOf(session)
      const { task } = settings
      const pictures =
        task === undefined
          ? null
          : await PictureModel.open(session, ports, { ...settings, task: task as Task })
      const version = settings.version ?? session.sha256.slice(0, 12)
      this.#opened = { session, ports, settings, pictures, version }
    } catch (error) {
      await session.release()
      throw error
    }
    this.log.info('model loaded', {
      sha256: session.sha256,
      task: settings.task ?? null,
      batch: this.#opened.pictures?.batch ?? null
    })
  }

  override getModelSha256(): string | null {
    return this.#opened?.session.sha256 ?? null
  }

  override addExpertApis(api: ExpertApi): void {
    api.get('/model', { response: ModelAnswer, summary: 'What the model takes and gives' }, () =>
      this.#describe()
    )
    api.post(
      '/infer',
      {
        body: inferBody(this.#model.ports),
        response: InferAnswer,
        summary: 'Run the model on tensors'
      },
      async ({ body }) => {
        const { ports, version } = this.#model
        const inference = readInfer(body, ports)
        const results = await this.#infer(inference)
        return {
          model_name: this.getName(),
          model_version: version,
          ...(body.id !== undefined && { id: body.id }),
          outputs: inference.outputs.map((port) => writeOutput(port, results[port.name]!))
        }
      }
    )
    api.post(
      '/infer/safetensors',
      {
        files: true,
        querystring: OutputsQuery,
        summary: 'Run the model on the tensors of a safetensors file; the answer is one too'
      },
      async ({ files, querystring }, context) => {
        const file = await readFile(onlyFile(files).path)
        const inference = readInferFile(file, querystring.outputs ?? [], this.#model.ports)
        const results = await this.#infer(inference)
        const tensors = inference.outputs.map(({ name, type }) => ({
          ...{ name, type },
          tensor: results[name]!
        }))
        const path = join(context.tmp, 'outputs.safetensors')
        await writeFile(path, writeSafetensors(tensors))
        return api.reply({ path }, { type: 'application/octet-stream' })
      }
    )
  }

  override async predictImage(
    params: ExpertParam<Params | null>,
    context: RunContext
  ): Promise<PictureAnswer> {
    if (this.#model.pictures === null) return NO_PICTURES
    const [answer] = await this.#answer([params], context)
    if (answer!.error !== null) throw answer!.error
    return { result: answer!.result, error: null }
  }

  override async predictImages(
    list: ExpertParam<Params | null>[],
    context: RunContext
  ): Promise<PictureAnswer[]> {
    if (this.#model.pictures === null) return list.map(() => NO_PICTURES)
    const answers = await this.#answer(list, context)
    return answers.map(({ result, error }) => {
      if (error === null) return { result, error }
      // What is wrong with one picture is its own; anything else is told of all.
      if (!isExpertError(error) || error.statusCode >= 499) throw error
      return { result: null, error: error.message }
    })
  }

  override async handleExit(): Promise<void> {
    await this.#opened?.session.release()
  }

  get #model(): Opened {
    if (this.#opened === undefined) throw new Error('init() has not run')
    return this.#opened
  }

  #describe(): Static<typeof ModelAnswer> {
    const { session, ports, settings, version } = this.#model
    const show = ({ name, type, shape }: Port) => ({
      name,
      datatype: type.wire,
      shape: shape.map((size) => size ?? -1)
    })
    return {
      name: this.getName(),
      versions: [version],
      platform: 'onnx',
      sha256: session.sha256,
      task: settings.task ?? null,
      labels: settings.labels,
      inputs: ports.inputs.map(show),
      outputs: ports.outputs.map(show),
      left_out: ports.leftOut,
      request_schema: requestSchema(ports)
    }
  }

  async #infer({ feeds, outputs }: Inference): Promise<Record<string, OnnxTensor>> {
    const names = outputs.map((port) => port.name)
    try {
      return await this.#model.session.run(feeds, names)
    } catch (cause) {
      // Each input fits by itself: the graph says no to them together.
      if (!isExpertError(cause) || cause.code !== 'EXP_MODEL') throw cause
      const message = `The model cannot run on these inputs: ${cause.message}`
      throw new ExpertError('EXP_BAD_INPUT', message, { cause })
    }
  }

  async #answer(
    list: ExpertParam<Params | null>[],
    context: RunContext
  ): Promise<Array<{ result: PictureRecord[] | null; error: unknown }>> {
    const pictures = this.#model.pictures!
    const { channels } = pictures
    const jobs = list.map(({ img_url: url }) => ({
      load: async () => {
        if (url === null) {
          const message = "Field 'img_url' says where the picture is, it is null"
          throw new ExpertError('EXP_BAD_INPUT', message)
        }
        const options = { folder: context.tmp, signal: context.signal }
        const { path } = await this.media.downloadImage(url, options)
        return this.media.decodeImage(path, { channels, name: url })
      }
    }))
    const ids = list.map((params) => params.id)
    for (const id of ids) this.addTask(id)
    try {
      const outcomes = await pictures.read(jobs, list[0]?.extra_params ?? {}, {
        signal: context.signal,
        onProgress: (fraction) => context.progress(fraction)
      })
      return outcomes.map((outcome, index) =>
        'error' in outcome
          ? { result: null, error: outcome.error }
          : {
              result: outcome.findings.map((found) => this.#record(ids[index]!, found)),
              error: null
            }
      )
    } finally {
      for (const id of ids) this.removeTask(id)
    }
  }

  #record(imageId: string, { label, score, bbox, facts, embedding }: Finding): PictureRecord {
    return {
      ...{ image_id: imageId, expert: this.getName(), bbox, label, meta_label: facts, re_id: 0 },
      ...(score !== null && { score }),
      ...(embedding !== undefined && { embedding })
    }
  }
}

function onlyFile(files: UploadedFile[]): UploadedFile {
  const [file] = files
  if (file !== undefined && files.length === 1) return file
  throw new ExpertError(
    'EXP_BAD_INPUT',
    `The body is one safetensors file, found ${files.length}: send it as the raw body`
  )
}
