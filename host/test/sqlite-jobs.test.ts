import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { openSqliteJobs } from '../dist/jobs/sqlite-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import type { Claim } from '../jobs/dispatch.ts'
import type { Job } from '../jobs/job.ts'
import { endWith, newJob } from './job-records-contract.ts'

const FULL = { code: 'HOST_STORE_FULL', statusCode: 503 }

const retention = { keepMs: 3_600_000, maxFinished: 1e6, maxFinishedBytes: 1e12 }

async function open(t: Test, path: string, maxBytes?: number) {
  const jobs = await openSqliteJobs({ path, retention, log: createSilentLog(), maxBytes })
  t.teardown(() => jobs.close())
  const add = async (id: string, more: Partial<Job> = {}) => {
    const job = newJob(id, Date.now(), more)
    const { priority } = job
    await Promise.all([jobs.records.create(job), jobs.dispatch.push(job.expert, id, { priority })])
  }
  const end = async (claim: Claim, text: string) => {
    const patch = { status: 'succeeded', finishedAt: Date.now(), end: endWith(text) } as const
    await Promise.all([
      jobs.records.patch(claim.jobId, patch, claim.token),
      jobs.dispatch.done(claim)
    ])
  }
  const all = () => jobs.records.list({ limit: 1e6 })
  return { ...jobs, add, end, all }
}

/** A host that leaves jobs in every state, then works on without end; it prints what is on disk, and when. */
const HOST = `
  const [path, jobsUrl, logUrl] = process.argv.slice(2)
  const { openSqliteJobs } = await import(jobsUrl)
  const { createSilentLog } = await import(logUrl)
  const retention = ${JSON.stringify(retention)}
  const { records, dispatch } = await openSqliteJobs({ path, retention, log: createSilentLog() })
  const template = ${JSON.stringify(newJob('', 0))}
  const say = (...what) => process.stdout.write(JSON.stringify(what) + '\\n')
  let last = 0
  const accept = async () => {
    const number = last++
    const [id, priority] = ['job-' + number, number % 3]
    const job = { ...template, id, priority, bodies: [String(number)], createdAt: Date.now() }
    await Promise.all([records.create(job), dispatch.push('places', id, { priority })])
    say('accepted', id, 0)
  }
  const begin = async ({ jobId, token }) => {
    await records.patch(jobId, { status: 'running', startedAt: Date.now(), attempts: 1 }, token)
    say('running', jobId, token)
  }
  const end = async (claim) => {
    const { jobId, token } = claim
    const patch = { status: 'succeeded', finishedAt: Date.now(), end: { ok: true, text: '"' + jobId + '"', head: null } }
    await Promise.all([records.patch(jobId, patch, token), dispatch.done(claim)])
    say('finished', jobId, token)
  }
  const claim = async (limit) => {
    const claims = await dispatch.claim('places', limit)
    for (const { jobId, token } of claims) say('claimed', jobId, token)
    return claims
  }
  await Promise.all(Array.from({ length: 60 }, accept))
  await claim(5)
  await Promise.all((await claim(5)).map(begin))
  const accepting = async () => { for (;;) await accept() }
  const working = async () => {
    for (;;) for (const held of await claim(8)) { await begin(held); await end(held) }
  }
  await Promise.all([accepting(), accepting(), accepting(), working(), working()])
`

t.test('a host that was killed loses no job, no end and no rank', async (t) => {
  const folder = t.testdir({ 'host.mjs': HOST })
  const path = join(folder, 'jobs.sqlite')
  const url = (file: string) => new URL(`../dist/${file}`, import.meta.url).href
  const host = spawn(
    process.execPath,
    [join(folder, 'host.mjs'), path, url('jobs/sqlite-jobs.js'), url('observe/log.js')],
    { stdio: ['ignore', 'pipe', 'inherit'] }
  )
  t.teardown(() => host.kill('SIGKILL'))
  const closed = once(host, 'close')
  const said = new Map<string, Map<string, number>>()
  for (const phase of ['accepted', 'claimed', 'running', 'finished']) said.set(phase, new Map())
  for await (const line of createInterface({ input: host.stdout })) {
    const [phase, id, token] = JSON.parse(line) as [string, string, number]
    said.get(phase)?.set(id, token)
    if (phase === 'finished' && said.get('finished')?.size === 200) host.kill('SIGKILL')
  }
  t.strictSame(await closed, [null, 'SIGKILL'])
  const [accepted, claimed, running, finished] = [...said.values()] as Array<Map<string, number>>

  const { records, dispatch, all } = await open(t, path)
  const jobs = new Map((await all()).map((job) => [job.id, job]))
  t.strictSame(
    [...(accepted ?? [])].filter(([id]) => !jobs.has(id)),
    [],
    'all that was accepted is there'
  )
  t.strictSame(
    [...(finished ?? [])].filter(([id]) => jobs.get(id)?.status !== 'succeeded'),
    [],
    'what had ended has ended'
  )
  for (const job of jobs.values()) {
    const { id, status, end, startedAt, attempts, bodies } = job
    if (status === 'succeeded') {
      if (end?.ok !== true || end.text !== `"${id}"`) t.fail(`${id} has not its result`)
      continue
    }
    if (status !== 'queued' || end !== null || startedAt !== null) t.fail(`${id} does not wait`)
    if (running?.has(id) && attempts !== 1) t.fail(`the run of ${id} is not counted`)
    if (`job-${bodies[0]}` !== id) t.fail(`${id} has not its parameters`)
  }
  const left = [...jobs.values()].filter((job) => job.status === 'queued')
  const inRank = left.sort((a, b) => b.priority - a.priority || numberOf(a.id) - numberOf(b.id))
  t.strictSame(await dispatch.waiting(), new Map([['places', left.length]]))
  const claims = await dispatch.claim('places', 1e6)
  t.strictSame(
    claims.map((claim) => claim.jobId),
    inRank.map((job) => job.id),
    'they wait where they stood'
  )
  const again = claims.filter(({ jobId }) => claimed?.has(jobId))
  t.ok(again.length >= 10 && left.some((job) => job.attempts === 1), 'also those that were held')
  t.ok(again.every(({ jobId, token }) => token > (running?.get(jobId) ?? 0)))
  const [first] = again as [Claim]
  t.equal(await records.patch(first.jobId, { attempts: 2 }, first.token), true)
})

