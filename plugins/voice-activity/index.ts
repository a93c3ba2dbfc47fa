import {
  BaseExpert,
  type ExpertApi,
  ExpertError,
  type ExpertParam,
  type ItemAnswer,
  type ItemContext,
  type MovieFile,
  type RunContext,
  type Static,
  type TSchema,
  Type
} from '@nebula-experts/sdk'
import { SAMPLE_RATE, SpeechModel, WINDOW } from './speech-model.ts'
import { type SpeechRules, type SpeechSegment, speechSegments } from './speech-segments.ts'

const Rules = {
  threshold: Type.Number({
    default: 0.5,
    minimum: 0.05,
    maximum: 1,
    description: 'Speech begins where the model is at least so certain'
  }),
  min_speech_ms: Type.Integer({
    default: 250,
    minimum: 0,
    description: 'Shorter stretches of speech are left out'
  }),
  min_silence_ms: Type.Integer({
    default: 300,
    minimum: 0,
    description: 'Shorter pauses do not end a stretch'
  })
}
const Params = Type.Object(Rules)
type Params = Static<typeof Params>

const SpeechBody = Type.Object(
  {
    url: Type.Optional(
      Type.String({
        description: 'Where the sound or video is, when none is uploaded',
        examples: ['https://example.org/interview.mp3']
      })
    ),
    ...Rules
  },
  { description: 'A file, or the address of one' }
)

const Answer = Type.Object({
  result: Type.Array(
    Type.Object({
      start_s: Type.Number({ description: 'Seconds from the start' }),
      end_s: Type.Number(),
      score: Type.Number({ description: 'Mean certainty, 0 to 1' })
    })
  ),
  error: Type.Null()
})
type Answer = Static<typeof Answer>

const WINDOW_S = WINDOW / SAMPLE_RATE

/** Finds where somebody speaks, in sound and in the sound of movies. */
export default class VoiceActivityExpert extends BaseExpert<TSchema, typeof Params> {
  static override params = Params

  #model: SpeechModel | undefined

  override async init(): Promise<void> {
    this.#model = await SpeechModel.open()
  }

  override getModelSha256(): string | null {
    return this.#model?.sha256 ?? null
  }

  override addExpertApis(api: ExpertApi): void {
    const options = {
      files: true,
      job: true,
      body: SpeechBody,
      response: Answer,
      summary: 'Find the speech in one uploaded sound or video, or in one at an address'
    }
    api.post('/speech', options, async ({ body, files }, context) => {
      const { signal } = context
      const [file] = files
      const path = file?.path ?? (await this.#download(body.url, context))
      const name = file?.filename ?? body.url
      const { durationS } = await this.media.probe(path, { signal, ...(name && { name }) })
      const sound = this.media.sound(path, { sampleRate: SAMPLE_RATE, signal })
      return this.#answer(context.jobId, sound, durationS, body, context)
    })
  }

  override async predict(params: ExpertParam<Params>, context: RunContext): Promise<Answer> {
    const file = await this.openMovie(params.movie_id, context)
    const { durationS, video } = await file.probe()
    const sound = file.sound({ sampleRate: SAMPLE_RATE })
    const answer = await this.#answer(
      params.movie_id,
      sound,
      durationS,
      params.extra_params,
      context
    )
    if (params.scene_element === null) return answer
    const part = partOf(file, params.scene_element, video?.fps ?? 0)
    return { result: within(answer.result, part), error: null }
  }

  /** Saves one token for each scene element in which somebody speaks, its stretches in `meta_label`. */
  override async processMovie(movieId: string, context: ItemContext<Params>): Promise<ItemAnswer> {
    const file = await this.openMovie(movieId, context)
    const { durationS, audio, video } = await file.probe()
    // Nobody speaks in a silent film; that is an answer, and no failure.
    if (audio === null) return { ok: true }
    const sound = file.sound({ sampleRate: SAMPLE_RATE })
    const { result } = await this.#answer(movieId, sound, durationS, context.extraParams, context)
    const numbers = file.sceneElements.map(({ number }) => number)
    const tokens = (numbers.length === 0 ? [0] : numbers).flatMap((number) => {
      const segments = within(result, partOf(file, number, video?.fps ?? 0))
      if (segments.length === 0) return []
      return [
        {
          movie_id: movieId,
          scene_element: number,
          expert: this.getName(),
          label: 'speech',
          meta_label: { class: 'Sound', segments }
        }
      ]
    })
    if (tokens.length > 0) await this.tokens.save(tokens)
    return { ok: true }
  }

  override async handleExit(): Promise<void> {
    await this.#model?.release()
  }

  async #download(url: string | undefined, { tmp: folder, signal }: RunContext): Promise<string> {
    if (url === undefined) {
      throw new ExpertError(
        'EXP_BAD_INPUT',
        "No sound came: upload one in the multipart field 'file' or as the raw body, or name its 'url'"
      )
    }
    return (await this.media.downloadVideo(url, { folder, signal })).path
  }

  async #answer(
    id: string,
    sound: AsyncIterable<Float32Array>,
    durationS: number | null,
    given: Params | null,
    context: RunContext
  ): Promise<Answer> {
    if (this.#model === undefined) throw new Error('init() has not run')
    this.addTask(id)
    try {
      const certainties: number[] = []
      const counted = new SampleCounter(sound)
      for await (const certainty of this.#model.listen(counted)) {
        context.signal.throwIfAborted()
        certainties.push(certainty)
        if (durationS !== null && certainties.length % 500 === 0) {
          context.progress(Math.min(1, (certainties.length * WINDOW_S) / durationS))
        }
      }
      const end = counted.samples / SAMPLE_RATE
      return { result: speechSegments(certainties, WINDOW_S, end, rulesOf(given)), error: null }
    } finally {
      this.removeTask(id)
    }
  }
}

/** Passes sound on and counts it: a container's own word on its length may be wrong. */
class SampleCounter {
  samples = 0
  readonly #sound: AsyncIterable<Float32Array>

  constructor(sound: AsyncIterable<Float32Array>) {
    this.#sound = sound
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Float32Array> {
    for await (const piece of this.#sound) {
      this.samples += piece.length
      yield piece
    }
  }
}

function rulesOf(given: Params | null): SpeechRules {
  const { threshold = 0.5, min_speech_ms = 250, min_silence_ms = 300 } = given ?? {}
  return { threshold, minSpeechMs: min_speech_ms, minSilenceMs: min_silence_ms }
}

/** The seconds of a scene element; of a movie without scene elements, element 0 is all of it. */
function partOf(file: MovieFile, number: number, videoFps: number): [from: number, to: number] {
  const element = file.sceneElements[number]
  if (element === undefined && (number !== 0 || file.sceneElements.length > 0)) {
    const { _id: id } = file.movie
    const message = `Field 'scene_element' is ${number}, ${id} has ${file.sceneElements.length}`
    throw new ExpertError('EXP_BAD_INPUT', message)
  }
  const meta = file.movie.meta as { fps?: unknown } | null | undefined
  const fps = typeof meta?.fps === 'number' && meta.fps > 0 ? meta.fps : videoFps
  if (element === undefined || fps === 0) return [0, Infinity]
  return [element.first / fps, (element.last + 1) / fps]
}

/** What of some stretches lies within a part. */
function within(segments: SpeechSegment[], [from, to]: [number, number]): SpeechSegment[] {
  return segments
    .filter(({ start_s, end_s }) => start_s < to && end_s > from)
    .map(({ start_s, end_s, score }) => ({
      start_s: Math.max(start_s, from),
      end_s: Math.min(end_s, to),
      score
    }))
}
