import {
  BaseExpert,
  type DecodedImage,
  type ExpertApi,
  ExpertError,
  type ExpertParam,
  ImageRecord,
  type ItemAnswer,
  type ItemContext,
  type RunContext,
  type Static,
  Type
} from '@nebula-experts/sdk'
import { type OcrModels, openOcrModels } from './ocr-models.ts'
import { readLines } from './read-lines.ts'
import { levelBounds } from './text-box.ts'

const Score = Type.Number({ minimum: 0, maximum: 1 })

const Config = Type.Object({
  OCR_MIN_SCORE: Type.Number({
    ...Score,
    default: 0.5,
    description: 'Lines that the model is less certain of are left out'
  }),
  OCR_MAX_SIDE: Type.Integer({
    minimum: 64,
    maximum: 4096,
    default: 960,
    description: 'Longer side, in pixels, of the picture in which text is searched'
  })
})

const Params = Type.Object({
  min_score: Type.Optional(
    Type.Number({ ...Score, description: 'In place of OCR_MIN_SCORE, for this request' })
  )
})

const OcrRecord = Type.Interface([ImageRecord], {
  score: Type.Number({ description: 'Mean certainty of the signs, 0 to 1' })
})
type OcrRecord = Static<typeof OcrRecord>

const Answer = Type.Object({
  result: Type.Array(OcrRecord),
  error: Type.Null()
})
type Answer = Static<typeof Answer>

/** Finds and reads the text in pictures: one record per line. */
export default class OcrExpert extends BaseExpert<typeof Config, typeof Params> {
  static override config = Config
  static override params = Params

  #models: OcrModels | undefined

  override async init(): Promise<void> {
    this.#models = await openOcrModels()
    const { detector, recogniser } = this.#models
    this.log.info('models loaded', { detector: detector.sha256, recogniser: recogniser.sha256 })
  }

  override getModelSha256(): string | null {
    return this.#models?.recogniser.sha256 ?? null
  }

  override addExpertApis(api: ExpertApi): void {
    const options = {
      files: true,
      response: Answer,
      summary: 'Read the text of one uploaded picture'
    }
    api.post('/read', options, async ({ files }, context) => {
      const file = files[0]
      if (file === undefined) {
        throw new ExpertError(
          'EXP_BAD_INPUT',
          "No picture came: send it in the multipart field 'file', or as the raw body"
        )
      }
      const load = () => this.media.decodeImage(file.path)
      return this.#read(file.filename ?? 'upload', load, this.config.OCR_MIN_SCORE, context)
    })
  }

  override async predictImage(
    params: ExpertParam<Static<typeof Params> | null>,
    context: RunContext
  ): Promise<Answer> {
    if (params.img_url === null) {
      throw new ExpertError(
        'EXP_BAD_INPUT',
        "Field 'img_url' says where the picture is, it is null"
      )
    }
    const minScore = params.extra_params?.min_score ?? this.config.OCR_MIN_SCORE
    return this.#readFrom(params.img_url, params.id, minScore, context)
  }

  /** Reads a movie that is one picture, where its `url_path` says, and saves the lines as its tokens. */
  override async processMovie(
    movieId: string,
    context: ItemContext<Static<typeof Params> | null>
  ): Promise<ItemAnswer> {
    const movie = await this.movies.get(movieId)
    if (movie === undefined) return { ok: false, error: `There is no movie '${movieId}'` }
    const { url_path: url } = movie
    if (typeof url !== 'string') {
      return { ok: false, error: `Field 'url_path' of ${movieId} says where the picture is` }
    }
    const minScore = context.extraParams?.min_score ?? this.config.OCR_MIN_SCORE
    const { result } = await this.#readFrom(url, movieId, minScore, context)
    const tokens = result.map(({ image_id, score, ...line }) => ({ ...line, movie_id: image_id }))
    if (tokens.length > 0) await this.tokens.save(tokens)
    return { ok: true }
  }

  override async handleExit(): Promise<void> {
    await this.#models?.release()
  }

  #readFrom(url: string, id: string, minScore: number, context: RunContext): Promise<Answer> {
    const load = async () => {
      const options = { folder: context.tmp, signal: context.signal }
      const { path } = await this.media.downloadImage(url, options)
      return this.media.decodeImage(path)
    }
    return this.#read(id, load, minScore, context)
  }

  async #read(
    imageId: string,
    load: () => Promise<DecodedImage>,
    minScore: number,
    context: RunContext
  ): Promise<Answer> {
    if (this.#models === undefined) throw new Error('init() has not run')
    this.addTask(imageId)
    try {
      const image = await load()
      const lines = await readLines(this.#models, image, {
        maxSide: this.config.OCR_MAX_SIDE,
        minScore,
        signal: context.signal,
        onProgress: (fraction, note) => context.progress(fraction, note)
      })
      const result = lines.map((line): OcrRecord => {
        const score = Math.round(line.score * 1e4) / 1e4
        return {
          image_id: imageId,
          expert: this.getName(),
          bbox: levelBounds(line.box, image),
          label: line.text,
          meta_label: { class: 'Text', score },
          re_id: 0,
          score
        }
      })
      return { result, error: null }
    } finally {
      this.removeTask(imageId)
    }
  }
}