t.test('a claim of the host before is void, its job waits as it did', async (t) => {
  const path = join(t.testdir(), 'jobs.sqlite')
  const before = await open(t, path)
  for (const id of ['a', 'b', 'c']) await before.add(id, { priority: id === 'c' ? 5 : 0 })
  const [c, a] = (await before.dispatch.claim('places', 2)) as [Claim, Claim]
  await before.dispatch.release(c, { priority: 5, alone: true })
  await before.dispatch.claim('places', 2)
  await before.add('d')
  const progress = { fraction: 0.5, note: null }
  const patch = { status: 'running', startedAt: 1, attempts: 2, progress } as const
  await before.records.patch('a', patch, a.token)
  await before.records.keepItem('a', 3, '"kept"', a.token)
  await before.close()

  const { records, dispatch, add } = await open(t, path)
  await add('e')
  const job = await records.get('a')
  t.match(job, { status: 'queued', attempts: 2 })
  t.strictSame([job?.startedAt, job?.progress], [null, null])
  t.strictSame(await records.items('a'), new Map([[3, '"kept"']]))
  const claims = await dispatch.claim('places', 10)
  t.strictSame(
    claims.map(({ jobId, alone }) => [jobId, alone]),
    [
      ['a', false],
      ['b', false],
      ['d', false],
      ['e', false],
      ['c', true]
    ]
  )
  t.equal(await records.patch('a', { attempts: 9 }, claims[0]?.token), true)
  t.equal(await records.patch('a', { attempts: 9 }, a.token), false)
})

t.test('what was put back stands there after a start too', async (t) => {
  const path = join(t.testdir(), 'jobs.sqlite')
  const before = await open(t, path)
  for (const id of ['a', 'b', 'c']) await before.add(id)
  const [a, b] = (await before.dispatch.claim('places', 2)) as [Claim, Claim]
  const notBefore = Date.now() + 3_600_000
  await before.dispatch.release(b, { priority: 0 })
  await before.dispatch.release(a, { priority: 0 })
  await before.add('late')
  const late = (await before.dispatch.claim('places', 4)).at(-1) as Claim
  await before.dispatch.release(late, { priority: 9, notBefore })
  await before.add('d')
  await before.close()

  const { dispatch } = await open(t, path)
  const claims = await dispatch.claim('places', 10)
  t.strictSame(
    claims.map(({ jobId }) => jobId),
    ['c', 'b', 'a', 'd']
  )
  t.strictSame(await dispatch.waiting(), new Map([['places', 1]]), 'and waits for its time')
})

t.test('records and line agree after a start, whatever was written before', async (t) => {
  const path = join(t.testdir(), 'jobs.sqlite')
  const before = await open(t, path)
  await before.add('whole')
  await before.records.create(newJob('first', 1, { priority: 7 }))
  await before.records.create(newJob('second', 1, { expert: 'other' }))
  await before.records.patch('second', { status: 'running', attempts: 1 }, 40)
  await before.dispatch.push('places', 'unknown', { priority: 0 })
  await before.add('ended')
  const end = { status: 'canceled', finishedAt: Date.now(), end: endWith('1') } as const
  await before.records.patch('ended', end)
  await before.close()

  const { records, dispatch } = await open(t, path)
  t.strictSame(Object.fromEntries(await dispatch.waiting()), { places: 2, other: 1 })
  const claims = await dispatch.claim('places', 10)
  t.strictSame(
    claims.map((claim) => claim.jobId),
    ['first', 'whole']
  )
  t.match(await records.get('ended'), { status: 'canceled' })
  const [second] = await dispatch.claim('other', 10)
  t.match(second, { jobId: 'second' })
  t.equal(await records.patch('second', { status: 'running' }, second?.token), true)
})

