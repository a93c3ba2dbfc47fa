import t, { type Test } from 'tap'
import { ended } from '../support/jobs.ts'
import { makeLatches } from '../support/latches.ts'
import { notedRuns } from '../support/noted-runs.js'
import { call, plugin, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'
import { startReceiver } from '../support/webhook-receiver.js'

const SECRET = 'a shared secret'

interface Got {
  id: string
  at: number
  headers: Record<string, string>
  payload: { id: string; event: string; job: Record<string, any>; [key: string]: unknown }
}
type Receiver = Omit<Awaited<ReturnType<typeof startReceiver>>, 'got'> & { got: Got[] }

type Answer = NonNullable<Parameters<typeof startReceiver>[0]>['answer']

async function prepare(t: Test, env: Record<string, string> = {}, answer?: Answer) {
  const latches = await makeLatches(t)
  const told = (await startReceiver({
    secret: SECRET,
    ...(answer && { answer })
  })) as Receiver
  t.teardown(() => told.close())
  const { url, home } = await startHost(t, {
    files: {
      noted: notedRuns('noted'),
      steps: plugin(
        'steps',
        `async predict (params, context) {
           for (const part of [0.25, 0.5, 1]) context.progress(part, 'at ' + part)
           return { result: params.movie_id, error: null }
         }
         addExpertApis (api) {
           const body = { type: 'object', properties: { text: { type: 'string' } } }
           api.post('/say', { body, job: true }, ({ body }) => ({ said: body.text }))
           api.post('/own', { body: { type: 'object', properties: { webhook: { type: 'string' } } }, job: true },
             ({ body }) => ({ theirs: body.webhook }))
         }`
      )
    },
    config: { experts: { noted: { env: { LATCH_DIR: latches.dir }, concurrency: 4 } } },
    env: {
      EXPERT_ALLOW_HOSTS: '127.0.0.1',
      NEBULA_WEBHOOK_SECRET: SECRET,
      NEBULA_WEBHOOK_RETRIES: '0.02,0.02',
      ...env
    }
  })
  const eventsOf = (jobId: string) => told.got.filter(({ payload }) => payload.job.jobId === jobId)
  const hears = (jobId: string, event: string) =>
    until(`${event} of ${jobId}`, () =>
      eventsOf(jobId).find(({ payload }) => payload.event === event)
    )
  const movie = (more: object, headers: Record<string, string> = {}) =>
    call(
      `${url}/experts/steps/predict`,
      'POST',
      { movie_id: 'Movies/1', local: false, ...more },
      headers
    )
  return { url, home, latches, told, eventsOf, hears, movie }
}

t.test('a job tells its webhook how it goes, signed and in order', async (t) => {
  const { url, told, latches, hears, eventsOf } = await prepare(t)
  const body = { image_id: '1', url: 'hold 1', is_async: true, webhook: told.url }
  const { json } = await call(`${url}/experts/noted/predict/image`, 'POST', body)
  const { payload: start } = await hears(json.jobId, 'start')
  t.match(start.job, { state: 'running', status: 'running', params: { id: '1' }, attempts: 1 })
  await latches.release('1')
  const { payload: end, id, headers } = await hears(json.jobId, 'completed')
  const record = await ended(url, json.jobId)
  t.strictSame(end.job, { jobId: json.jobId, ...record }, 'the record as GET /jobs/{id} shows it')
  t.equal(end.id, id)
  t.match(headers, { 'content-type': 'application/json' })
  t.strictSame(
    eventsOf(json.jobId).map(({ payload }) => payload.event),
    ['start', 'completed']
  )
  t.strictSame(told.wrong, [], 'each signature fits')
})

t.test('every way to ask for a job takes a webhook', async (t) => {
  const { url, told, hears, eventsOf, movie } = await prepare(t)
  const only = { webhook: told.url, webhook_events_filter: ['completed'] }
  const ids: string[] = []
  ids.push((await movie({ ...only, is_async: true })).json.jobId)
  ids.push((await movie(only, { prefer: 'respond-async' })).json.jobId)
  const images = { images: [{ image_id: '1', url: 'u' }], is_async: true, ...only }
  ids.push((await call(`${url}/experts/noted/predict/images`, 'POST', images)).json.jobId)
  const say = `${url}/experts/steps/say`
  ids.push((await call(say, 'POST', { text: 'a', is_async: true, ...only })).json.jobId)
  const query = new URLSearchParams({ is_async: 'true', webhook: told.url })
  for (const event of ['start', 'completed']) query.append('webhook_events_filter', event)
  const asked = await call(`${say}?${query}`, 'POST', { text: 'b' })
  const queried = asked.json.jobId
  for (const id of ids) {
    await hears(id, 'completed')
    t.equal(eventsOf(id).length, 1)
  }
  await hears(queried, 'completed')
  t.strictSame(
    eventsOf(queried).map(({ payload }) => payload.event),
    ['start', 'completed']
  )
  t.match(eventsOf(ids[2] as string)[0]?.payload.job, { results: [{ result: '1' }] })
})

t.test('a caller who waits gets the answer, and its webhook is told too', async (t) => {
  const { told, movie, hears, url } = await prepare(t)
  const answer = await movie({ webhook: told.url, webhook_events_filter: ['completed'] })
  t.strictSame([answer.status, answer.json], [200, { result: 'Movies/1', error: null }])
  const { payload } = await until('the event', () => told.got[0])
  t.match(payload, { event: 'completed', job: { status: 'succeeded', result: 'Movies/1' } })
  await hears(payload.job.jobId, 'completed')
  t.equal((await ended(url, payload.job.jobId)).status, 'succeeded', 'it was a job on disk')
})

t.test('a failure and a cancel are ends too; a retry tells the same webhook', async (t) => {
  const { url, told, latches, hears } = await prepare(t)
  const noted = `${url}/experts/noted`
  const image = (how: string, more = {}) =>
    call(`${noted}/predict/image`, 'POST', {
      ...{ image_id: how, url: how, is_async: true, webhook: told.url },
      ...more
    })
  const held = (await image('hold 1')).json.jobId
  await latches.started('hold 1')
  await call(`${url}/jobs/${held}/cancel`, 'POST')
  t.match((await hears(held, 'completed')).payload.job, { status: 'canceled', state: 'finish' })
  const lost = (await image('exit 9', { attempts: 1 })).json.jobId
  t.match((await hears(lost, 'completed')).payload.job, {
    status: 'failed',
    code: 'HOST_EXPERT_EXITED'
  })
  await latches.release('hold 1')
  const again = (await call(`${url}/jobs/${held}/retry`, 'POST')).json.jobId
  t.match((await hears(again, 'completed')).payload.job, { status: 'succeeded', retry_of: held })
})

t.test('a route that has a webhook field of its own keeps it', async (t) => {
  const { url, told } = await prepare(t)
  const { json } = await call(`${url}/experts/steps/own`, 'POST', { webhook: told.url })
  t.strictSame(json, { theirs: told.url })
  t.equal(told.got.length, 0)
})

t.test('a webhook that the host may not go to is refused before the job is made', async (t) => {
  const { url, movie } = await prepare(t, { EXPERT_ALLOW_HOSTS: '' })
  const refused = [
    'nonsense',
    'ftp://example.com/',
    'http://127.0.0.1:8000/',
    'http://user:pw@93.184.216.34/'
  ]
  for (const webhook of refused) {
    for (const more of [{ is_async: true }, {}]) {
      const { status, json } = await movie({ webhook, ...more })
      t.equal(status, 422, webhook)
      t.match(json, {
        code: 'HOST_INVALID',
        detail: [{ loc: ['body', 'webhook'], type: 'value_error.webhook', msg: /wanted/ }]
      })
    }
  }
  for (const [more, loc] of [
    [{ webhook: '' }, ['body', 'webhook']],
    [{ webhook: `http://a/${'a'.repeat(2000)}` }, ['body', 'webhook']],
    [{ webhook: 7 }, null],
    [{ webhook_events_filter: ['end'] }, ['body', 'webhook_events_filter', 0]],
    [{ webhook_events_filter: [] }, ['body', 'webhook_events_filter']],
    [{ webhook_events_filter: 'start' }, ['body', 'webhook_events_filter']]
  ] as const) {
    const { status, json } = await movie({ is_async: true, ...more })
    t.equal(status, 422, JSON.stringify(more).slice(0, 60))
    if (loc !== null) t.match(json.detail[0].loc.slice(0, loc.length), loc)
  }
  const asked = await call(
    `${url}/experts/steps/say?webhook=http://127.0.0.1/&is_async=true`,
    'POST',
    { text: 'a' }
  )
  t.equal(asked.status, 422)
  t.strictSame(asked.json.detail[0].loc, ['query', 'webhook'])
  t.strictSame((await call(`${url}/jobs`, 'GET')).json.jobs, [], 'no job was made')
})

t.test('what is given up is listed in pages, and is tried again when asked', async (t) => {
  let isDown = true
  const answer: Answer = (_got, response) => response.writeHead(isDown ? 500 : 204).end()
  const { url, told, movie, hears } = await prepare(t, {}, answer)
  const only = { is_async: true, webhook: told.url, webhook_events_filter: ['completed'] }
  for (let n = 0; n < 3; n++) await movie(only)
  const list = async (query: string) => (await call(`${url}/webhooks${query}`, 'GET')).json
  const { webhooks } = await until('three given up', async () => {
    const page = await list('?state=failed')
    return page.webhooks.length === 3 ? page : undefined
  })
  t.match(webhooks[0], {
    id: /^msg_/,
    job_id: String,
    expert: 'steps',
    event: 'completed',
    url: told.url,
    state: 'failed',
    next_at: null,
    attempts: 3,
    error: 'it answered 500, wanted 2xx'
  })
  const first = await list('?limit=2')
  t.equal(first.webhooks.length, 2)
  t.equal(first.next, webhooks[1].id)
  const second = await list(`?limit=2&cursor=${first.next}`)
  t.strictSame([second.webhooks, second.next], [[webhooks[2]], null])
  t.strictSame(await list('?state=waiting'), { webhooks: [], next: null })
  isDown = false
  const retried = await call(`${url}/webhooks/${webhooks[0].id}/retry`, 'POST')
  t.match([retried.status, retried.json], [200, { id: webhooks[0].id, state: 'waiting' }])
  await hears(webhooks[0].job_id, 'completed')
  await until('one less', async () => {
    return (await list('')).webhooks.length === 2 || undefined
  })
  t.match(await call(`${url}/webhooks/msg_none/retry`, 'POST'), {
    status: 404,
    json: { code: 'HOST_WEBHOOK_UNKNOWN' }
  })
  t.equal((await call(`${url}/webhooks?state=lost`, 'GET')).status, 422)
  const proxied = { 'x-forwarded-for': '93.184.216.34' }
  for (const [method, path] of [
    ['GET', '/webhooks'],
    ['POST', `/webhooks/${webhooks[1].id}/retry`]
  ] as const) {
    t.equal((await call(`${url}${path}`, method, undefined, proxied)).status, 403, path)
  }
})

t.test('a receiver that hangs keeps no slot, no job and no stop of the host', async (t) => {
  const hangs = await startReceiver({ answer: () => {} })
  t.teardown(() => hangs.close())
  const { url, movie } = await prepare(t)
  const more = { is_async: true, webhook: hangs.url }
  const ids: string[] = []
  for (let n = 0; n < 50; n++) ids.push((await movie(more)).json.jobId)
  for (const id of ids) t.equal((await ended(url, id)).status, 'succeeded')
  await until('tries', () => hangs.got.length >= 8 || undefined)
  t.equal(hangs.mostFlying, 8)
  t.equal((await movie({})).status, 200)
})

t.test('jobs in memory have webhooks too', async (t) => {
  const { told, movie, hears, eventsOf } = await prepare(t, { NEBULA_STORE: 'memory' })
  const { json } = await movie({ is_async: true, webhook: told.url })
  await hears(json.jobId, 'completed')
  const events = eventsOf(json.jobId).map(({ payload }) => payload.event)
  t.equal(events[0], 'start')
  t.equal(events.at(-1), 'completed')
})

t.test('a setting that cannot be used is said at the start', async (t) => {
  for (const env of [
    { NEBULA_WEBHOOK_SECRET: 'whsec_not base64' },
    { NEBULA_WEBHOOK_RETRIES: '5,soon' },
    { NEBULA_WEBHOOK_RETRIES: '90000' }
  ] as Array<Record<string, string>>) {
    const [name = '', value = ''] = Object.entries(env)[0] ?? []
    await t.rejects(
      startHost(t, { env }),
      { name: 'ConfigError', message: new RegExp(name) },
      value
    )
  }
})
