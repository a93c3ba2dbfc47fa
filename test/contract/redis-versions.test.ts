import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { accept, becomes, ended, recordOf } from '../support/jobs.ts'
import { type Latches, makeLatches } from '../support/latches.ts'
import { makeNotedHome } from '../support/noted-host.ts'
import { versioned } from '../support/packages.ts'
import { call, makeHome, spawnHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const skip = skipWithout('redis-server')

/** What a version wants under `extra_params` and in the body of `/sign`; another field may be there beside it. */
interface Wish {
  field: string
  type: string
}

/** A home of a version of `signs` that answers its number, and holds runs with an `until`. */
function homeOf(t: Parameters<typeof makeHome>[0], version: string, wish: Wish, latches: Latches) {
  const schema = JSON.stringify({
    type: 'object',
    required: [wish.field],
    properties: { [wish.field]: { type: wish.type } }
  })
  const routes = version === '1.0.0' ? ['/sign', '/only-of-1'] : ['/sign']
  const signs = versioned(
    'signs',
    version,
    `static params = ${schema}
    static config = { type: 'object', properties: { LATCH_DIR: { type: 'string' } } }
    addExpertApis(api) {
      for (const path of ${JSON.stringify(routes)}) {
        api.post(path, { body: ${schema}, job: true }, ({ body }) => this.#answer(body.${wish.field}))
      }
    }
    async predictImage({ id, extra_params }, { signal, jobId }) {
      const { appendFileSync, existsSync } = await import('node:fs')
      const { setTimeout: pause } = await import('node:timers/promises')
      const folder = this.config.LATCH_DIR
      const line = JSON.stringify({ event: 'start', id, jobId, version: '${version}' })
      appendFileSync(folder + '/events.ndjson', line + '\\n')
      while (extra_params.until && !existsSync(folder + '/' + extra_params.until)) {
        await pause(5, undefined, { signal })
      }
      return this.#answer(extra_params.${wish.field})
    }
    #answer(value) { return { result: '${version} ' + value, error: null } }`
  )
  const config = { experts: { signs: { env: { LATCH_DIR: latches.dir } } } }
  return makeHome(t, { files: { signs }, config })
}

t.test('two hosts with two versions of one expert on one Redis', { skip }, async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const latches = await makeLatches(t)
  const homes = [
    await homeOf(t, '1.0.0', { field: 'x', type: 'string' }, latches),
    await homeOf(t, '2.0.0', { field: 'y', type: 'integer' }, latches)
  ] as const
  const a = await spawnHost(t, { home: homes[0], env })
  const ofA = `${a.url}/experts/signs`
  // One run fills a host. The second host starts when the first is full, so that it is known who runs what.
  const holdsA = await accept(ofA, 'holds-a', { extra_params: { x: 'held', until: 'a' } })
  await latches.started('holds-a')
  const b = await spawnHost(t, { home: homes[1], env })
  const ofB = `${b.url}/experts/signs`

  const client = redis.client()
  /** So many jobs were put back for another host. */
  const leftForAnother = (count: number) =>
    until(`${count} jobs that are left for another host`, async () => {
      return (await client.zcard('nebula:0:late:signs')) >= count || undefined
    })

  t.test('what the second accepted, and the first does not take', async (t) => {
    const holdsB = await accept(ofB, 'holds-b', { extra_params: { y: 1, until: 'b' } })
    await latches.started('holds-b')
    const id = await accept(ofB, 'waits', { extra_params: { y: 2 } })
    await latches.release('a')
    t.match(await ended(b.url, holdsA), { result: '1.0.0 held', expert_version: '1.0.0' })
    await leftForAnother(1)
    t.match(await recordOf(a.url, id), { status: 'queued', attempts: 0, expert_version: '2.0.0' })
    // The first is filled again, before the second has room.
    await accept(ofA, 'fills-a', { extra_params: { x: 'again', until: 'end' } })
    await latches.started('fills-a')
    await latches.release('b')
    t.match(await ended(a.url, holdsB), { result: '2.0.0 1', expert_version: '2.0.0' })
    t.match(await ended(a.url, id), { status: 'succeeded', result: '2.0.0 2', attempts: 1 })
  })

  t.test('what fits the version that it comes to is run by that', async (t) => {
    const id = await accept(ofA, 'fits', { extra_params: { x: 'both', y: 7 } })
    for (const url of [a.url, b.url]) {
      t.match(await ended(url, id), {
        status: 'succeeded',
        result: '2.0.0 7',
        attempts: 1,
        expert_version: '1.0.0'
      })
    }
  })

  const send = async (path: string, body: object) => {
    const prefer = { prefer: 'respond-async' }
    return (await call(`${ofA}${path}`, 'POST', body, prefer)).json.jobId as string
  }
  const misfits = async () => ({
    image: await accept(ofA, 'misfit', { extra_params: { x: 'old' } }),
    route: await send('/sign', { x: 'old' }),
    only: await send('/only-of-1', { x: 'old' }),
    list: await send('/predict/images', {
      images: ['l0', 'l1'].map((image_id) => ({ image_id, url: 'u' })),
      extra_params: { x: 'l' }
    })
  })

  t.test('what does not fit waits for a host that has its version', async (t) => {
    const ids = await misfits()
    await leftForAnother(4)
    for (const id of Object.values(ids)) {
      t.match(await recordOf(b.url, id), { status: 'queued', attempts: 0 })
    }
    await latches.release('end')
    for (const id of [ids.image, ids.route, ids.only]) {
      t.match(await ended(b.url, id), {
        status: 'succeeded',
        result: '1.0.0 old',
        attempts: 1,
        expert_version: '1.0.0'
      })
    }
    t.match(await ended(b.url, ids.list), {
      status: 'succeeded',
      results: [{ result: '1.0.0 l' }, { result: '1.0.0 l' }]
    })
  })

  t.test('each host checks and documents its own', async (t) => {
    const hosts: Array<[base: string, field: string, other: string]> = [
      [ofA, 'x', 'y'],
      [ofB, 'y', 'x']
    ]
    for (const [base, field, other] of hosts) {
      const refused = await call(`${base}/sign`, 'POST', { [other]: 'v' })
      t.match(refused, { status: 422, json: { detail: [{ loc: ['body', field] }] } })
      const image = { image_id: 'i', url: 'u', is_async: true, extra_params: { [other]: 'v' } }
      const job = await call(`${base}/predict/image`, 'POST', image)
      t.match(job, { status: 422, json: { detail: [{ loc: ['body', 'extra_params', field] }] } })
      const { text } = await call(`${base}/openapi.json`, 'GET')
      t.match(text, `"required":["${field}"]`)
      t.notMatch(text, `"required":["${other}"]`)
    }
    t.equal((await call(`${ofB}/only-of-1`, 'POST', { x: 'v' })).status, 404)
  })

  t.test('when no host has that version, it fails by the field and the version', async (t) => {
    await accept(ofA, 'fills-a-again', { extra_params: { x: 'again', until: 'never' } })
    await latches.started('fills-a-again')
    const ids = await misfits()
    await leftForAnother(4)
    a.child.kill('SIGKILL')
    await a.exited
    // What it said last counts for 30 s.
    await client.zrem('nebula:0:served', 'signs 1.0.0')
    const says = `Expert 'signs' of version 2.0.0 does not take the call, which another version accepted: `
    for (const [id, why] of [
      [ids.image, 'body.extra_params.y: field required'],
      [ids.route, 'body.y: field required'],
      [ids.only, 'it has no route POST /only-of-1']
    ] as const) {
      t.match(await ended(b.url, id), {
        status: 'failed',
        code: 'HOST_EXPERT_CHANGED',
        error: `${says}${why}`,
        attempts: 0,
        expert_version: '1.0.0'
      })
    }
    const misfit = { code: 'HOST_EXPERT_CHANGED', error: /extra_params\.y: field required$/ }
    t.match(await ended(b.url, ids.list), { status: 'succeeded', results: [misfit, misfit] })
    const runs = (await latches.events()) as Array<{ id?: string; version?: string }>
    t.notOk(
      runs.some(({ id, version }) => id === 'misfit' && version === '2.0.0'),
      'it was not given to the expert'
    )
  })
})

