import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import {
  BaseExpert,
  type ExpertApi,
  type ExpertContext,
  ExpertError,
  type ExpertParam,
  FrameChoice,
  ImageRecord,
  ImageToken,
  type ItemAnswer,
  type ItemContext,
  isExpertError,
  type MovieFile,
  type RunContext,
  type Static,
  Type,
  type UploadedFile
} from '@nebula-experts/sdk'
import { checkIds, type NewVector, roundedNumbers, SavedVectors } from '@nebula-experts/sdk/vectors'
import { loadAhead } from './load-ahead.ts'
import { DIMENSIONS, PictureEncoder, type Square } from './picture-encoder.ts'
import { SIDE } from './picture-input.ts'

const IMAGES_MAX = 256
/** Pictures that are fetched while one is looked at. */
const AHEAD = 4
/** Vectors that are saved in one go, so that no more wait in memory. */
const SAVED_TOGETHER = 64

const Url = Type.String({
  description: 'Where the picture is: `http:`, `https:`, `data:`, or `file:` under an allowed root'
})
const Vector = Type.Array(Type.Number(), { description: '1792 numbers, of length 1' })

const EmbedBody = Type.Object({
  images: Type.Optional(
    Type.Array(
      Type.Object({
        url: Url,
        image_id: Type.Optional(
          Type.String({ minLength: 1, description: 'Under which it is saved' })
        )
      }),
      { maxItems: IMAGES_MAX, description: 'In JSON; pictures may be uploaded instead' }
    )
  ),
  output: Type.Enum(['json', 'db', 'db+json'], {
    default: 'json',
    description:
      '`json`: the vectors are answered; `db`: they are saved for `/similar`, each needs an `image_id`, an upload a file name; `db+json`: both'
  })
})
type EmbedBody = Static<typeof EmbedBody>

const EmbeddedImage = Type.Object({
  image_id: Type.Optional(Type.String()),
  embedding: Type.Optional(
    Type.Union([Vector, Type.Null()], { description: 'Null where there is an `error`' })
  ),
  token: Type.Optional(Type.String({ description: 'Where it was saved' })),
  error: Type.Optional(Type.String({ description: 'Why the picture cannot be had or read' })),
  code: Type.Optional(Type.String())
})
type EmbeddedImage = Static<typeof EmbeddedImage>
const EmbedAnswer = Type.Object({ result: Type.Array(EmbeddedImage), error: Type.Null() })
type EmbedAnswer = Static<typeof EmbedAnswer>

const SimilarBody = Type.Object({
  image: Type.Optional(Type.Object({ url: Url })),
  top_k: Type.Integer({ default: 10, minimum: 1, maximum: 1000 }),
  min_score: Type.Optional(
    Type.Number({ minimum: -1, maximum: 1, description: 'What is less alike is left out' })
  )
})
const SimilarAnswer = Type.Object({
  result: Type.Array(
    Type.Object({
      id: Type.String({ description: '`Movies/<key>/<scene element>/<frame>` of a frame' }),
      type: Type.String({ description: '`image` or `frame`' }),
      score: Type.Number({ description: 'Cosine, -1 to 1' })
    })
  ),
  error: Type.Null()
})
type SimilarAnswer = Static<typeof SimilarAnswer>

const PictureRecord = Type.Interface([ImageRecord], { embedding: Type.Optional(Vector) })
type PictureRecord = Static<typeof PictureRecord>
const FrameRecord = Type.Interface([ImageToken], { embedding: Type.Optional(Vector) })
type FrameRecord = Partial<Static<typeof FrameRecord>>

/** A picture of `/embed` or `/similar`. */
interface Source {
  id: string | null
  prepare(context: RunContext): Promise<Square>
}

/** Makes vectors of pictures, of which those of pictures that look alike point the same way, and finds saved ones. */
export default class EmbedImageExpert extends BaseExpert<never, typeof FrameChoice> {
  static override params = FrameChoice

  #encoder: PictureEncoder | undefined
  #saved: SavedVectors | undefined

  override async init(): Promise<void> {
    this.#encoder = await PictureEncoder.open()
    const { sha256, mark } = this.#encoder
    const owner = { expert: this.getName(), model: mark, dimensions: DIMENSIONS }
    this.#saved = new SavedVectors(this.tokens, owner)
    this.log.info('model loaded', { sha256 })
  }

