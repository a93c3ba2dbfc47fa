import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import { call, spawnHost, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const KEY = 'the key of the house'
const bearer = { authorization: `Bearer ${KEY}` }

t.test('POST /set sets declared keys on every instance, past a kill', async (t) => {
  const { url } = await startHost(t, {
    plugins: ['declared-config'],
    config: { experts: { 'declared-config': { instances: 2 } } },
    env: { MIN_SCORE: '0.25', LABELS: 'a, b' }
  })
  type Seen = { pid: number; config: Record<string, unknown>; atInit: unknown; variable: string }
  const seen = () => call(`${url}/seen`, 'GET')
  const byPid = async (test: (found: Map<number, Seen>) => boolean): Promise<Seen[]> => {
    const found = new Map<number, Seen>()
    return until('answers of both instances', async () => {
      // Two calls at once, so that both instances are asked.
      for (const { status, json } of await Promise.all([seen(), seen()])) {
        // A call that was in the killed process is told so.
        if (status === 200) found.set(json.pid, json)
      }
      return test(found) ? [...found.values()] : undefined
    })
  }
  for (const { config } of await byPid((found) => found.size === 2)) {
    t.match(config, { MIN_SCORE: 0.25, LABELS: ['a', 'b'] }, 'first the environment counts')
  }

  const set = await call(`${url}/set`, 'POST', { MIN_SCORE: '0.75', LABELS: 'c', other: 1 })
  t.equal(set.status, 200)
  t.same(set.json, { set: { MIN_SCORE: 0.75, LABELS: ['c'] } })
  const now = await byPid((found) => found.size === 2)
  for (const { config, variable } of now) {
    t.match(config, { MIN_SCORE: 0.75, LABELS: ['c'] })
    t.equal(variable, '0.75', 'its environment follows')
  }
  t.match((await call(`${url}/cfg`, 'GET')).json, { cfg: { MIN_SCORE: 0.75, LABELS: ['c'] } })

  const [first] = now as [Seen, Seen]
  process.kill(first.pid, 'SIGKILL')
  const after = await byPid((found) => {
    found.delete(first.pid)
    return found.size === 2
  })
  for (const { config } of after) t.match(config, { MIN_SCORE: 0.75, LABELS: ['c'] })
  const fresh = after.find(({ pid }) => now.every((old) => old.pid !== pid)) as Seen
  t.match(fresh.atInit, { MIN_SCORE: 0.75, LABELS: ['c'] }, 'already in its init')
})

t.test('POST /set refuses what does not fit, and sets nothing then', async (t) => {
  const { url } = await startHost(t, { plugins: ['declared-config'] })
  for (const MIN_SCORE of ['much', 2, null]) {
    const answer = await call(`${url}/set`, 'POST', { LABELS: ['x'], MIN_SCORE })
    t.equal(answer.status, 422, String(MIN_SCORE))
    t.match(answer.json.detail, [{ loc: ['body', 'MIN_SCORE'], msg: String, type: String }])
    t.equal(answer.json.detail.length, 1)
    t.equal(answer.json.code, 'HOST_INVALID')
  }
  const { json } = await call(`${url}/seen`, 'GET')
  t.match(json.config, { MIN_SCORE: 0.5, LABELS: [] })
  t.same(json.config.LABELS, [])
})

t.test('POST /set with any other body is as in the seed', async (t) => {
  const { url } = await startHost(t, { plugins: ['declared-config'] })
  for (const body of [undefined, '{bad', '[]', '"MIN_SCORE"', 'null', '{}', '{"PATH":"/x"}']) {
    const answer = await call(`${url}/set`, 'POST', body)
    t.equal(answer.status, 200)
    t.equal(answer.text, '{"set":"not supported"}', String(body))
  }
})

t.test('secrets are covered in /cfg and in the answer of /set', async (t) => {
  const { url } = await startHost(t, {
    plugins: ['declared-config'],
    env: { API_KEY: 'from the environment' }
  })
  const cfg = await call(`${url}/cfg`, 'GET')
  t.same(cfg.json.cfg, {
    MIN_SCORE: 0.5,
    LABELS: [],
    API_KEY: '***',
    CALLBACK: '***',
    model: 'small'
  })
  const set = await call(`${url}/set`, 'POST', { API_KEY: 'another', CALLBACK: 'https://h/' })
  t.same(set.json, { set: { API_KEY: '***', CALLBACK: '***' } })
  const { json } = await call(`${url}/seen`, 'GET')
  t.match(json.config, { API_KEY: 'another', CALLBACK: 'https://h/' }, 'the expert has them')
})

t.test('/log-level of an expert and of the host', async (t) => {
  const { url, lines, line } = await spawnHost(t, { plugins: ['declared-config'] })
  const base = `${url}/experts/declared-config`
  const words = () => lines.map(({ msg }) => msg)

  t.equal((await call(`${base}/log-level`, 'GET')).text, '{"level":"info"}')
  t.equal((await call(`${url}/log-level`, 'GET')).text, '{"level":"info"}')
  await call(`${base}/log`, 'POST')
  await line(({ msg }) => msg === 'a word of information')
  t.notOk(words().includes('a word of debugging'))

  const wrong = await call(`${base}/log-level`, 'POST', { level: 'loud' })
  t.equal(wrong.status, 422)
  t.match(wrong.json.detail, [{ loc: ['body', 'level'], type: 'type_error.enum' }])
  t.equal((await call(`${base}/log-level`, 'GET')).text, '{"level":"info"}')

  const set = await call(`${base}/log-level`, 'POST', { level: 'debug' })
  t.equal(set.text, '{"level":"debug"}')
  t.equal((await call(`${base}/log-level`, 'GET')).text, '{"level":"debug"}')
  t.equal((await call(`${url}/log-level`, 'GET')).text, '{"level":"info"}', 'of this expert alone')

  t.equal((await call(`${url}/log-level`, 'POST', { level: 'error' })).status, 200)
  t.equal((await call(`${url}/log-level`, 'GET')).text, '{"level":"error"}')
  t.equal((await call(`${base}/log-level`, 'GET')).text, '{"level":"error"}', 'of all experts')
  const before = lines.length
  await call(`${base}/log`, 'POST')
  t.equal((await call(`${url}/log-level`, 'POST', { level: 'debug' })).status, 200)
  await call(`${base}/log`, 'POST')
  const since = await until('two more words', () => {
    const found = lines.slice(before).map(({ msg }) => String(msg))
    const said = found.filter((msg) => msg.startsWith('a word of'))
    return said.length >= 2 ? said : undefined
  })
  t.same(since, ['a word of debugging', 'a word of information'], 'and none while it was error')
})

t.test('with NEBULA_ADMIN_KEY, changes need it', async (t) => {
  const { url } = await startHost(t, {
    plugins: ['declared-config'],
    env: { NEBULA_ADMIN_KEY: KEY }
  })
  const level = async () => (await call(`${url}/log-level`, 'GET')).json.level
  const before = await level()
  const changes = [
    ['/set', { MIN_SCORE: 1 }],
    ['/experts/declared-config/set', { MIN_SCORE: 1 }],
    ['/log-level', { level: 'fatal' }],
    ['/experts/declared-config/log-level', { level: 'fatal' }]
  ] as const
  const wrong = [
    {},
    { authorization: KEY },
    { authorization: `Basic ${KEY}` },
    { authorization: 'Bearer another' },
    { authorization: `Bearer ${KEY} x` }
  ] as Array<Record<string, string>>
  for (const [path, body] of changes) {
    for (const headers of wrong) {
      const answer = await call(`${url}${path}`, 'POST', body, headers)
      t.equal(answer.status, 403, `${path} ${headers.authorization}`)
      t.match(answer.json, { code: 'HOST_FORBIDDEN', detail: /NEBULA_ADMIN_KEY/ })
      t.notMatch(answer.text, KEY)
    }
  }
  t.match((await call(`${url}/cfg`, 'GET')).json.cfg, { MIN_SCORE: 0.5 }, 'nothing has changed')
  t.equal(await level(), before)
  for (const [path, body] of changes) {
    t.equal((await call(`${url}${path}`, 'POST', body, bearer)).status, 200, path)
  }
  t.match((await call(`${url}/cfg`, 'GET')).json.cfg, { MIN_SCORE: 1 })
  const seeds = await call(`${url}/set`, 'POST', {})
  t.equal(seeds.text, '{"set":"not supported"}', 'what changes nothing needs no key')
})

const outside = Object.values(networkInterfaces())
  .flat()
  .find((address) => address?.family === 'IPv4' && !address.internal)?.address

t.test(
  'without a key, changes are taken from this machine alone',
  {
    skip: outside === undefined && 'this machine has no address but loopback'
  },
  async (t: Test) => {
    const { url } = await startHost(t, { plugins: ['declared-config'], env: { HOST: '0.0.0.0' } })
    const { port } = new URL(url)
    const set = (host: string, headers = {}) =>
      call(`http://${host}:${port}/set`, 'POST', { MIN_SCORE: 1 }, headers)
    for (const headers of [{}, bearer, { 'x-forwarded-for': '127.0.0.1' }]) {
      const answer = await set(outside as string, headers)
      t.equal(answer.status, 403)
      t.equal(answer.json.code, 'HOST_FORBIDDEN')
    }
    t.equal((await call(`http://${outside}:${port}/cfg`, 'GET')).json.cfg.MIN_SCORE, 0.5)
    t.equal((await set('127.0.0.1')).status, 200)
  }
)

t.test('errors', async (t) => {
  const { url } = await startHost(t, { plugins: ['odd-answers'] })
  const errors = [
    ['GET', '/nope', undefined, 404, 'HOST_NOT_FOUND'],
    ['GET', '/predict', undefined, 405, 'HOST_METHOD_NOT_ALLOWED'],
    ['POST', '/predict', {}, 422, 'HOST_INVALID'],
    [
      'POST',
      '/predict',
      { movie_id: '1', local: false, extra_params: { mode: 'throw' } },
      500,
      'HOST_EXPERT_FAILED'
    ],
    ['GET', '/experts/nobody/status', undefined, 404, 'HOST_EXPERT_UNKNOWN'],
    ['GET', '/jobs/nope/result', undefined, 404, 'HOST_JOB_UNKNOWN'],
    ['POST', '/log-level', {}, 422, 'HOST_INVALID']
  ] as const
  const ids = new Set<string>()
  for (const [method, path, body, status, code] of errors) {
    const title = `${method} ${path}`
    const answer = await call(`${url}${path}`, method, body)
    t.equal(answer.status, status, title)
    t.equal(answer.headers.get('content-type'), 'application/json', title)
    t.same(Object.keys(answer.json), ['detail', 'code', 'request_id'], title)
    t.equal(answer.json.code, code, title)
    t.match(answer.json.request_id, /^[\w.:-]{4,128}$/)
    ids.add(answer.json.request_id)
    const given = await call(`${url}${path}`, method, body, { 'x-request-id': 'my:id-1.2_3' })
    t.equal(given.json.request_id, 'my:id-1.2_3', `${title} repeats the caller's id`)
  }
  t.equal(ids.size, errors.length, 'ids of ours differ')
  for (const odd of ['<script>', 'a b', 'x'.repeat(129), '"']) {
    const answer = await call(`${url}/nope`, 'GET', undefined, { 'x-request-id': odd })
    t.not(answer.json.request_id, odd)
    t.match(answer.json.request_id, /^[\w.:-]{4,128}$/, 'one of ours instead')
  }
})

t.test(
  'what a caller is not told stands in the log, under the id that the caller gets',
  async (t) => {
    const { url, line } = await spawnHost(t, { plugins: ['odd-answers'] })
    const body = { movie_id: '1', local: false, extra_params: { mode: 'throw' } }
    const { status, json } = await call(`${url}/predict`, 'POST', body)
    t.equal(status, 500)
    const written = await line(({ request_id }) => request_id === json.request_id)
    t.match(written, { msg: /the secret of the house/, stack: /index\.js:\d+/, level: 'error' })
  }
)

t.test('without a key, neither a page in a browser nor a proxy may change the host', async (t) => {
  const { url } = await startHost(t, { plugins: ['my-expert'] })
  const set = (headers: Record<string, string>) =>
    call(`${url}/log-level`, 'POST', { level: 'warn' }, headers)
  t.equal((await set({})).status, 200)
  t.equal((await set({ origin: url })).status, 200, 'the host’s own page')
  const others: Array<Record<string, string>> = [
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { 'x-forwarded-for': '203.0.113.7' },
    { forwarded: 'for=203.0.113.7' },
    { via: '1.1 proxy' }
  ]
  for (const headers of others) {
    const refused = await set(headers)
    t.equal(refused.status, 403, JSON.stringify(headers))
    t.equal(refused.json.code, 'HOST_FORBIDDEN')
  }
})
