import t from 'tap'
import { pidOf, predict } from '../support/experts.ts'
import { call, plugin, spawnHost } from '../support/start-host.ts'

const odd = plugin(
  'odd',
  `async predict(params) {
    const { what } = params.extra_params ?? {}
    if (what === 'cycle') { const a = []; a.push(a); return a }
    if (what === 'deep') { let a = 1; for (let i = 0; i < 1000; i++) a = [a]; return a }
    if (what === 'huge') return 'x'.repeat(200e6)
    if (what === 'wide') return 'é'.repeat(40e6)
    if (what === 'function') return () => {}
    if (what === 'symbol') return Symbol('x')
    if (what === 'getter') return { get result() { throw new Error('cannot be read') } }
    if (what === 'bigint') return { small: 5n, large: 2n ** 80n }
    if (what === 'throw') throw new Error('a secret of the house')
    if (what === 'throw-huge') throw new Error('y'.repeat(90e6))
    if (what === 'throw-null') throw null
    if (what === 'exposed') throw new ExpertError('EXP_BAD_INPUT', 'this is for you')
    return process.pid
  }
  predictImages(list) {
    const [{ id }] = list
    if (id === 'fewer') return list.slice(1)
    if (id === 'more') return [...list, 1]
    if (id === 'none') return undefined
    return list.map((item) => item.id)
  }
  addExpertApis(api) {
    api.post('/now', {}, () => { throw undefined })
    api.post('/bytes', { job: true }, () => api.reply(new Uint8Array([1, 2, 3])))
    api.post('/status-of-99', {}, () => api.reply(1, { status: 99 }))
  }`
)

t.test('an answer that cannot be sent is an error of its caller alone', async (t) => {
  const host = await spawnHost(t, { files: { odd } })
  const { url } = host
  const pid = await pidOf(url, 'odd')
  const rows: Record<string, RegExp> = {
    cycle: /refers to itself|deeper/,
    deep: /deeper than 200/,
    huge: /200000002 bytes of JSON; at most \d+/,
    wide: /80000002 bytes of JSON; at most \d+/,
    function: /is a function/,
    symbol: /is a symbol/,
    getter: /cannot be read/,
    throw: /a secret of the house/,
    'throw-huge': /yyyy/,
    'throw-null': /rejected with nothing|null/
  }
  for (const [what, words] of Object.entries(rows)) {
    const answer = await predict(url, 'odd', 'Movies/1', { what })
    t.equal(answer.status, 500, what)
    t.match(answer.json, { detail: 'Internal Server Error', code: 'HOST_EXPERT_FAILED' }, what)
    const line = await host.line(
      (found) => found.level === 'error' && found.expert === 'odd' && words.test(String(found.msg))
    )
    t.type(line.job_id, 'string', `${what}: the reason is in the log`)
    t.ok(String(line.msg).length < 20_000)
    const again = host.lines.filter((found) => found.job_id === line.job_id)
    t.equal(again.length, 1, 'once')
    t.equal((await predict(url, 'odd', 'Movies/1')).json, pid, `${what}: its process lives`)
  }
  const { text } = await predict(url, 'odd', 'Movies/1', { what: 'bigint' })
  t.equal(text, '{"small":5,"large":"1208925819614629174706176"}')
  const exposed = await predict(url, 'odd', 'Movies/1', { what: 'exposed' })
  t.match(exposed, { status: 422, json: { detail: 'this is for you', code: 'EXP_BAD_INPUT' } })

  for (const route of ['now', 'status-of-99']) {
    const answer = await call(`${url}/experts/odd/${route}`, 'POST', {})
    t.match(answer, { status: 500, json: { code: 'HOST_EXPERT_FAILED' } }, route)
  }
  t.equal(await pidOf(url, 'odd'), pid)
})

t.test('predictImages that answers the wrong number', async (t) => {
  const host = await spawnHost(t, { files: { odd } })
  const send = (first: string) =>
    call(`${host.url}/experts/odd/predict/images`, 'POST', {
      images: [first, 'second'].map((id) => ({ image_id: id, url: 'http://nowhere.invalid/' }))
    })
  const pid = await pidOf(host.url, 'odd')
  for (const [first, words] of [
    ['fewer', /array of 2, found 1 answers/],
    ['more', /array of 2, found 3 answers/],
    ['none', /array of 2, found undefined/]
  ] as const) {
    const answer = await send(first)
    t.match(answer, { status: 500, json: { code: 'HOST_EXPERT_FAILED', jobId: String } }, first)
    await host.line((line) => line.expert === 'odd' && words.test(String(line.msg)))
    const { json } = await call(`${host.url}/experts/odd/jobs/${answer.json.jobId}`, 'GET')
    t.match(
      json[answer.json.jobId],
      { state: 'finish', status: 'failed', code: 'HOST_EXPERT_FAILED' },
      first
    )
  }
  t.match(await send('first'), { status: 200, json: { results: ['first', 'second'] } })
  t.equal(await pidOf(host.url, 'odd'), pid)
})

t.test('a failure that nobody waits for stands in the log', async (t) => {
  const host = await spawnHost(t, { files: { odd } })
  const body = { images: [{ image_id: 'none', url: 'http://nowhere.invalid/' }], is_async: true }
  const { json } = await call(`${host.url}/experts/odd/predict/images`, 'POST', body)
  t.match(await host.line((line) => line.job_id === json.jobId), {
    level: 'error',
    expert: 'odd',
    code: 'HOST_EXPERT_FAILED',
    msg: /found undefined/
  })
})

t.test('the record of a job that answers bytes can be shown', async (t) => {
  const { url } = await spawnHost(t, { files: { odd } })
  const sent = await call(`${url}/experts/odd/bytes`, 'POST', {})
  t.equal(sent.headers.get('content-type'), 'application/octet-stream')
  t.equal(sent.text, '\u0001\u0002\u0003')
  const late = await call(`${url}/experts/odd/bytes`, 'POST', {}, { prefer: 'respond-async' })
  t.equal(late.status, 202)
  const jobs = await call(`${url}/jobs`, 'GET')
  t.equal(jobs.status, 200, jobs.text)
  t.equal(jobs.json.jobs.length, 2)
})