  override getModelSha256(): string | null {
    return this.#encoder?.sha256 ?? null
  }

  override addExpertApis(api: ExpertApi): void {
    const embed = {
      body: EmbedBody,
      files: true,
      job: true,
      response: EmbedAnswer,
      summary: 'Make vectors of pictures'
    }
    api.post('/embed', embed, ({ body, files }, context) => this.#embed(body, files, context))
    const similar = {
      body: SimilarBody,
      files: true,
      response: SimilarAnswer,
      summary: 'Find saved pictures that look alike'
    }
    api.post('/similar', similar, ({ body, files }, context) => this.#similar(body, files, context))
  }

  /** The vector of one picture: numbers, or with `output` `db` and `db+json` as it is saved. */
  override async predictImage(
    params: ExpertParam<FrameChoice | null>,
    context: RunContext
  ): Promise<{ result: PictureRecord[]; error: null }> {
    const { encoder, saved } = this.#parts()
    const { id, img_url: url } = params
    if (url === null) {
      const message = "Field 'img_url' says where the picture is, it is null"
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    this.addTask(id)
    try {
      const vector = await encoder.encode(await this.#fetch(url, context))
      const { expert_meta } = saved.tokenOf({ id, type: 'image', vector })
      const record = {
        image_id: id,
        expert: this.getName(),
        bbox: null,
        label: null,
        meta_label: null,
        re_id: 0,
        ...(isSaved(params.output) ? { expert_meta } : { embedding: roundedNumbers(vector) })
      }
      return { result: [record], error: null }
    } finally {
      this.removeTask(id)
    }
  }

  /** The vectors of a movie's middle frames, or of those that `extra_params` choose. */
  override async predict(
    params: ExpertParam<FrameChoice | null>,
    context: RunContext
  ): Promise<{ result: FrameRecord[]; error: null }> {
    const { saved } = this.#parts()
    const { id, scene_element, extra_params: choice } = params
    const movie = await this.openMovie(id, context)
    const result: FrameRecord[] = []
    this.addTask(id)
    try {
      for await (const frame of this.#frames(movie, { scene_element, choice }, context)) {
        const { expert_meta, ...token } = saved.tokenOf(frame)
        const isKept = isSaved(params.output)
        result.push({
          ...token,
          ...(isKept ? { expert_meta } : { embedding: roundedNumbers(frame.vector) })
        })
      }
      return { result, error: null }
    } finally {
      this.removeTask(id)
    }
  }

  /** Saves the vectors of a movie's frames, some at a time, whatever their number. */
  override async processMovie(
    movieId: string,
    context: ItemContext<FrameChoice | null>
  ): Promise<ItemAnswer> {
    const { saved } = this.#parts()
    const movie = await this.openMovie(movieId, context)
    this.addTask(movieId)
    try {
      let unsaved: NewVector[] = []
      const wanted = { scene_element: null, choice: context.extraParams }
      for await (const frame of this.#frames(movie, wanted, context)) {
        unsaved.push(frame)
        if (unsaved.length < SAVED_TOGETHER) continue
        await saved.save(unsaved)
        unsaved = []
      }
      await saved.save(unsaved)
      return { ok: true }
    } finally {
      this.removeTask(movieId)
    }
  }

  override async handleExit(): Promise<void> {
    await this.#encoder?.release()
  }

  async #embed(
    { images, output }: EmbedBody,
    files: UploadedFile[],
    context: RunContext
  ): Promise<EmbedAnswer> {
    const { encoder, saved } = this.#parts()
    const sources = this.#sources(images, files)
    const saves = output !== 'json'
    if (saves) {
      checkIds(
        sources.map(({ id }) => id),
        (place) => (files.length > 0 ? `files[${place}].filename` : `images[${place}].image_id`)
      )
    }
    const result: EmbeddedImage[] = sources.map(({ id }) => (id === null ? {} : { image_id: id }))
    let unsaved: Array<NewVector & { place: number }> = []
    const save = async () => {
      const tokens = await saved.save(unsaved)
      for (const { place, id } of unsaved) result[place]!.token = tokens.get(id)!
      unsaved = []
    }
    this.addTask(context.jobId, { images: sources.length })
    try {
      let place = 0
      const load = (at: number) => sources[at]!.prepare(context)
      for await (const loaded of loadAhead(sources.length, AHEAD, load)) {
        context.signal.throwIfAborted()
        const item = result[place]!
        if (!loaded.ok) Object.assign(item, failedItem(loaded.error))
        else {
          const vector = await encoder.encode(loaded.value)
          if (output !== 'db') item.embedding = roundedNumbers(vector)
          if (saves) unsaved.push({ place, id: sources[place]!.id!, type: 'image', vector })
        }
        place += 1
        context.progress(place / sources.length)
        if (unsaved.length === SAVED_TOGETHER) await save()
      }
      await save()
      return { result, error: null }
    } finally {
      this.removeTask(context.jobId)
    }
  }

  async #similar(
    { image, top_k, min_score }: Static<typeof SimilarBody>,
    files: UploadedFile[],
    context: RunContext
  ): Promise<SimilarAnswer> {
    const { encoder, saved } = this.#parts()
    if (files.length > 1) {
      const message = `One picture is wanted, ${files.length} files came`
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    const [source] = this.#sources(image === undefined ? undefined : [image], files, 'image')
    const vector = await encoder.encode(await source!.prepare(context))
    const found = await saved.similar(vector, { topK: top_k, minScore: min_score })
    const result = found.map(({ entry: { id, type }, score }) => ({
      id,
      type,
      score: Math.round(score * 1e6) / 1e6
    }))
    return { result, error: null }
  }

  /** The pictures of a request: named by address, or uploaded. */
  #sources(
    images: ReadonlyArray<{ url: string; image_id?: string | undefined }> | undefined,
    files: UploadedFile[],
    field = 'images'
  ): Source[] {
    const { encoder } = this.#parts()
    if (images === undefined && files.length === 0) {
      const message = `Field '${field}' is missing: it says where the pictures are, unless they are uploaded`
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    const uploaded = files.map(({ filename, path }) => ({
      id: filename,
      prepare: () =>
        encoder.prepare(() => this.media.decodeImage(path, { name: filename ?? 'the upload' }))
    }))
    const named = (images ?? []).map(({ url, image_id = null }) => ({
      id: image_id,
      prepare: (context: RunContext) => this.#fetch(url, context)
    }))
    return [...named, ...uploaded]
  }

  /** The file of a fetched picture goes at once: a list of them would fill the disk. */
  async #fetch(url: string, { tmp: folder, signal }: ExpertContext): Promise<Square> {
    const { encoder } = this.#parts()
    const { path } = await this.media.downloadImage(url, { folder, signal })
    try {
      return await encoder.prepare(() => this.media.decodeImage(path, { name: url }))
    } finally {
      if (dirname(path) === folder) await rm(path, { force: true })
    }
  }

  async *#frames(
    movie: MovieFile,
    wanted: { scene_element: number | null; choice: FrameChoice | null },
    context: RunContext
  ): AsyncGenerator<NewVector, void> {
    const { encoder } = this.#parts()
    const options = {
      sceneElement: wanted.scene_element,
      choice: wanted.choice,
      width: SIDE,
      height: SIDE
    }
    for await (const frame of movie.chosenFrames(options)) {
      context.signal.throwIfAborted()
      context.progress(frame.fraction)
      const id = `${movie.movie._id}/${frame.sceneElement}/${frame.number}`
      const square = await encoder.prepare(async () => frame)
      yield { id, type: 'frame', vector: await encoder.encode(square) }
    }
  }

  #parts(): { encoder: PictureEncoder; saved: SavedVectors } {
    if (this.#encoder === undefined || this.#saved === undefined) {
      throw new Error('init() has not run')
    }
    return { encoder: this.#encoder, saved: this.#saved }
  }
}

function isSaved(output: string): boolean {
  return output === 'db' || output === 'db+json'
}

/** @throws the error when it is not the picture's own */
function failedItem(error: unknown): Pick<EmbeddedImage, 'embedding' | 'error' | 'code'> {
  if (!isExpertError(error) || !error.code.startsWith('EXP_MEDIA_')) throw error
  return { embedding: null, error: error.message, code: error.code }
}
