import {
  BaseExpert,
  type ExpertApi,
  ExpertError,
  type ExpertParam,
  ImageRecord,
  isExpertError,
  type RunContext,
  type Static,
  TokenRecord,
  Type
} from '@nebula-experts/sdk'
import { roundPixels, roundScore } from './box-path.ts'
import { framesToDetect, framesToTrack } from './looked-at-frames.ts'
import { movieObjects } from './movie-objects.ts'
import { detectionRecords, trackRecords } from './movie-records.ts'
import { type DetectOptions, NanodetModel } from './nanodet-model.ts'
import { Config, type DetectParams, Params, StepParam } from './parameters.ts'

const ObjectRecord = Type.Interface([ImageRecord], {
  score: Type.Number({ description: 'How certain the model is, 0 to 1' })
})
type ObjectRecord = Static<typeof ObjectRecord>

const StepAnswer = Type.Object({
  result: Type.Union([Type.Array(Type.Union([TokenRecord, Type.String()])), Type.Null()], {
    description: 'The records; with `output: "db"` their ids'
  }),
  error: Type.Union([Type.String(), Type.Null()])
})
type StepAnswer = Static<typeof StepAnswer>

interface Records<Kind> {
  result: Kind[]
  error: null
}

/** Finds the objects of 80 classes in pictures and movies, and follows them through movies. */
export default class DetectObjectsExpert extends BaseExpert<typeof Config, typeof Params> {
  static override config = Config
  static override params = Params

  #opened: NanodetModel | undefined

  override async init(): Promise<void> {
    this.#opened = await NanodetModel.open()
    this.log.info('model loaded', { sha256: this.#opened.sha256 })
  }

  override getModelSha256(): string | null {
    return this.#opened?.sha256 ?? null
  }

  override addExpertApis(api: ExpertApi): void {
    for (const action of ['detect', 'track'] as const) {
      const summary =
        action === 'detect' ? 'Find the objects of a movie' : 'Follow the objects of a movie'
      const options = { body: StepParam, response: StepAnswer, job: true, summary }
      api.post(`/${action}`, options, ({ body }, context) => this.#step(action, body, context))
    }
  }

  override async predictImage(
    params: ExpertParam<Params | null>,
    context: RunContext
  ): Promise<Records<ObjectRecord>> {
    const { id, img_url: url } = params
    if (url === null) {
      const message = "Field 'img_url' says where the picture is, it is null"
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    const options = this.#detectOptions(params.extra_params)
    return this.#asTask(id, {}, async () => {
      const { tmp: folder, signal } = context
      const { path } = await this.media.downloadImage(url, { folder, signal })
      const objects = await this.#model.detect(
        await this.media.decodeImage(path, { name: url }),
        options
      )
      const result = objects.map(({ box, label, ...object }): ObjectRecord => {
        const score = roundScore(object.score)
        return {
          image_id: id,
          expert: this.getName(),
          bbox: box.map(roundPixels),
          label,
          meta_label: { class: 'Object', score },
          re_id: 0,
          score
        }
      })
      return { result, error: null }
    })
  }

  override async predict(
    params: ExpertParam<Params | null>,
    context: RunContext
  ): Promise<Records<TokenRecord>> {
    const { movie_id, scene_element, extra_params, output } = params
    const info = { movie_id, scene_element, ...extra_params, output }
    return this.#asTask(movie_id, info, async () => {
      const { action = 'detect' } = extra_params ?? {}
      const result = await this.#records(action, movie_id, scene_element, extra_params, context)
      return { result, error: null }
    })
  }

  override async handleExit(): Promise<void> {
    await this.#opened?.release()
  }

  get #model(): NanodetModel {
    if (this.#opened === undefined) throw new Error('init() has not run')
    return this.#opened
  }

  /** One of the tracker's own routes in the seed system, which answer what goes wrong as text. */
  async #step(
    action: 'detect' | 'track',
    step: StepParam,
    context: RunContext
  ): Promise<StepAnswer> {
    const { movie_id, scene_element, output } = step
    return this.#asTask(movie_id, { ...step, action }, async () => {
      try {
        const result = await this.#records(action, movie_id, scene_element, step, context)
        if (result.length === 0 || !['db', 'db+json'].includes(output)) {
          return { result, error: null }
        }
        const ids = await this.tokens.save(result)
        return { result: output === 'db' ? ids : result, error: null }
      } catch (error) {
        if (!isExpertError(error) || !/^(EXP_MEDIA|HOST_DOCUMENT)/.test(error.code)) throw error
        return { result: null, error: error.message }
      }
    })
  }

  async #records(
    action: 'detect' | 'track',
    movieId: string,
    sceneElement: number | null,
    params: DetectParams | null,
    context: RunContext
  ): Promise<TokenRecord[]> {
    const options = this.#detectOptions(params)
    const file = await this.openMovie(movieId, context)
    const toFrames = action === 'detect' ? framesToDetect : framesToTrack
    const frames = toFrames(file, sceneElement, params ?? {})
    const found = movieObjects(this.#model, file, frames, options, context)
    const owner = { movieId: file.movie._id, expert: this.getName() }
    return action === 'detect'
      ? detectionRecords(owner, found)
      : trackRecords(owner, found, params?.merge_iou_threshold ?? 0.95)
  }

  /** @throws ExpertError EXP_BAD_INPUT for a class that the model does not know */
  #detectOptions(params: DetectParams | null): DetectOptions {
    const { min_score, iou = 0.5, limit = 100, labels } = params ?? {}
    const unknown = labels?.find((label) => !this.#model.labels.includes(label))
    if (unknown !== undefined) {
      const known = this.#model.labels.join(', ')
      const message = `Field 'labels' has '${unknown.slice(0, 100)}', the model knows: ${known}`
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    return {
      minScore: min_score ?? this.config.DETECT_MIN_SCORE,
      iou,
      limit,
      labels: labels === undefined ? null : new Set(labels)
    }
  }

  async #asTask<Answer>(
    id: string,
    info: Record<string, unknown>,
    work: () => Promise<Answer>
  ): Promise<Answer> {
    this.addTask(id, info)
    try {
      return await work()
    } finally {
      this.removeTask(id)
    }
  }
}
