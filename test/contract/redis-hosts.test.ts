import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { followJob } from '../support/event-stream.ts'
import { accept, becomes, ended, recordOf } from '../support/jobs.ts'
import { startTwo } from '../support/redis-hosts.ts'
import { call } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const skip = skipWithout('redis-server')

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
  // Its place is free at once: its host was told, long before it would next renew the lease.
  const next = await accept(`${a.url}/experts/noted`, 'next', { url: '-' })
  const hasEnded = async () => {
    const record = await recordOf(b.url, next)
    return record?.status === 'succeeded' ? record : undefined
  }
  t.match(await until('the next one has ended', hasEnded, 5000), { result: 'next' })
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
