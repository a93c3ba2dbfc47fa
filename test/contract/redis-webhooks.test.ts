import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { accept, ended } from '../support/jobs.ts'
import { startTwo } from '../support/redis-hosts.ts'
import { call } from '../support/start-host.ts'
import { until } from '../support/until.ts'
import { startReceiver } from '../support/webhook-receiver.js'

const skip = skipWithout('redis-server')
const ENV = { EXPERT_ALLOW_HOSTS: '127.0.0.1', NEBULA_WEBHOOK_SECRET: 'a shared secret' }

t.test(
  'of hosts that share a Redis one tells each event, once and in order',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const told = await startReceiver({ secret: ENV.NEBULA_WEBHOOK_SECRET })
    t.teardown(() => told.close())
    const { a, b } = await startTwo(t, redis, {}, {}, ENV)
    const ids: string[] = []
    for (let n = 0; n < 20; n++) {
      const { url } = n % 2 === 0 ? a : b
      const more = { url: '-', webhook: told.url }
      ids.push(await accept(`${url}/experts/noted`, `${n}`, more))
    }
    for (const id of ids) await ended(b.url, id)
    const list = async (url: string) =>
      (await call(`${url}/webhooks?state=waiting`, 'GET')).json.webhooks as unknown[]
    await until('nothing waits', async () => (await list(a.url)).length === 0 || undefined)
    t.strictSame(await list(b.url), [])
    const got = told.got as Array<{ payload: { event: string; job: Record<string, unknown> } }>
    for (const [n, id] of ids.entries()) {
      const events = got.filter(({ payload }) => payload.job['jobId'] === id)
      const names = events.map(({ payload }) => payload.event)
      t.strictSame(names, ['start', 'completed'])
      t.match(events[1]?.payload.job, { status: 'succeeded', result: `${n}` })
    }
    t.strictSame(told.wrong, [], 'each is signed')
  }
)

t.test('what one host gave up is listed and tried again by another', { skip }, async (t) => {
  const redis = await startRedis(t)
  let isOpen = false
  const told = await startReceiver({
    secret: ENV.NEBULA_WEBHOOK_SECRET,
    answer: (_got: unknown, response: { writeHead: (n: number) => { end: () => void } }) =>
      response.writeHead(isOpen ? 204 : 410).end()
  })
  t.teardown(() => told.close())
  const { a, b } = await startTwo(t, redis, {}, {}, ENV)
  const more = { url: '-', webhook: told.url, webhook_events_filter: ['completed'] }
  const id = await accept(`${a.url}/experts/noted`, 'x', more)
  const failed = async (url: string) =>
    (await call(`${url}/webhooks`, 'GET')).json.webhooks as Array<{ id: string; job_id: string }>
  const [given] = await until('it is given up', async () => {
    const found = await failed(b.url)
    return found.length > 0 ? found : undefined
  })
  t.match(given, { job_id: id, event: 'completed', state: 'failed', attempts: 1, error: /410/ })
  t.strictSame(await failed(a.url), [given])
  isOpen = true
  t.match(await call(`${a.url}/webhooks/${given?.id}/retry`, 'POST'), {
    status: 200,
    json: { state: 'waiting', attempts: 0 }
  })
  await until('it came', () => told.got.length > 1 || undefined)
  await until('nothing failed', async () => (await failed(b.url)).length === 0 || undefined)
  t.match(await call(`${b.url}/webhooks/${given?.id}/retry`, 'POST'), {
    status: 404,
    json: { code: 'HOST_WEBHOOK_UNKNOWN' }
  })
})
