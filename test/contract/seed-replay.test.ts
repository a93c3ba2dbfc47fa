import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { type RawAnswer, type RawRequest, rawClient } from '../support/raw-request.ts'
import { startHost } from '../support/start-host.ts'

interface Exchange {
  id: string
  method: string
  path: string
  headers?: Record<string, string>
  body?: string
  encoding?: 'hex'
  answer: Answer
}

interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

const lines = readFileSync(new URL('../fixtures/seed-wire.ndjson', import.meta.url), 'utf8')
const exchanges: Exchange[] = lines
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line))

const DIGITS = 'JSON.parse keeps no more digits than a double has'
const FRACTION = 'JSON.parse makes of 1.0 and 1e3 what it makes of 1 and 1000'

/** Lines whose answer is another than the seed's: why, the seed's text in the body, and ours. */
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

t.equal(exchanges.length, 493, 'every recorded exchange is there')

t.test('at the root', async (t) => {
  const { url } = await startHost(t, { plugins: ['echo-params'] })
  await replay(t, rawClient(t, url), '')
})

t.test('under /experts/MyExpert', async (t) => {
  const { url } = await startHost(t, { plugins: ['echo-params'] })
  await replay(t, rawClient(t, url), '/experts/MyExpert')
})

async function replay(t: Test, send: RawRequest, base: string): Promise<void> {
  const met = new Set<string>()
  for (const exchange of exchanges) {
    const { id, method, path, encoding = 'utf8', answer: seeds } = exchange
    const body = exchange.body === undefined ? {} : { body: Buffer.from(exchange.body, encoding) }
    const headers =
      exchange.headers ?? ('body' in body ? { 'content-type': 'application/json' } : {})
    const answer = await send(method, `${base}${path}`, { headers, ...body })

    const deviation = deviations[id]
    if (deviation === undefined) {
      t.same(shown(answer), seedShown(seeds, base), id, { exchange })
    } else {
      met.add(id)
      t.match(seeds.body, deviation.seed, `${id}: what the seed answered`)
      const changed = seeds.body.replace(deviation.seed, deviation.ours)
      t.same(shown(answer), seedShown({ ...seeds, body: changed }, base), `${id}: ${deviation.why}`)
    }
    if (answer.status >= 400 && method !== 'HEAD') {
      const keys = Object.keys(JSON.parse(answer.text))
      t.same(keys, ['detail', 'code', 'request_id'], `${id}: two fields more`)
    }
  }
  t.same([...met].sort(), Object.keys(deviations).sort(), 'every deviation is of a line')
}

/** An answer as far as it is compared. */
function seedShown({ status, headers, body }: Answer, base: string) {
  const { location } = headers
  return {
    status,
    type: headers['content-type'],
    allow: headers.allow,
    location: location === undefined ? undefined : `${base}${location}`,
    body: shownBody(status, body)
  }
}

function shown({ status, headers, text }: RawAnswer) {
  return {
    status,
    type: headers['content-type'],
    allow: headers.allow,
    location: headers.location,
    body: shownBody(status, text)
  }
}

const UUID4 = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/g

/** Text again, for the order of keys counts; of errors, what the seed also said. */
function shownBody(status: number, body: string): string {
  if (body === '') return ''
  const value = JSON.parse(body.replace(UUID4, '<uuid4>'))
  if (status < 400) return JSON.stringify(value)
  const { detail } = value
  if (status !== 422) return JSON.stringify({ detail })
  const issues = detail.map(({ loc, msg, type }: Record<string, unknown>) => ({ loc, msg, type }))
  return JSON.stringify({ detail: issues })
}
