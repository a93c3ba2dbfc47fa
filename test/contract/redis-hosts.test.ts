import { skipWithout } from '@nebula-experts/sdk/testing'
import t, { type Test } from 'tap'
import { startRedis, type TestRedis } from '../../host/test/start-redis.ts'
import { followJob } from '../support/event-stream.ts'
import { accept, becomes, ended, recordOf } from '../support/jobs.ts'
import { makeNotedHome, type NotedOptions } from '../support/noted-host.ts'
import { call, plugin, spawnHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const skip = skipWithout('redis-server')

/** Two hosts, each with a home of its own, on one Redis. */
async function startTwo(t: Test, redis: TestRedis, left: NotedOptions, right: NotedOptions) {
  const env = { REDIS_URL: redis.url }
  const homes = [await makeNotedHome(t, left), await makeNotedHome(t, right)] as const
  const hosts = await Promise.all(homes.map(({ home }) => spawnHost(t, { home, env })))
  const [a, b] = hosts as [(typeof hosts)[0], (typeof hosts)[0]]
  return { a, b, ofA: homes[0], ofB: homes[1], env }
}

t.test(
  'an expert that one host alone has is run there, and told of everywhere',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const { a, b, ofA } = await startTwo(t, redis, { experts: ['noted'] }, { experts: ['other'] })

    const held = await accept(`${a.url}/experts/noted`, 'held', { url: 'hold 1' })
    await ofA.latches.started('held')
    t.match(await becomes(b.url, held, 'running'), {
      status: 'running',
      expert: 'noted',
      attempts: 1
    })
    const ofOther = await accept(`${b.url}/experts/other`, 'quick', { url: '-' })
    await ended(a.url, ofOther)
    const listed = async (url: string) =>
      (await call(`${url}/jobs`, 'GET')).json.jobs.map((job: { jobId: string }) => job.jobId).sort()
    t.strictSame(await listed(a.url), [held, ofOther].sort())
    t.strictSame(await listed(b.url), await listed(a.url), 'any host lists all')

    const stream = await followJob(t, b.url, held)
    await stream.next(
      'it runs',
      ({ event, data }) => event === 'status' && data.status === 'running'
    )
    await ofA.latches.release('held')
    const events = await stream.ended
    t.match(events.at(-1), { event: 'result', data: { result: 'held', status: 'succeeded' } })
    t.match(await recordOf(b.url, held), { result: 'held', status: 'succeeded' })
    t.match(await call(`${b.url}/jobs/${held}/result`, 'GET'), {
      status: 200,
      json: { result: 'held' }
    })

    const waited = call(
      `${a.url}/experts/noted/predict/image`,
      'POST',
      { image_id: 'waited', url: '-' },
      { prefer: 'wait=10' }
    )
    t.match(await waited, { status: 200, json: { result: 'waited' } })
  }
)

t.test('a job is canceled from any host', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { a, b, ofA } = await startTwo(t, redis, { experts: ['noted'] }, { experts: ['other'] })
  const running = await accept(`${a.url}/experts/noted`, 'running', { url: 'hold 1' })
  const waiting = await accept(`${a.url}/experts/noted`, 'waiting', { url: 'hold 1' })
  await ofA.latches.started('running')
  const cancel = (id: string) => call(`${b.url}/jobs/${id}/cancel`, 'POST')
  t.match((await cancel(waiting)).json[waiting], { status: 'canceled' })
  t.match((await cancel(running)).json[running], { status: 'canceled' })
  // Its place is free at once: its run was told, and did not have to be killed by hand.
  const next = await accept(`${a.url}/experts/noted`, 'next', { url: '-' })
  t.match(await ended(b.url, next), { status: 'succeeded' })
  t.equal((await cancel(running)).status, 409)
  t.strictSame((await ofA.starts('waiting')).length, 0)
  t.match(await recordOf(a.url, running), { status: 'canceled' })
})

t.test('a request sent again to another host finds its job', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { a, b } = await startTwo(t, redis, {}, {})
  const send = (url: string, image: string) =>
    call(
      `${url}/experts/noted/predict/image`,
      'POST',
      { image_id: image, url: '-', is_async: true },
      { 'idempotency-key': 'one' }
    )
  const answers = await Promise.all([a, b, a, b].map(({ url }) => send(url, 'same')))
  t.strictSame(new Set(answers.map(({ json }) => json.jobId)).size, 1)
  t.match(await send(b.url, 'another'), { status: 422, json: { code: 'HOST_KEY_REUSED' } })
})

