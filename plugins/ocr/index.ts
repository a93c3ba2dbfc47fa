import {
  BaseExpert,
  type DecodedImage,
  type ExpertApi,
  ExpertError,
  type ExpertParam,
  FrameChoice,
  ImageRecord,
  type RunContext,
  type Static,
  type TokenRecord,
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
  ),
  ...FrameChoice.properties
})
type Params = Static<typeof Params>

const OcrRecord = Type.Interface([ImageRecord], {
  score: Type.Number({ description: 'Mean certainty of the signs, 0 to 1' })
})
type OcrRecord = Static<typeof OcrRecord>

const Answer = Type.Object({
  result: Type.Array(OcrRecord),
  error: Type.Null()
})
type Answer = Static<typeof Answer>

/** Where a line was seen in a movie. */
interface MovieBox {
  frame: number
  bbox: number[]
  score: number
}

interface MovieRecord extends TokenRecord {
  bbox: MovieBox[]
}

interface MovieAnswer {
  result: MovieRecord[]
  error: null
}

/** Finds and reads the text in pictures and movies: one record per line. */
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
      const load = () => this.media.decodeImage(file.path, { name: file.filename ?? 'the upload' })
      return this.#read(file.filename ?? 'upload', load, null, context)
    })
  }

  override async predictImage(
    params: ExpertParam<Params | null>,
    context: RunContext
  ): Promise<Answer> {
    if (params.img_url === null) {
      throw new ExpertError(
        'EXP_BAD_INPUT',
        "Field 'img_url' says where the picture is, it is null"
      )
    }
    const { img_url: url, id, extra_params: extra } = params
    const load = async () => {
      const options = { folder: context.tmp, signal: context.signal }
      const { path } = await this.media.downloadImage(url, options)
      return this.media.decodeImage(path, { name: url })
    }
    return this.#read(id, load, extra, context)
  }

  /** Reads the frames of a movie by which it is judged; the same line of one scene element is one record. */
  override async predict(
    params: ExpertParam<Params | null>,
    context: RunContext
  ): Promise<MovieAnswer> {
    const { movie_id: id, scene_element: sceneElement, extra_params: extra } = params
    const records: MovieRecord[] = []
    this.addTask(id)
    try {
      const file = await this.openMovie(id, context)
      for await (const frame of file.chosenFrames({ sceneElement, choice: extra })) {
        context.progress(frame.fraction, `frame ${frame.number}`)
        for (const { text, ...seen } of await this.#linesOf(frame, extra, context)) {
          const box = { frame: frame.number, ...seen }
          const same = records.find((record) => {
            return record.scene_element === frame.sceneElement && record.label === text
          })
          if (same !== undefined) same.bbox.push(box)
          else records.push(this.#movieRecord(file.movie._id, frame.sceneElement, text, box))
        }
      }
      return { result: records, error: null }
    } finally {
      this.removeTask(id)
    }
  }

  override async handleExit(): Promise<void> {
    await this.#models?.release()
  }

  async #read(
    imageId: string,
    load: () => Promise<DecodedImage>,
    extra: Params | null,
    context: RunContext
  ): Promise<Answer> {
    this.addTask(imageId)
    try {
      const lines = await this.#linesOf(await load(), extra, context, (fraction, note) =>
        context.progress(fraction, note)
      )
      const result = lines.map(
        ({ text, bbox, score }): OcrRecord => ({
          image_id: imageId,
          expert: this.getName(),
          bbox,
          label: text,
          meta_label: { class: 'Text', score },
          re_id: 0,
          score
        })
      )
      return { result, error: null }
    } finally {
      this.removeTask(imageId)
    }
  }

  async #linesOf(
    image: DecodedImage,
    extra: Params | null,
    { signal }: RunContext,
    onProgress: (fraction: number, note: string) => void = () => {}
  ): Promise<{ text: string; bbox: number[]; score: number }[]> {
    if (this.#models === undefined) throw new Error('init() has not run')
    const { OCR_MAX_SIDE: maxSide, OCR_MIN_SCORE } = this.config
    const minScore = extra?.min_score ?? OCR_MIN_SCORE
    const lines = await readLines(this.#models, image, { maxSide, minScore, signal, onProgress })
    return lines.map(({ text, box, score }) => {
      return { text, bbox: levelBounds(box, image), score: Math.round(score * 1e4) / 1e4 }
    })
  }

  #movieRecord(movieId: string, sceneElement: number, text: string, box: MovieBox): MovieRecord {
    return {
      movie_id: movieId,
      scene_element: sceneElement,
      scene: 0,
      expert: this.getName(),
      bbox: [box],
      label: text,
      meta_label: { class: 'Text' },
      re_id: 0
    }
  }
}
