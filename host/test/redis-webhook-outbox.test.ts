import { skipWithout } from '@nebula-experts/sdk/testing'
import t, { type Test } from 'tap'
import { openRedisJobs } from '../dist/jobs/redis/redis-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import type { WebhookEvent } from '../jobs/job.ts'
import type { WebhookDelivery, WebhookOutbox } from '../jobs/webhook-outbox.ts'
import { endWith, newJob } from './job-records-contract.ts'
import { startRedis } from './start-redis.ts'
import { webhookOutboxContract } from './webhook-outbox-contract.ts'

const skip = skipWithout('redis-server')
const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }
if (skip) t.test('on a Redis', { skip }, async () => {})
else {
  const { url, client } = await startRedis(t)
  let stores = 0
  const open = (dir: string, prefix: string) =>
    openRedisJobs({ url, dir, retention, absentMs: 60_000, log: createSilentLog(), prefix })
  const next = () => `outbox-${stores++}:`

  webhookOutboxContract('redis', () => open(t.testdirName, next()))

  /** Two hosts on one store. */
  const openTwo = async (t: Test) => {
    const prefix = next()
    const dirs = t.testdir({ a: {}, b: {} })
    const a = await open(`${dirs}/a`, prefix)
    const b = await open(`${dirs}/b`, prefix)
    t.teardown(() => Promise.all([a.close(), b.close()]))
    const finish = async (id: string, events: WebhookEvent[] = ['start', 'completed']) => {
      const webhook = { url: 'https://a.example/', origin: 'a.example', events }
      await a.records.create(newJob(id, Date.now(), { webhook }))
      await a.records.patch(id, { status: 'running', startedAt: 5, attempts: 1 })
      await a.records.patch(id, { status: 'succeeded', finishedAt: 6, end: endWith('1') })
    }
    return { a, b, prefix, finish }
  }
  const claim = (outbox: WebhookOutbox, more: { now?: number; limit?: number } = {}) =>
    outbox.claim({
      now: Date.now() + 1000,
      limit: 100,
      busyJobs: [],
      busyOrigins: [],
      roomOf: () => 100,
      ...more
    })
  const shown = (all: WebhookDelivery[]) => all.map(({ jobId, event }) => `${jobId} ${event}`)
  const only = (all: WebhookDelivery[]) => {
    if (all.length !== 1) throw new Error(`wanted one, got ${all.length}`)
    return all[0] as WebhookDelivery
  }

  t.test('of two hosts that look at once each notice goes to one', async (t) => {
    const { a, b, finish } = await openTwo(t)
    for (let n = 0; n < 10; n++) await finish(`job${n}`)
    const [left, right] = await Promise.all([claim(a.outbox), claim(b.outbox)])
    const ids = [...left, ...right].map(({ id }) => id)
    t.equal(ids.length, 10)
    t.equal(new Set(ids).size, 10)
  })

  t.test('what one host tries is not passed by what comes next of its job', async (t) => {
    const { a, b, finish } = await openTwo(t)
    await finish('job')
    const start = only(await claim(a.outbox))
    t.strictSame(await claim(b.outbox), [])
    await a.outbox.delivered(start)
    t.strictSame(shown(await claim(b.outbox)), ['job completed'])
    t.strictSame(await claim(a.outbox), [])
  })

  t.test('the claims of a host that dies are for the others when their lease ends', async (t) => {
    const { a, b, finish } = await openTwo(t)
    await finish('job')
    const start = only(await claim(a.outbox))
    const lease = 30_000
    t.strictSame(await claim(b.outbox, { now: Date.now() + lease - 2000 }), [])
    const again = only(await claim(b.outbox, { now: Date.now() + lease + 2000 }))
    t.equal(again.id, start.id)
    await a.outbox.tryLater(start, Date.now(), 'of one that was only slow')
    await a.outbox.giveUp(start, Date.now(), 'of one that was only slow')
    t.strictSame(await claim(a.outbox), [], 'the other one tries it by now')
    await b.outbox.delivered(again)
    await a.outbox.tryLater(start, Date.now(), 'of one that was only slow')
    await a.outbox.giveUp(start, Date.now(), 'of one that was only slow')
    t.strictSame(await a.outbox.list({ state: 'failed', limit: 9 }), [])
    t.strictSame(shown(await claim(b.outbox)), ['job completed'])
  })

  t.test('a host that stops gives back what it holds at once', async (t) => {
    const { a, b, finish } = await openTwo(t)
    await finish('job')
    const { id } = only(await claim(a.outbox))
    await a.close()
    t.equal(only(await claim(b.outbox)).id, id)
  })

  t.test('a progress that takes the place of one on its way is not sent beside it', async (t) => {
    const { a, b, prefix } = await openTwo(t)
    const webhook = {
      url: 'https://a.example/',
      origin: 'a.example',
      events: ['progress'] as const
    }
    await b.records.create(newJob('job', Date.now(), { webhook }))
    await b.records.patch('job', { status: 'running', startedAt: 5, attempts: 1 })
    await b.records.patch('job', { progress: { fraction: 0.1, note: null } })
    const first = only(await claim(a.outbox))
    await b.records.patch('job', { progress: { fraction: 0.2, note: null } })
    t.strictSame(await claim(b.outbox), [], 'the first is still on its way')
    await a.outbox.delivered(first)
    t.match(await claim(a.outbox), [{ job: { progress: { fraction: 0.2 } } }])
    const redis = client()
    t.equal(await redis.exists(`${prefix}hook:${first.id}`), 0)
  })

  t.test('one that is tried again goes before what waits of its job', async (t) => {
    const { a, b, finish } = await openTwo(t)
    await finish('job')
    const start = only(await claim(a.outbox))
    await a.outbox.giveUp(start, Date.now(), 'why')
    t.equal(await b.outbox.retry(start.id, Date.now()), true)
    t.strictSame(shown(await claim(b.outbox)), ['job start'])
    t.strictSame(await claim(a.outbox), [], 'its end waits for it')
    await b.outbox.giveUp(start, Date.now(), 'why')
    const end = only(await claim(a.outbox))
    t.equal(await b.outbox.retry(start.id, Date.now()), true)
    t.strictSame(await claim(b.outbox), [], 'the end is on its way, and is let through')
    await a.outbox.delivered(end)
    t.strictSame(shown(await claim(b.outbox)), ['job start'])
    await b.outbox.delivered(start)
    t.strictSame(await b.outbox.waiting(), { count: 0, bytes: 0 })
  })

  t.test('a host whose clock is set does not take what another one tries', async (t) => {
    const { a, b, finish } = await openTwo(t)
    await finish('job')
    const start = only(await claim(a.outbox, { now: Date.now() }))
    const now = Date.now.bind(Date)
    t.teardown(() => {
      Date.now = now
    })
    Date.now = () => now() + 60_000
    t.strictSame(await claim(b.outbox, { now: Date.now() }), [])
    Date.now = now
    await a.outbox.delivered(start)
    t.strictSame(shown(await claim(b.outbox, { now: Date.now() + 1 })), ['job completed'])
  })

  t.test('of what was given up ten thousand are kept', async (t) => {
    const { a, prefix, finish } = await openTwo(t)
    await finish('job', ['completed'])
    await a.outbox.giveUp(only(await claim(a.outbox)), Date.now(), 'why')
    const redis = client()
    const [id] = await redis.zrange(`${prefix}hooks:failed`, 0, -1)
    const copies = redis.pipeline()
    for (let n = 1; n < 12_500; n++) {
      copies.copy(`${prefix}hook:${id}`, `${prefix}hook:copy${n}`)
      copies.zadd(`${prefix}hooks:failed`, n, `copy${n}`)
      copies.zadd(`${prefix}hooks:given`, n, `copy${n}`)
    }
    await copies.exec()
    await a.outbox.forgetFailed(100)
    t.equal(await redis.zcard(`${prefix}hooks:failed`), 10_000)
    t.equal(await redis.zcard(`${prefix}hooks:given`), 10_000)
    t.equal((await redis.keys(`${prefix}hook:*`)).length, 10_000)
    t.equal((await a.outbox.get(id as string))?.state, 'failed', 'the newest is among them')
  })

  t.test('nothing is left of what was delivered', async (t) => {
    const { a, prefix, finish } = await openTwo(t)
    for (let n = 0; n < 3; n++) await finish(`job${n}`, ['start', 'progress', 'completed'])
    for (;;) {
      const due = await claim(a.outbox)
      if (due.length === 0) break
      for (const one of due) await a.outbox.delivered(one)
    }
    const keys = await client().keys(`${prefix}hook*`)
    t.strictSame(keys.sort(), [`${prefix}hooks:bytes`, `${prefix}hooks:turn`])
  })
}
