import t from 'tap'
import type { Job, JobStatus } from '../jobs/job.ts'
import type { JobRecords } from '../jobs/job-records.ts'

/** Time as the suite tells it, and the bounds it counts on. */
export interface RecordsSetup {
  keepMs: number
  maxFinished: number
  maxFinishedBytes: number
  now: () => number
}

/** What every driver of `JobRecords` promises. `make` gives an empty one with these bounds. */
export function jobRecordsContract(
  driver: string,
  make: (setup: RecordsSetup) => Promise<{ records: JobRecords; close: () => Promise<void> }>
): void {
  const prepare = async (bounds: Partial<RecordsSetup> = {}) => {
    const clock = { now: 1_000_000 }
    const setup = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9, now: () => clock.now }
    const { records, close } = await make({ ...setup, ...bounds })
    t.teardown(close)
    const create = async (id: string, more: Partial<Job> = {}) => {
      await records.create(newJob(id, clock.now, more))
      clock.now += 1
    }
    const finish = async (id: string, status: JobStatus = 'succeeded', text = '1') => {
      const end = { ok: true as const, text }
      const done = await records.patch(id, { status, finishedAt: clock.now, end })
      clock.now += 1
      return done
    }
    const ids = async (expert?: string) => (await records.list(expert)).map((job) => job.id)
    return { records, clock, create, finish, ids }
  }

  t.test(`${driver}: what is written is read`, async (t) => {
    const { records, create, clock } = await prepare()
    const more = {
      bodies: ['{"a":"größer 😀"}', '[]'],
      isList: true,
      kind: 'POST /read',
      timeoutMs: 5
    } as const
    const job = newJob('a', clock.now, { ...more, bodies: [...more.bodies] })
    await create('a', { ...more, bodies: [...more.bodies] })
    t.strictSame(await records.get('a'), job)
    t.equal(await records.get('b'), undefined)
    await t.rejects(records.create(newJob('a', 1)), /a already|taken|unique/i)
    t.strictSame(await records.get('a'), job, 'a refused create changes nothing')
  })

  t.test(`${driver}: a copy is given and taken`, async (t) => {
    const { records } = await prepare()
    const job = newJob('a', 1)
    await records.create(job)
    job.status = 'failed'
    const read = (await records.get('a')) as Job
    t.equal(read.status, 'queued')
    read.attempts = 99
    ;((await records.list())[0] as Job).attempts = 99
    t.equal((await records.get('a'))?.attempts, 0)
  })

  t.test(`${driver}: a patch changes what it names, until the end`, async (t) => {
    const { records, create } = await prepare()
    await create('a')
    t.equal(await records.patch('a', { status: 'running', startedAt: 5, attempts: 1 }), true)
    t.equal(await records.patch('a', { progress: { fraction: 0.5, note: 'half' } }), true)
    t.match(await records.get('a'), {
      status: 'running',
      startedAt: 5,
      attempts: 1,
      progress: { fraction: 0.5, note: 'half' },
      end: null
    })
    const end = { ok: false as const, code: 'X', message: 'no' }
    t.equal(await records.patch('a', { status: 'failed', finishedAt: 1_000_009, end }), true)
    t.equal(await records.patch('a', { status: 'succeeded' }), false, 'an end is final')
    t.equal(await records.patch('a', { progress: null }), false)
    t.equal(await records.patch('never', { attempts: 1 }), false)
    t.match(await records.get('a'), { status: 'failed', end, progress: { fraction: 0.5 } })
    await t.rejects(records.create(newJob('a', 1)), 'an id is taken past its end too')
  })

  t.test(`${driver}: the order is that of the last change of state`, async (t) => {
    const { create, finish, ids } = await prepare()
    await create('a')
    await create('b', { expert: 'other' })
    await create('c')
    await finish('a')
    await create('d')
    t.strictSame(await ids(), ['b', 'c', 'a', 'd'])
    await finish('b', 'canceled')
    t.strictSame(await ids(), ['c', 'a', 'd', 'b'])
    t.strictSame(await ids('other'), ['b'])
    t.strictSame(await ids('nobody'), [])
  })

  t.test(`${driver}: a finished job is kept for its time, from its end`, async (t) => {
    const { records, clock, create, finish, ids } = await prepare({ keepMs: 100 })
    await create('live')
    await create('old')
    clock.now += 1000
    const end = clock.now
    await finish('old')
    await create('young')
    clock.now = end + 50
    await finish('young', 'failed')
    t.equal(await records.expire(end + 99), 0, 'to the last millisecond')
    clock.now = end + 101
    t.equal(await records.expire(clock.now), 1)
    t.equal(await records.get('old'), undefined)
    t.strictSame(await ids(), ['live', 'young'])
    clock.now = end + 1_000_000
    t.equal(await records.get('young'), undefined, 'none is given past its time, swept or not')
    t.strictSame(await ids(), ['live'], 'what lives is never forgotten')
    await create('old')
    t.equal((await records.get('old'))?.status, 'queued', 'a forgotten id is free')
  })

  t.test(`${driver}: finished jobs are bounded in number, the oldest end goes first`, async (t) => {
    const { create, finish, ids } = await prepare({ maxFinished: 2 })
    for (const id of ['a', 'b', 'c', 'd', 'e']) await create(id)
    for (const id of ['c', 'a', 'd']) await finish(id)
    t.strictSame((await ids()).sort(), ['a', 'b', 'd', 'e'])
    await finish('b')
    t.strictSame((await ids()).sort(), ['b', 'd', 'e'])
  })

  t.test(`${driver}: and in bytes`, async (t) => {
    const { create, finish, ids } = await prepare({ maxFinishedBytes: 100_000 })
    const bodies = ['x'.repeat(40_000)]
    for (const id of ['a', 'b', 'c', 'd']) await create(id, { bodies })
    t.equal((await ids()).length, 4, 'what lives is not counted')
    await finish('a')
    await finish('b', 'succeeded', 'y'.repeat(5000))
    t.strictSame((await ids()).sort(), ['a', 'b', 'c', 'd'])
    await finish('c', 'succeeded', 'y'.repeat(30_000))
    t.strictSame((await ids()).sort(), ['c', 'd'], 'as many as must go')
    await finish('d', 'succeeded', 'y'.repeat(200_000))
    t.strictSame(await ids(), [], 'one that is over the bound alone is not kept')
    await create('e')
    await finish('e')
    t.strictSame(await ids(), ['e'], 'the bytes of what went are free again')
  })
}

function newJob(id: string, createdAt: number, more: Partial<Job> = {}): Job {
  return {
    id,
    expert: 'places',
    expertVersion: '1.0.0',
    kind: 'image',
    bodies: ['{}'],
    isList: false,
    timeoutMs: null,
    createdAt,
    status: 'queued',
    startedAt: null,
    finishedAt: null,
    progress: null,
    attempts: 0,
    end: null,
    ...more
  }
}
