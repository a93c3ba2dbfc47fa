import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { skipWithout } from '@nebula-experts/sdk/testing'
import t, { type Test } from 'tap'
import { openRedisJobs } from '../dist/jobs/redis/redis-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import { endWith, newJob } from './job-records-contract.ts'
import { startRedis } from './start-redis.ts'

const skip = skipWithout('redis-server')
const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }

async function open(t: Test, url: string, options: { timeoutMs?: number; dir?: string } = {}) {
  const dir = options.dir ?? t.testdir()
  const jobs = await openRedisJobs({
    ...{ url, retention, absentMs: 60_000, log: createSilentLog(), ...options, dir }
  })
  t.teardown(() => jobs.close())
  return jobs
}

async function works(ask: () => Promise<unknown>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await ask()
      return
    } catch (error) {
      if (tries > 500) throw error
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

t.test('a job that was recorded and never placed is put in line', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { records, dispatch } = await open(t, redis.url)
  await records.create(newJob('a', Date.now(), { expert: 'ocr', priority: 5 }))
  await records.expire(0)
  t.strictSame(await dispatch.claim('ocr', 5), [], 'its host may be about to')
  await redis.client().zadd('nebula:0:unplaced', 1, 'a')
  await records.expire(0)
  t.match(await dispatch.claim('ocr', 5), [{ jobId: 'a' }])
  await records.expire(0)
  t.strictSame(await dispatch.claim('ocr', 5), [], 'once')
})

t.test(
  'after the server was away, hosts have time to renew before claims are taken',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const { dispatch } = await open(t, redis.url)
    await dispatch.push('ocr', 'a', { priority: 0 })
    const [claim] = await dispatch.claim('ocr', 1)
    const client = redis.client()
    await client.zadd('nebula:0:held', 1, 'a')
    await client.set('nebula:0:seen', Date.now() - 60_000)
    t.strictSame(await dispatch.claim('ocr', 1), [], 'nobody could renew it')
    t.ok((await client.pttl('nebula:0:grace')) > 10_000)
    await client.del('nebula:0:grace')
    const [again] = await dispatch.claim('ocr', 1)
    t.equal(again?.jobId, 'a')
    t.ok((again?.token as number) > (claim?.token as number))
  }
)

t.test('tokens grow also when the server has lost the last of them', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { dispatch } = await open(t, redis.url)
  const claim = async () => {
    await dispatch.push('ocr', 'a', { priority: 0 })
    return (await dispatch.claim('ocr', 1))[0]?.token as number
  }
  const first = await claim()
  await redis.client().flushall()
  t.ok((await claim()) > first)
})

/** A host that claims a job and its notice, and then does nothing more. */
const HOLDER = `
const [module, log, url, dir] = process.argv.slice(1)
const { openRedisJobs } = await import(module)
const { createSilentLog } = await import(log)
const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }
const { records, dispatch, outbox } = await openRedisJobs({
  url, dir, retention, absentMs: 60_000, log: createSilentLog()
})
const [{ jobId, token }] = await dispatch.claim('ocr', 1)
await records.patch(jobId, { status: 'running', startedAt: 5, attempts: 1 }, token)
const ask = { now: Date.now() + 1000, limit: 9, busyJobs: [], busyOrigins: [], roomOf: () => 9 }
const told = await outbox.claim(ask)
process.stdout.write(JSON.stringify({ jobId, token, told: told.length }))
`

t.test('a host that is killed and starts again has at once what it held', { skip }, async (t) => {
  const redis = await startRedis(t)
  const dirs = t.testdir({ killed: {}, other: {} })
  const other = await open(t, redis.url, { dir: `${dirs}/other` })
  const webhook = { url: 'https://a.example/', origin: 'a.example', events: ['start'] as const }
  for (const id of ['a', 'b']) {
    await other.records.create(newJob(id, Date.now(), { expert: 'ocr', webhook }))
    await other.dispatch.push('ocr', id, { priority: 0 })
  }
  const modules = ['jobs/redis/redis-jobs.js', 'observe/log.js'].map(
    (name) => new URL(`../dist/${name}`, import.meta.url).href
  )
  const args = ['--input-type=module', '-e', HOLDER, ...modules, redis.url, `${dirs}/killed`]
  const killed = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => killed.kill('SIGKILL'))
  const [said] = await once(killed.stdout, 'data')
  const first = JSON.parse(String(said))
  t.match(first, { jobId: 'a', told: 1 })
  const [second] = await other.dispatch.claim('ocr', 1)

  const ask = { limit: 9, busyJobs: [], busyOrigins: [], roomOf: () => 9 }
  const told = () => ({ ...ask, now: Date.now() + 1000 })
  const twin = await open(t, redis.url, { dir: `${dirs}/killed` })
  t.strictSame(await twin.dispatch.claim('ocr', 5), [], 'while it is there, it keeps it')
  t.strictSame(await twin.outbox.claim(told()), [])
  killed.kill('SIGKILL')
  await once(killed, 'exit')
  const again = await open(t, redis.url, { dir: `${dirs}/killed` })
  const [found, ...more] = await again.dispatch.claim('ocr', 5)
  t.match(found, { jobId: 'a' }, 'though another has had its place meanwhile')
  t.strictSame(more, [], 'what the other host runs stays with it')
  t.strictSame(await other.dispatch.renew([second as never]), [])
  t.ok((found?.token as number) > first.token)
  t.match(await again.outbox.claim(told()), [{ jobId: 'a' }], 'and what it was telling')
  await again.records.patch('a', { attempts: 2 }, found?.token)
  t.equal(await other.records.patch('a', { attempts: 9 }, first.token), false)
})

