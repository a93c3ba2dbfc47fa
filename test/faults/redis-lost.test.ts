import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { accept, becomes, ended, recordOf } from '../support/jobs.ts'
import { makeNotedHome, spawnNoted } from '../support/noted-host.ts'
import { call } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const skip = skipWithout('redis-server')

const isReady = (url: string) => call(`${url}/health/ready`, 'GET')
const becomesReady = (url: string) =>
  until('ready', async () => ((await isReady(url)).status === 200 ? true : undefined))

t.test('a host that starts before its Redis waits for it', { skip }, async (t) => {
  const redis = await startRedis(t, { isUp: false })
  const { host, notes } = await spawnNoted(t, { env: { REDIS_URL: redis.url } })
  const base = `${host.url}/experts/noted`
  t.match(await isReady(host.url), {
    status: 503,
    json: { reasons: [/^The store of the host does not work: Redis at redis:.*ECONNREFUSED/] }
  })
  const image = { image_id: 'a', url: '-', is_async: true }
  const refused = await call(`${base}/predict/image`, 'POST', image)
  t.match(refused, { status: 503, json: { code: 'HOST_STORE_FAILED' } })
  t.equal(refused.headers.get('retry-after'), '2')
  const waited = await call(`${base}/predict/movie`, 'POST', { movie_id: 'm', local: false })
  t.match(waited, { status: 200, json: { result: 'm' } }, 'who waits needs no store')
  await redis.start()
  await becomesReady(host.url)
  t.match((await isReady(host.url)).json, {
    jobs: 'accepted jobs survive a crash of Redis (appendfsync always)'
  })
  await host.line(({ msg }) => /^jobs are kept in Redis: accepted jobs survive/.test(String(msg)))
  t.match(await ended(host.url, await accept(base, 'b', { url: '-' })), { result: 'b' })
  t.strictSame(
    (await notes()).map(({ id }) => id),
    ['m', 'm', 'b', 'b']
  )
})

t.test('what runs while Redis is away ends once, and what waits is run', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { host, latches, starts } = await spawnNoted(t, { env: { REDIS_URL: redis.url } })
  const base = `${host.url}/experts/noted`
  const held = await accept(base, 'held', { url: 'hold 1' })
  const waits = await accept(base, 'waits', { url: '-' })
  await latches.started('held')
  await becomes(host.url, held, 'running')
  await redis.kill()
  await until('not ready', async () =>
    (await isReady(host.url)).status === 503 ? true : undefined
  )
  t.match(await call(`${host.url}/jobs/${held}`, 'GET'), {
    status: 503,
    json: { code: 'HOST_STORE_FAILED' }
  })
  await latches.release('held')
  await host.line(({ msg }) => /^an end cannot be written yet/.test(String(msg)))
  await redis.start()
  await becomesReady(host.url)
  t.match(await ended(host.url, held), { status: 'succeeded', result: 'held', attempts: 1 })
  t.match(await ended(host.url, waits), { status: 'succeeded', attempts: 1 })
  t.equal((await starts('held')).length, 1)
  t.equal((await starts('waits')).length, 1)
})

t.test('a Redis that has lost its data is told of, and goes on', { skip }, async (t) => {
  const redis = await startRedis(t, { args: ['--appendonly', 'no'] })
  const { host, latches } = await spawnNoted(t, { env: { REDIS_URL: redis.url } })
  const base = `${host.url}/experts/noted`
  t.match((await isReady(host.url)).json, { jobs: /^a restart of Redis loses all jobs/ })
  const held = await accept(base, 'held', { url: 'hold 1' })
  await latches.started('held')
  await redis.kill()
  await redis.start()
  await host.line(({ msg, level }) => level === 'error' && /lost its data/.test(String(msg)))
  t.equal(await recordOf(host.url, held), undefined)
  t.match(await call(`${host.url}/jobs/${held}/result`, 'GET'), {
    status: 404,
    json: { code: 'HOST_JOB_UNKNOWN' }
  })
  await latches.release('held')
  t.match(await ended(host.url, await accept(base, 'new', { url: '-' })), { status: 'succeeded' })
})

t.test('a full Redis takes no new jobs; the accepted ones end', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { host, latches } = await spawnNoted(t, { env: { REDIS_URL: redis.url } })
  const base = `${host.url}/experts/noted`
  const held = await accept(base, 'held', { url: 'hold 1' })
  const waits = await accept(base, 'waits', { url: '-' })
  await latches.started('held')
  const client = redis.client()
  await client.config('SET', 'maxmemory', '1')
  const image = { image_id: 'no', url: '-', is_async: true }
  t.match(await call(`${base}/predict/image`, 'POST', image), {
    status: 503,
    json: { code: 'HOST_STORE_FULL' }
  })
  await latches.release('held')
  t.match(await ended(host.url, waits), { status: 'succeeded' })
  await client.config('SET', 'maxmemory', '0')
  t.match(await ended(host.url, await accept(base, 'again', { url: '-' })), { result: 'again' })
  t.ok(held)
})

t.test('a wrong password ends the start with 78, and is not shown', { skip }, async (t) => {
  const redis = await startRedis(t, { password: 'right-one' })
  const { home } = await makeNotedHome(t)
  const start = (url: string) =>
    spawnSync(process.execPath, [MAIN, 'serve'], {
      cwd: home,
      env: { PATH: process.env.PATH, PORT: '0', HOST: '127.0.0.1', REDIS_URL: url },
      encoding: 'utf8',
      timeout: 20_000
    })
  for (const url of [
    redis.url.replace('right-one', 'wrong-one'),
    redis.url.replace(/:right-one@/, '')
  ]) {
    const { status, stdout, stderr } = start(url)
    t.equal(status, 78)
    t.match(stdout, /does not let this host in: (WRONGPASS|NOAUTH)/)
    t.notMatch(stdout + stderr, /wrong-one/)
  }
})