t.test('a host that does not have an expert says so, and knows its jobs', { skip }, async (t) => {
  const redis = await startRedis(t)
  const env = { REDIS_URL: redis.url }
  const ofA = await makeNotedHome(t, { experts: ['here'] })
  const ofB = await makeNotedHome(t, { experts: ['there'] })
  const a = await spawnHost(t, { home: ofA.home, env })
  const b = await spawnHost(t, { home: ofB.home, env })
  const unknown = {
    status: 404,
    json: { code: 'HOST_EXPERT_UNKNOWN', detail: "There is no expert named 'here'" }
  }
  const image = { image_id: 'i', url: '-', is_async: true }
  t.match(await call(`${b.url}/experts/here/predict/image`, 'POST', image), unknown)
  t.match(await call(`${b.url}/experts/here/jobs`, 'GET'), unknown)

  const id = await accept(`${a.url}/experts/here`, 'held', { url: 'hold 1' })
  await ofA.latches.started('held')
  t.match(await becomes(b.url, id, 'running'), { expert: 'here', expert_version: '1.0.0' })
  await call(`${b.url}/jobs/${id}/cancel`, 'POST')
  t.match(await ended(a.url, id), { status: 'canceled' })
  t.match(await call(`${b.url}/jobs/${id}/retry`, 'POST'), unknown, 'nothing is accepted here')
  const again = await call(`${a.url}/jobs/${id}/retry`, 'POST')
  await ofA.latches.release('held')
  t.match(await ended(b.url, again.json.jobId), { status: 'succeeded', retry_of: id })
})
