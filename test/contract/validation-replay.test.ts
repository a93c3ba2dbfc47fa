import { readFileSync } from 'node:fs'
import t from 'tap'
import { Type } from 'typebox'
import { parseJsonBody } from '../../host/http/json-body.ts'
import { PredictImageParam, PredictImagesParam, PredictParam } from '../../sdk/requests.ts'
import { type Checked, compileSchema, type Issue } from '../../sdk/validation/index.ts'

interface Exchange {
  id: string
  method: string
  path: string
  headers?: Record<string, string>
  body?: string
  encoding?: 'hex'
  answer: { status: number; body: string }
}

type Fields = Record<string, unknown>

interface Route {
  check: ReturnType<typeof compileSchema<Fields>>
  /** The coerced values, as far as the recorded answer repeats them. */
  recorded: (answer: Fields) => unknown[]
  /** The same of ours. */
  ours: (body: Fields) => unknown[]
}

const StepParam = Type.Object({
  movie_id: Type.String(),
  scene_element: Type.Integer({ default: 0 }),
  mdf: Type.Integer({ default: 0 }),
  action: Type.String({ default: 'track' }),
  detect_every: Type.Integer({ default: 10 }),
  merge_iou_threshold: Type.Number({ default: 0.95 }),
  refresh_on_detect: Type.Boolean({ default: true }),
  tracker_type: Type.String({ default: 'KCF' }),
  batch_size: Type.Integer({ default: 8 }),
  output: Type.String({ default: 'json' })
})

const image = ['image_id', 'url']

const routes: Record<string, Route> = {
  '/predict': {
    check: compileSchema(PredictParam),
    recorded: ({ result }) =>
      pick(result, ['id', 'scene_element', 'local', 'extra_params', 'output']),
    ours: (body) => pick(body, ['movie_id', 'scene_element', 'local', 'extra_params', 'output'])
  },
  '/predict/image': {
    check: compileSchema(PredictImageParam),
    recorded: (answer) => pick(answer, [...image, 'extra_params']),
    ours: (body) => pick(body, [...image, 'extra_params'])
  },
  '/predict/images': {
    check: compileSchema(PredictImagesParam),
    recorded: ({ results }) => (results as Fields[]).map((result) => pick(result, image)),
    ours: ({ images }) => (images as Fields[]).map((item) => pick(item, image))
  },
  '/depth': {
    check: compileSchema(StepParam),
    recorded: ({ track_params }) => Object.entries(track_params as Fields),
    ours: (body) => Object.entries(body)
  }
}

function pick(fields: unknown, names: string[]): unknown[] {
  return names.map((name) => (fields as Fields)[name])
}

const DIGITS = 'JSON.parse keeps no more digits than a double has'
const FRACTION = 'JSON.parse makes of 1.0 and 1e3 what it makes of 1 and 1000'

/** Lines that differ: why, the text that the seed answered, and what ours is instead. */
const deviations: Record<string, { why: string; seed: string; ours: string }> = {
  'predict movie_id=1.0': { why: FRACTION, seed: '"1.0"', ours: '"1"' },
  'predict output=1.0': { why: FRACTION, seed: '"1.0"', ours: '"1"' },
  'predict output=1e3': { why: FRACTION, seed: '"1000.0"', ours: '"1000"' },
  'predict output=12345678901234567890': { why: DIGITS, seed: '67890"', ours: '67000"' },
  'image image_id=1.0': { why: FRACTION, seed: '"1.0"', ours: '"1"' },
  'image image_id=1e3': { why: FRACTION, seed: '"1000.0"', ours: '"1000"' },
  'image image_id=12345678901234567890': { why: DIGITS, seed: '67890"', ours: '67000"' },
  'image url=1.0': { why: FRACTION, seed: '"1.0"', ours: '"1"' },
  'image url=12345678901234567890': { why: DIGITS, seed: '67890"', ours: '67000"' },
  'step tracker_type=1.0': { why: FRACTION, seed: '"1.0"', ours: '"1"' },
  'step tracker_type=1e3': { why: FRACTION, seed: '"1000.0"', ours: '"1000"' }
}

/** Answers of the stand-in's `extra_params.mode`, which repeat nothing. */
const silent = /"mode":/

t.test('every recorded body is coerced or refused as in the seed', async (t) => {
  const file = new URL('../fixtures/seed-wire.ndjson', import.meta.url)
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  const exchanges = lines.map((line) => JSON.parse(line) as Exchange)
  const replayed = exchanges.filter(({ method, path }) => method === 'POST' && path in routes)
  t.equal(replayed.length, 467)

  for (const exchange of replayed) {
    const recorded = JSON.stringify(recordedOf(exchange))
    const ours = JSON.stringify(oursOf(exchange))
    const deviation = deviations[exchange.id]
    if (deviation === undefined) {
      t.equal(ours, recorded, exchange.id)
    } else {
      t.match(recorded, deviation.seed, `${exchange.id}: what the seed answered`)
      t.equal(ours, recorded.replace(deviation.seed, deviation.ours), deviation.why)
    }
  }
  const ids = new Set(replayed.map(({ id }) => id))
  t.same(
    Object.keys(deviations).filter((id) => !ids.has(id)),
    [],
    'deviations without a line'
  )
})

function recordedOf({ path, body, answer }: Exchange): unknown {
  if (answer.status === 400) return 400
  const value = JSON.parse(answer.body)
  if (answer.status === 422) return value.detail.map(essence)
  return silent.test(body ?? '') ? 'accepted' : routes[path]!.recorded(value)
}

function oursOf({ path, headers, body, encoding }: Exchange): unknown {
  const bytes = Buffer.from(body ?? '', encoding ?? 'utf8')
  const { check, ours } = routes[path]!
  const type = headers?.['content-type'] ?? 'application/json'
  const checked = /^application\/(.+\+)?json$/.test(type)
    ? checkJson(bytes, check)
    : check(bytes.toString(), ['body'])
  if (checked === 400) return 400
  if (checked.issues !== undefined) return checked.issues.map(essence)
  return silent.test(body ?? '') ? 'accepted' : ours(checked.value)
}

function checkJson(bytes: Buffer, check: Route['check']): Checked<Fields> | 400 {
  if (bytes.length === 0) return check(undefined, ['body'])
  const body = parseJsonBody(bytes)
  if (body.undecodable) return 400
  if (body.issues !== undefined) return { issues: body.issues }
  return check(body.value ?? undefined, ['body'])
}

function essence({ loc, msg, type }: Issue): unknown {
  return [loc, msg, type]
}