t.test('the bounds of what is kept hold over a restart', async (t) => {
  const path = join(t.testdir(), 'jobs.sqlite')
  const before = await open(t, path)
  for (const id of ['a', 'b', 'c']) {
    await before.add(id)
    const [claim] = await before.dispatch.claim('places', 1)
    await before.end(claim as Claim, '1')
  }
  await before.close()
  const fewer = { ...retention, maxFinished: 2 }
  const after = await openSqliteJobs({ path, retention: fewer, log: createSilentLog() })
  t.teardown(() => after.close())
  const ids = (await after.records.list({ limit: 10 })).map((job) => job.id)
  t.strictSame(ids, ['b', 'c'])
})

t.test('a full file takes no new job, but every accepted one to its end', async (t) => {
  const jobs = await open(t, join(t.testdir(), 'jobs.sqlite'), 600_000)
  const { records, dispatch, add, end, all } = jobs
  const text = JSON.stringify('x'.repeat(6000))
  for (let place = 0; place < 10; place++) {
    await add(`kept-${place}`)
    await end((await dispatch.claim('places', 1))[0] as Claim, text)
  }
  const accepted: string[] = []
  let refused = newJob('', 0)
  for (let isFull = false; !isFull; ) {
    const idempotency = { key: `key-${accepted.length}`, fingerprint: 'f' }
    const bodies = [text]
    refused = newJob(`job-${accepted.length}`, Date.now(), { bodies, idempotency })
    try {
      await dispatch.push('places', refused.id, { priority: 0 })
      await records.create(refused)
      accepted.push(refused.id)
    } catch (error) {
      t.match(error, FULL)
      await dispatch.drop(refused.id)
      isFull = true
    }
  }
  t.ok(accepted.length > 20, `${accepted.length} jobs were accepted`)
  await t.rejects(records.create(refused), FULL, 'nothing kept is deleted for new work')
  t.equal(await records.get(refused.id), undefined)
  t.equal((await all()).length, 10 + accepted.length)
  t.equal((await records.count()).succeeded, 10)
  t.strictSame(await dispatch.waiting(), new Map([['places', accepted.length]]))

  const claims = await dispatch.claim('places', 1000)
  t.strictSame(
    claims.map((claim) => claim.jobId),
    accepted
  )
  for (const { jobId, token } of claims) {
    t.equal(await records.patch(jobId, { status: 'running', startedAt: 1 }, token), true)
  }
  const last = claims.pop() as Claim
  await Promise.all(claims.map((claim) => end(claim, text)))
  await end(last, text)
  const ended = await all()
  t.ok(
    ended.every((job) => job.status === 'succeeded' && job.end?.ok && job.end.text === text),
    'an end is kept whole or not at all'
  )
  t.equal(ended.at(-1)?.id, last.jobId)
  t.ok(ended.length > 20, `as many are kept as fit: ${ended.length}`)
  t.notOk(ended.some((job) => job.id === 'kept-0'))

  await records.expire(Date.now() + 2 * retention.keepMs)
  for (const id of [...accepted, refused.id]) {
    const more = { bodies: [text], idempotency: { key: id, fingerprint: 'f' } }
    t.equal(await records.create(newJob(id, 1, more)), null, 'all of their room is free again')
  }
})

t.test('what can never be kept is refused, and its job can still end', async (t) => {
  const { records, add, all } = await open(t, join(t.testdir(), 'jobs.sqlite'), 300_000)
  await add('a')
  await add('b')
  await records.patch('b', { status: 'failed', finishedAt: Date.now() })
  const text = JSON.stringify('x'.repeat(1_000_000))
  const tooLarge = { status: 'succeeded', finishedAt: Date.now(), end: endWith(text) } as const
  await t.rejects(records.patch('a', tooLarge), FULL)
  t.match(await all(), [{ id: 'a', status: 'queued', end: null }])
  const end = { ...FULL, ok: false, message: 'no room', exposed: true } as const
  t.equal(await records.patch('a', { status: 'failed', finishedAt: Date.now(), end }), true)
  t.strictSame((await records.get('a'))?.end, end)
})

t.test('a store that is closed says so in the words of the host', async (t) => {
  const { records, close } = await open(t, join(t.testdir(), 'jobs.sqlite'))
  await close()
  const failed = { code: 'HOST_STORE_FAILED', message: /closed/, cause: { kind: 'closed' } }
  await t.rejects(records.get('a'), failed)
  await t.rejects(records.create(newJob('a', 1)), failed)
})

function numberOf(id: string): number {
  return Number(id.slice('job-'.length))
}