t.test(
  'progress and log lines are told at every host, and again to who comes back',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const env = { REDIS_URL: redis.url }
    const source = `
  async predictImage({ id }, context) {
    for (let step = 1; step <= 5; step++) {
      context.progress(step / 10, 'step ' + step)
      context.log.info('line ' + step)
    }
    await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
    return { result: id, error: null }
  }`
    const a = await spawnHost(t, { files: { talks: plugin('talks', source) }, env })
    const b = await spawnHost(t, { plugins: [], env })
    const id = await accept(`${a.url}/experts/talks`, 'i', { url: 'u' })
    await becomes(b.url, id, 'running')
    const stream = await followJob(t, b.url, id)
    const last = await stream.next('the last line', (one) => JSON.stringify(one).includes('line 5'))
    const first = stream.events.find(({ event }) => event === 'progress')
    t.ok(first?.id)
    const again = await followJob(t, b.url, id, first?.id)
    await again.next('the last line', (one) => JSON.stringify(one).includes('line 5'))
    const told = again.events.filter(({ event }) => event === 'progress' || event === 'log')
    t.equal(told.length, 9, 'all that came after the first')
    t.strictSame(new Set(told.map((event) => event.id)).size, 9, 'each once')
    t.equal(told.at(-1)?.id, last.id)
    await call(`${b.url}/jobs/${id}/cancel`, 'POST')
    t.match((await again.ended).at(-1), { event: 'result', data: { status: 'canceled' } })
  }
)

t.test('the work of a host that dies is taken over, also what waits', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { a, b, ofA, ofB } = await startTwo(t, redis, {}, {})
  const id = await until('a job that runs at the first', async () => {
    const tried = await accept(`${a.url}/experts/noted`, `try-${Date.now()}`, { url: 'ms 60000' })
    await until('its run', async () => {
      const all = [...(await ofA.notes()), ...(await ofB.notes())]
      return all.find((note) => note.jobId === tried)
    })
    if ((await ofA.notes()).some((note) => note.jobId === tried)) return tried
    await call(`${b.url}/jobs/${tried}/cancel`, 'POST')
    return undefined
  })
  a.child.kill('SIGKILL')
  await a.exited
  // By now it has a lease of 30 s, that nobody renews.
  const client = redis.client()
  await client.zadd('nebula:0:held', 1, id)
  await until('it runs at the second', async () =>
    (await ofB.notes()).find((note) => note.jobId === id)
  )
  t.match(await recordOf(b.url, id), { status: 'running', attempts: 2 })
})

t.test(
  'files stay with their host: it runs what was uploaded, and gives what was answered',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const { a, b, ofA } = await startTwo(t, redis, {}, {})
    const weigh = async (url: string, id: string) => {
      const form = new FormData()
      for (const [name, value] of Object.entries({ id, how: '-', is_async: 'true' })) {
        form.append(name, value)
      }
      form.append('file', new Blob(['0123456789']), 'f')
      const answer = await fetch(`${url}/experts/noted/weigh`, { method: 'POST', body: form })
      return ((await answer.json()) as { jobId: string }).jobId
    }
    const ids = ['u1', 'u2', 'u3', 'u4', 'u5', 'u6']
    for (const id of ids) {
      const ofUpload = await ended(b.url, await weigh(a.url, id))
      t.match(ofUpload, { status: 'succeeded', result: /^84d89877f0d4041efb6bf91a16f0248f/ })
      t.equal((await ofA.starts(id)).length, 1, 'where the file is')
    }

    const file = await call(`${a.url}/experts/noted/file`, 'POST', { id: 'f', is_async: true })
    await ended(a.url, file.json.jobId)
    const results = await Promise.all(
      [a, b].map(({ url }) => call(`${url}/jobs/${file.json.jobId}/result`, 'GET'))
    )
    t.strictSame(results.map(({ status }) => status).sort(), [200, 409])
    const [given, refused] = results.sort((one, other) => one.status - other.status)
    t.equal(given?.text, 'the file of f')
    t.match(refused?.json, { code: 'HOST_RESULT_ELSEWHERE' })
  }
)
