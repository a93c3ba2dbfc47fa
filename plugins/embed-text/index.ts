import {
  BaseExpert,
  type ExpertApi,
  ExpertError,
  type RunContext,
  type Static,
  Type
} from '@nebula-experts/sdk'
import { checkIds, type NewVector, roundedNumbers, SavedVectors } from '@nebula-experts/sdk/vectors'
import { DIMENSIONS, type EncodedText, TextEncoder } from './text-encoder.ts'

const TEXTS_MAX = 10_000
/** Of a text so much is kept to be shown: 128 pieces are seldom more. */
const SHOWN_MAX = 2000
/** Texts that are saved in one go, so that no more wait in memory. */
const SAVED_TOGETHER = 500

const Named = Type.Object({
  id: Type.String({ minLength: 1, description: 'Under which it is saved' }),
  text: Type.String()
})
const EmbedBody = Type.Object({
  texts: Type.Array(Type.Union([Type.String(), Named]), {
    maxItems: TEXTS_MAX,
    description: 'Sentences or short paragraphs in English: 128 pieces, some 100 words, are read',
    examples: [['How old are you?', { id: 'faq-7', text: 'What is your age?' }]]
  }),
  output: Type.Enum(['json', 'db', 'db+json'], {
    default: 'json',
    description:
      '`json`: the vectors are answered; `db`: they are saved for `/similar`, each text needs an `id`; `db+json`: both'
  })
})
type EmbedBody = Static<typeof EmbedBody>

const EmbeddedText = Type.Object({
  id: Type.Optional(Type.String()),
  embedding: Type.Optional(
    Type.Union([Type.Array(Type.Number()), Type.Null()], {
      description: '512 numbers, of length 1; null where there is an `error`'
    })
  ),
  token: Type.Optional(Type.String({ description: 'Where it was saved' })),
  truncated: Type.Optional(Type.Literal(true, { description: 'The end was not read' })),
  error: Type.Optional(Type.String())
})
type EmbeddedText = Static<typeof EmbeddedText>
const EmbedAnswer = Type.Object({ result: Type.Array(EmbeddedText), error: Type.Null() })
type EmbedAnswer = Static<typeof EmbedAnswer>

const SimilarBody = Type.Object({
  text: Type.String({ description: 'What the saved texts are compared with' }),
  top_k: Type.Integer({ default: 10, minimum: 1, maximum: 1000 }),
  min_score: Type.Optional(
    Type.Number({ minimum: -1, maximum: 1, description: 'What is less alike is left out' })
  )
})
const SimilarText = Type.Object({
  id: Type.String(),
  score: Type.Number({ description: 'Cosine, -1 to 1' }),
  text: Type.Union([Type.String(), Type.Null()])
})
const SimilarAnswer = Type.Object({
  result: Type.Array(SimilarText),
  error: Type.Null(),
  truncated: Type.Optional(Type.Literal(true))
})
type SimilarAnswer = Static<typeof SimilarAnswer>

const NO_SIGNS = 'holds no letters or other signs'

/** Makes vectors of texts, of which those that mean the like point the same way, and finds saved ones. */
export default class EmbedTextExpert extends BaseExpert {
  #encoder: TextEncoder | undefined
  #saved: SavedVectors | undefined

  override async init(): Promise<void> {
    this.#encoder = await TextEncoder.open()
    const { sha256 } = this.#encoder
    const owner = { expert: this.getName(), model: sha256.slice(0, 16), dimensions: DIMENSIONS }
    this.#saved = new SavedVectors(this.tokens, owner)
    this.log.info('model loaded', { sha256 })
  }

  override getModelSha256(): string | null {
    return this.#encoder?.sha256 ?? null
  }

  override addExpertApis(api: ExpertApi): void {
    api.post(
      '/embed',
      { body: EmbedBody, response: EmbedAnswer, job: true, summary: 'Make vectors of texts' },
      ({ body }, context) => this.#embed(body, context)
    )
    api.post(
      '/similar',
      {
        body: SimilarBody,
        response: SimilarAnswer,
        summary: 'Find saved texts that mean the like'
      },
      ({ body }) => this.#similar(body)
    )
  }

  override async handleExit(): Promise<void> {
    await this.#encoder?.release()
  }

  async #embed({ texts, output }: EmbedBody, context: RunContext): Promise<EmbedAnswer> {
    const { encoder, saved } = this.#parts()
    const answers = output !== 'db'
    const saves = output !== 'json'
    const named: Array<{ id?: string; text: string }> = texts.map((text) =>
      typeof text === 'string' ? { text } : text
    )
    if (saves) {
      checkIds(
        named.map(({ id }) => id),
        (place) => `texts[${place}].id`
      )
    }
    const result: EmbeddedText[] = named.map(({ id }) => (id === undefined ? {} : { id }))
    let unsaved: Array<NewVector & { place: number }> = []
    const save = async () => {
      const tokens = await saved.save(unsaved)
      for (const { place, id } of unsaved) result[place]!.token = tokens.get(id)!
      unsaved = []
    }
    const take = ({ place, vector, truncated }: EncodedText) => {
      const item = result[place]!
      if (truncated) item.truncated = true
      if (vector === null) {
        item.embedding = null
        item.error = `Field 'texts[${place}]' ${NO_SIGNS}`
        return
      }
      const { id, text } = named[place]!
      if (answers) item.embedding = roundedNumbers(vector)
      if (saves) unsaved.push({ place, id: id!, type: 'text', vector, text: shown(text) })
    }
    this.addTask(context.jobId, { texts: texts.length })
    try {
      const plain = named.map(({ text }) => text)
      let done = 0
      for await (const run of encoder.encode(plain, context.signal)) {
        for (const encoded of run) take(encoded)
        done += run.length
        context.progress(done / texts.length)
        if (unsaved.length >= SAVED_TOGETHER) await save()
      }
      await save()
      return { result, error: null }
    } finally {
      this.removeTask(context.jobId)
    }
  }

  async #similar(asked: Static<typeof SimilarBody>): Promise<SimilarAnswer> {
    const { encoder, saved } = this.#parts()
    const { vector, truncated } = await encoder.encodeOne(asked.text)
    if (vector === null) throw new ExpertError('EXP_BAD_INPUT', `Field 'text' ${NO_SIGNS}`)
    const found = await saved.similar(vector, { topK: asked.top_k, minScore: asked.min_score })
    const result = found.map(({ entry: { id, text }, score }) => ({
      id,
      score: Math.round(score * 1e6) / 1e6,
      text
    }))
    return { result, error: null, ...(truncated ? { truncated } : {}) }
  }

  #parts(): { encoder: TextEncoder; saved: SavedVectors } {
    if (this.#encoder === undefined || this.#saved === undefined) {
      throw new Error('init() has not run')
    }
    return { encoder: this.#encoder, saved: this.#saved }
  }
}

/** The beginning of a text, never half of a sign. */
function shown(text: string): string {
  return text.slice(0, SHOWN_MAX).replace(/[\ud800-\udbff]$/, '')
}