t.test('a host whose folder is removed takes nothing more', { skip }, async (t) => {
  const redis = await startRedis(t)
  const dir = join(t.testdir(), 'jobs')
  const jobs = await open(t, redis.url, { dir })
  await jobs.records.create(newJob('a', Date.now()))
  await rm(dir, { recursive: true })
  await works(async () => {
    if (jobs.failure === null) throw new Error('it has not been noticed')
  })
  t.match(jobs.failure, {
    code: 'HOST_STORE_FAILED',
    message: /the folder .* was removed under the/
  })
  await t.rejects(jobs.records.create(newJob('b', Date.now())), { code: 'HOST_STORE_FAILED' })
  await t.rejects(jobs.dispatch.claim('ocr', 1), { code: 'HOST_STORE_FAILED' })
  await works(async () => {
    const clients = String(await redis.client().client('LIST'))
    if (clients.includes('nebula-experts')) throw new Error('it is still connected')
  })
})

t.test('files of a host are for it alone, until it has been away for long', { skip }, async (t) => {
  const redis = await startRedis(t)
  const here = await open(t, redis.url)
  const there = await open(t, redis.url)
  await here.dispatch.waiting()
  await here.dispatch.push('ocr', 'a', { priority: 0, here: true })
  await there.dispatch.push('ocr', 'b', { priority: 0 })
  t.strictSame(Object.fromEntries(await there.dispatch.waiting()), { ocr: 2 })
  t.match(await there.dispatch.claim('ocr', 5), [{ jobId: 'b', expert: 'ocr' }])
  await redis.client().zadd('nebula:0:hosts', 'XX', Date.now() - 61_000, await hostOf(redis.url, t))
  await there.dispatch.waiting()
  t.match(await there.dispatch.claim('ocr', 5), [{ jobId: 'a', expert: 'ocr' }])
})

/** The host of the only line with files. */
async function hostOf(url: string, _t: Test): Promise<string> {
  const { Redis } = await import('ioredis')
  const client = new Redis(url)
  const lines = await client.smembers('nebula:0:lines')
  client.disconnect()
  return (lines.find((line) => line.includes(' @')) as string).split(' @')[1] as string
}

t.test(
  'a call fails at once while there is no server, and works when it is back',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const { records, dispatch, ...jobs } = await open(t, redis.url)
    await records.create(newJob('a', Date.now()))
    await redis.kill()
    const lost = { code: 'HOST_STORE_FAILED', extra: { retry_after: 2 } }
    await t.rejects(records.get('a'), lost)
    const began = performance.now()
    await t.rejects(dispatch.waiting(), lost)
    t.ok(performance.now() - began < 1000)
    await redis.start()
    await works(() => dispatch.waiting())
    t.match(await records.get('a'), { id: 'a' })
    t.ok(jobs)
  }
)

t.test('a server that does not answer is a lost one', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { dispatch } = await open(t, redis.url, { timeoutMs: 300 })
  redis.freeze()
  const hangs = { code: 'HOST_STORE_FAILED', message: /: it does not answer$/ }
  await t.rejects(dispatch.waiting(), hangs)
  await t.rejects(dispatch.waiting(), hangs, 'and that is said for as long as it is so')
  redis.resume()
  await works(() => dispatch.waiting())
})

t.test('a full server takes nothing new, and ends what it has', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { records, dispatch } = await open(t, redis.url)
  const client = redis.client()
  const bodies = [JSON.stringify('x'.repeat(100_000))]
  for (const id of ['old', 'live', 'other'])
    await records.create(newJob(id, Date.now(), { bodies }))
  const finish = (id: string) =>
    records.patch(id, { status: 'succeeded', finishedAt: Date.now(), end: endWith('1') })
  await finish('old')
  await dispatch.push('places', 'live', { priority: 0 })
  await client.config('SET', 'maxmemory', '1')
  await t.rejects(records.create(newJob('new', Date.now())), { code: 'HOST_STORE_FULL' })
  await t.rejects(dispatch.push('places', 'other', { priority: 0 }), { code: 'HOST_STORE_FULL' })
  t.equal(await records.get('new'), undefined)
  const [claim] = await dispatch.claim('places', 1)
  t.equal(claim?.jobId, 'live')
  t.equal(await records.patch('live', { status: 'running' }, claim?.token), true)
  t.equal(await finish('live'), true)
  t.equal(await records.get('old'), undefined, 'the oldest finished job made room')
  t.match(await records.get('live'), { status: 'succeeded', end: { text: '1' } })
  await client.config('SET', 'maxmemory', '0')
  await records.create(newJob('new', Date.now()))
})

t.test('a flushed script cache is filled again', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { records } = await open(t, redis.url)
  await redis.client().script('FLUSH')
  t.equal(await records.create(newJob('a', Date.now())), null)
  t.match(await records.get('a'), { id: 'a' })
})

t.test(
  'a host without the password is told so, and the password is in no message',
  { skip },
  async (t) => {
    const redis = await startRedis(t, { password: 'right-one' })
    const dir = t.testdir()
    const log = createSilentLog()
    const wrong = redis.url.replace('right-one', 'wrong-one')
    const refused = openRedisJobs({ url: wrong, dir, retention, absentMs: 1, log })
    const error = await refused.then(() => null, String)
    t.match(error, /REDIS_URL: redis:\/\/127\.0\.0\.1:\d+\/0 does not let this host in: WRONGPASS/)
    t.notMatch(error, /wrong-one/)
    const { records } = await open(t, redis.url)
    t.equal(await records.get('a'), undefined)
  }
)
