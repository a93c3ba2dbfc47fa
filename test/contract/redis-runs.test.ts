import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { followJob } from '../support/event-stream.ts'
import { accept, becomes, ended, recordOf } from '../support/jobs.ts'
import { startTwo } from '../support/redis-hosts.ts'
import { call, plugin, spawnHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const skip = skipWithout('redis-server')

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

t.test('a host that starts again goes on with what it was running', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { a, ofA, env } = await startTwo(t, redis, {}, { experts: ['other'] })
  const id = await accept(`${a.url}/experts/noted`, 'held', { url: 'hold 1' })
  await ofA.latches.started('held')
  a.child.kill('SIGKILL')
  await a.exited
  const again = await spawnHost(t, { home: ofA.home, env })
  t.match(await ended(again.url, id), { status: 'succeeded', result: 'held', attempts: 2 })
  t.equal((await ofA.starts('held')).length, 2)
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
    const results = () =>
      Promise.all([a, b].map(({ url }) => call(`${url}/jobs/${file.json.jobId}/result`, 'GET')))
    // Here both hosts have one disk.
    for (const { status, text } of await results())
      t.equal(`${status} ${text}`, '200 the file of f')
    for (const { home } of [a, b]) {
      await rm(join(home, 'data/jobs/results'), { recursive: true, force: true })
    }
    for (const answer of await results()) {
      t.match(answer, { status: 409, json: { code: 'HOST_RESULT_ELSEWHERE' } })
    }
  }
)
