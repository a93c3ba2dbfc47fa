import t, { type Test } from 'tap'
import type { Job, JobEnd, JobStatus } from '../jobs/job.ts'
import type { JobQuery, JobRecords } from '../jobs/job-records.ts'

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
  const prepare = async (t: Test, bounds: Partial<RecordsSetup> = {}) => {
    const clock = { now: 1_000_000 }
    const setup = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9, now: () => clock.now }
    const { records, close } = await make({ ...setup, ...bounds })
    t.teardown(close)
    const create = async (id: string, more: Partial<Job> = {}) => {
      const holder = await records.create(newJob(id, clock.now, more))
      clock.now += 1
      return holder?.id ?? null
    }
    const finish = async (id: string, status: JobStatus = 'succeeded', text = '1') => {
      const done = await records.patch(id, { status, finishedAt: clock.now, end: endWith(text) })
      clock.now += 1
      return done
    }
    const ids = async (query: Partial<JobQuery> = {}) =>
      (await records.list({ limit: 1000, ...query })).map((job) => job.id)
    return { records, clock, create, finish, ids }
  }

  t.test(`${driver}: what is written is read`, async (t) => {
    const { records, clock } = await prepare(t)
    const full = newJob('a', clock.now + 0.123, {
      expertVersion: '1.0.0-größer.😀',
      bodies: ['{"a":"größer 😀"}', '[]'],
      isList: true,
      kind: 'POST /read',
      priority: -7,
      timeoutMs: 5,
      maxAttempts: 9,
      idempotency: { key: 'a key of \ud800 and \0', fingerprint: 'f'.repeat(64) },
      upload: 'folder',
      retryOf: 'earlier',
      webhook: { url: 'https://example.com/ö?a=1', origin: 'example.com', events: ['completed'] }
    })
    t.equal(await records.create(full), null)
    t.strictSame(await records.get('a'), full)
    t.strictSame(await records.list({ limit: 1 }), [full])
    const running = newJob('b', clock.now, { bodies: [], status: 'running', startedAt: clock.now })
    await records.create(running)
    t.strictSame(await records.get('b'), running)
    t.equal(await records.get('c'), undefined)
    t.equal(await records.get('a\0'), undefined)
    const many = await records.getMany(['b', 'c', 'a'])
    t.strictSame([many.size, many.get('a'), many.get('b')], [2, full, running])
    t.equal((await records.getMany([])).size, 0)
    await t.rejects(records.create(newJob('a', 1)), /a already|taken|unique/i)
    t.strictSame(await records.get('a'), full, 'a refused create changes nothing')
  })

  t.test(`${driver}: a copy is given and taken`, async (t) => {
    const { records } = await prepare(t)
    const job = newJob('a', 1)
    await records.create(job)
    job.status = 'failed'
    const read = (await records.get('a')) as Job
    t.equal(read.status, 'queued')
    read.attempts = 99
    ;((await records.list({ limit: 1 }))[0] as Job).attempts = 99
    t.equal((await records.get('a'))?.attempts, 0)
  })

  t.test(`${driver}: a patch changes what it names, until the end`, async (t) => {
    const { records, create } = await prepare(t)
    await create('a')
    t.equal(await records.patch('a', { status: 'running', startedAt: 5.25, attempts: 1 }), true)
    const progress = { fraction: 0.5, note: 'half \ud800 \0' }
    t.equal(await records.patch('a', { progress }), true)
    const started = await records.get('a')
    t.match(started, { status: 'running', startedAt: 5.25, attempts: 1, end: null })
    t.strictSame(started?.progress, progress)
    await records.patch('a', { status: 'queued', startedAt: null, progress: null })
    t.match(await records.get('a'), { status: 'queued', startedAt: null, attempts: 1 })
    t.equal((await records.get('a'))?.progress, null)
    await records.patch('a', { status: 'running', progress })
    const end: JobEnd = {
      ok: false,
      code: 'X',
      message: 'no \ud800 \0',
      statusCode: 500,
      exposed: true
    }
    t.equal(await records.patch('a', { status: 'failed', finishedAt: 1_000_009, end }), true)
    t.equal(await records.patch('a', { status: 'succeeded' }), false, 'an end is final')
    t.equal(await records.patch('a', { progress: null }), false)
    t.equal(await records.patch('a', { end: endWith('2') }), false)
    t.equal(await records.patch('never', { attempts: 1 }), false)
    const failed = await records.get('a')
    t.match(failed, { status: 'failed', finishedAt: 1_000_009 })
    t.strictSame([failed?.end, failed?.progress], [end, progress])
    await t.rejects(records.create(newJob('a', 1)), 'an id is taken past its end too')
  })

  t.test(`${driver}: an end is read as it was written`, async (t) => {
    const { records, clock, create } = await prepare(t)
    const file = { path: '/tmp/a file', owned: true }
    const ends: JobEnd[] = [
      endWith('["größer 😀"]'),
      { ok: true, text: '', head: { status: 201, type: 'image/png', file } },
      { ok: false, code: 'EXPERT_X', message: 'why', statusCode: 422, exposed: false }
    ]
    for (const [place, end] of ends.entries()) {
      await create(`job-${place}`)
      const status = end.ok ? 'succeeded' : 'failed'
      await records.patch(`job-${place}`, { status, finishedAt: clock.now, end })
      t.strictSame((await records.get(`job-${place}`))?.end, end)
    }
    t.strictSame(
      (await records.list({ limit: 10 })).map((job) => job.end),
      ends
    )
  })

  t.test(
    `${driver}: what an earlier claim writes is refused after a later one wrote`,
    async (t) => {
      const { records, create, finish } = await prepare(t)
      await create('a')
      t.equal(await records.patch('a', { attempts: 1 }, 3), true)
      t.equal(await records.patch('a', { attempts: 2 }, 3), true, 'the same may go on')
      t.equal(await records.patch('a', { attempts: 3 }, 2), false)
      t.equal(await records.patch('a', { status: 'failed', end: endWith('1') }, 2), false)
      t.equal(await records.keepItem('a', 0, '"early"', 2), false)
      t.match(await records.get('a'), { attempts: 2, status: 'queued', end: null })
      t.equal((await records.items('a')).size, 0)
      t.equal(await records.keepItem('a', 0, '"later"', 7), true, 'a kept item is a write as well')
      t.equal(await records.patch('a', { attempts: 4 }, 6), false)
      t.equal(await records.patch('a', { attempts: 5 }), true, 'without a token while it lives')
      t.equal(await records.patch('a', { attempts: 6 }, 6), false, 'which lets no earlier one in')
      t.equal(await records.keepItem('a', 1, '2'), true)
      t.equal(await records.patch('a', { attempts: 7 }, 8), true)
      t.equal((await records.get('a'))?.attempts, 7)
      await finish('a')
      t.equal(await records.patch('a', { attempts: 8 }, 9), false)
      t.equal((await records.get('a'))?.attempts, 7)
    }
  )

  t.test(`${driver}: a key is of one job of its expert`, async (t) => {
    const { records, create, finish, ids } = await prepare(t)
    const idempotency = { key: 'k', fingerprint: 'f' }
    t.equal(await create('a', { idempotency }), null)
    t.equal(await create('b', { idempotency: { key: 'k', fingerprint: 'other' } }), 'a')
    t.equal(await records.get('b'), undefined, 'nothing was written')
    t.equal(await create('a', { idempotency }), 'a', 'the same request again')
    t.equal(await create('c', { idempotency, expert: 'other' }), null, "another expert's is free")
    t.equal(await create('d', { idempotency: { key: 'K', fingerprint: 'f' } }), null)
    await create('e')
    await create('f')
    t.strictSame(await ids(), ['a', 'c', 'd', 'e', 'f'])
    await finish('a', 'failed')
    const holder = await records.create(newJob('g', 1, { idempotency }))
    t.strictSame(holder, await records.get('a'), 'its end keeps it')
    await t.rejects(
      records.create(newJob('e', 1, { idempotency: { key: 'new', fingerprint: 'f' } })),
      /e already|taken|unique/i
    )
    await t.rejects(
      records.create(newJob('c', 1, { idempotency, expert: 'third' })),
      /c already|taken|unique/i,
      "the key of another expert's job is not held by it for this one"
    )
    const free = { key: 'new', fingerprint: 'f' }
    t.equal(await create('h', { idempotency: free }), null, 'a refused create takes no key')
  })

  t.test(`${driver}: of many who create with one key at once, one does`, async (t) => {
    const { records, clock, ids } = await prepare(t)
    const idempotency = { key: 'k', fingerprint: 'f' }
    const holders = await Promise.all(
      Array.from({ length: 50 }, async (_, place) => {
        const holder = await records.create(newJob(`job-${place}`, clock.now, { idempotency }))
        return holder?.id ?? null
      })
    )
    const created = await ids()
    t.equal(created.length, 1)
    t.equal(holders.filter((id) => id === null).length, 1)
    t.equal(holders.filter((id) => id === created[0]).length, 49)
    t.equal(created[0], `job-${holders.indexOf(null)}`)
  })

  t.test(`${driver}: a key and an id are free when their job is forgotten`, async (t) => {
    const { records, clock, create, finish } = await prepare(t, { keepMs: 100, maxFinished: 1 })
    const idempotency = { key: 'k', fingerprint: 'f' }
    await create('a', { idempotency })
    await finish('a')
    clock.now += 200
    t.equal(await create('b', { idempotency }), null, 'past its time, though nobody swept')
    await finish('b')
    await create('other')
    await finish('other')
    t.equal(await create('c', { idempotency }), null, 'evicted')
    await finish('c')
    clock.now += 200
    await create('c', { bodies: ['"new"'] })
    t.strictSame((await records.get('c'))?.bodies, ['"new"'])
    t.equal((await records.get('c'))?.end, null)
  })

  t.test(`${driver}: the order is that of the last change of state`, async (t) => {
    const { create, finish, ids } = await prepare(t)
    await create('a')
    await create('b', { expert: 'other' })
    await create('c')
    await finish('a')
    await create('d')
    t.strictSame(await ids(), ['b', 'c', 'a', 'd'])
    await finish('b', 'canceled')
    t.strictSame(await ids(), ['c', 'a', 'd', 'b'])
    t.strictSame(await ids({ limit: 2 }), ['d', 'b'], 'the newest')
    t.strictSame(await ids({ limit: 0 }), [])
  })

  t.test(`${driver}: a listing is of one expert, of some states, or of both`, async (t) => {
    const { records, create, finish, ids } = await prepare(t)
    for (const expert of ['x', 'y']) {
      for (const name of ['queued', 'running', 'succeeded', 'failed', 'canceled']) {
        await create(`${expert}-${name}`, { expert })
      }
      await records.patch(`${expert}-running`, { status: 'running' })
      for (const status of ['succeeded', 'failed', 'canceled'] as const) {
        await finish(`${expert}-${status}`, status)
      }
    }
    const all = ['x-queued', 'x-running', 'x-succeeded', 'x-failed', 'x-canceled']
    t.strictSame(await ids({ expert: 'x' }), all)
    t.strictSame(await ids({ expert: 'nobody' }), [])
    t.strictSame(await ids({ statuses: ['running'] }), ['x-running', 'y-running'])
    const ended = ['x-failed', 'x-canceled', 'y-failed', 'y-canceled']
    t.strictSame(await ids({ statuses: ['canceled', 'failed'] }), ended)
    t.strictSame(await ids({ statuses: [] }), [])
    t.strictSame(await ids({ expert: 'y', statuses: ['succeeded', 'queued'] }), [
      'y-queued',
      'y-succeeded'
    ])
    t.strictSame(await ids({ expert: 'y', statuses: ['succeeded', 'queued'], limit: 1 }), [
      'y-succeeded'
    ])
  })

  t.test(`${driver}: pages go over all jobs, each once`, async (t) => {
    const { records, clock, ids } = await prepare(t)
    for (let place = 0; place < 50; place++) {
      // Fractions as fine as such numbers have.
      clock.now = 1_790_000_000_000 + place / 1024
      const expert = place % 3 === 0 ? 'x' : 'y'
      await records.create(newJob(`job-${place}`, clock.now, { expert }))
    }
    for (let place = 0; place < 50; place += 2) {
      clock.now = 1_790_000_000_100 + place / 1024
      const patch = { status: 'succeeded', finishedAt: clock.now, end: endWith('1') } as const
      await records.patch(`job-${place}`, patch)
    }
    const walk = async (query: Partial<JobQuery>) => {
      const pages: string[][] = []
      for (let before: number | undefined; ; ) {
        const page = await records.list({ ...query, before, limit: 7 })
        if (page.length === 0) return pages.flat()
        pages.unshift(page.map((job) => job.id))
        before = page[0]?.finishedAt ?? page[0]?.createdAt
      }
    }
    const everything = await ids()
    t.equal(everything.length, 50)
    t.strictSame(everything.slice(0, 3), ['job-1', 'job-3', 'job-5'])
    t.strictSame(everything.slice(-2), ['job-46', 'job-48'])
    t.strictSame(await walk({}), everything)
    t.strictSame(await walk({ expert: 'x' }), await ids({ expert: 'x' }))
    t.strictSame(await walk({ statuses: ['queued'] }), everything.slice(0, 25))
    t.equal((await records.get('job-49'))?.createdAt, 1_790_000_000_000 + 49 / 1024)
  })

  t.test(`${driver}: jobs are counted by state, of all or of one expert`, async (t) => {
    const { records, clock, create, finish } = await prepare(t, { keepMs: 100 })
    const none = { queued: 0, running: 0, succeeded: 0, failed: 0, canceled: 0 }
    t.strictSame(await records.count(), none)
    for (const id of ['a', 'b', 'c', 'd', 'e']) await create(id)
    await create('f', { expert: 'other' })
    await records.patch('b', { status: 'running' })
    await finish('c', 'failed')
    await finish('d', 'canceled')
    t.strictSame(await records.count(), { ...none, queued: 3, running: 1, failed: 1, canceled: 1 })
    t.strictSame(await records.count('other'), { ...none, queued: 1 })
    t.strictSame(await records.count('nobody'), none)
    clock.now += 1000
    t.strictSame(await records.count(), { ...none, queued: 3, running: 1 }, 'none past its time')
    t.strictSame(await records.count('other'), { ...none, queued: 1 })
  })

  t.test(`${driver}: answers to items are kept until the end`, async (t) => {
    const { records, create, finish } = await prepare(t)
    await create('a', { bodies: ['1', '2', '3'], isList: true })
    await create('b')
    t.equal(await records.keepItem('a', 2, '"größer 😀"'), true)
    t.equal(await records.keepItem('a', 0, '"first"'), true)
    t.equal(await records.keepItem('a', 0, '"again"'), true)
    t.equal(await records.keepItem('b', 0, '"of b"'), true)
    t.equal(await records.keepItem('never', 0, '1'), false)
    await records.patch('a', { status: 'running' })
    await records.patch('a', { status: 'queued' })
    const kept = [...(await records.items('a'))].sort(([a], [b]) => a - b)
    t.strictSame(kept, [
      [0, '"again"'],
      [2, '"größer 😀"']
    ])
    t.equal((await records.items('never')).size, 0)
    await finish('a', 'canceled')
    t.equal(await records.keepItem('a', 1, '1'), false)
    t.equal((await records.items('a')).size, 0)
    t.equal((await records.items('b')).size, 1)
  })

  t.test(`${driver}: a finished job is kept for its time, from its end`, async (t) => {
    const { records, clock, create, finish, ids } = await prepare(t, { keepMs: 100 })
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
    t.strictSame(await ids({ statuses: ['failed'], expert: 'places' }), [])
    await create('old')
    t.equal((await records.get('old'))?.status, 'queued', 'a forgotten id is free')
  })

  t.test(`${driver}: as many as are past their time are forgotten`, async (t) => {
    const { records, clock, create, finish, ids } = await prepare(t, { keepMs: 1000 })
    for (let place = 0; place < 250; place++) {
      await create(`job-${place}`)
      await finish(`job-${place}`)
    }
    await create('live')
    t.equal(await records.expire(clock.now + 5000), 250)
    t.equal(await records.expire(clock.now + 5000), 0)
    t.strictSame(await ids(), ['live'])
  })

  t.test(`${driver}: finished jobs are bounded in number, the oldest end goes first`, async (t) => {
    const { create, finish, ids } = await prepare(t, { maxFinished: 2 })
    for (const id of ['a', 'b', 'c', 'd', 'e']) await create(id)
    await finish('c', 'failed')
    await finish('a', 'canceled')
    await finish('d')
    t.strictSame((await ids()).sort(), ['a', 'b', 'd', 'e'])
    await finish('b')
    t.strictSame((await ids()).sort(), ['b', 'd', 'e'])
  })

  t.test(`${driver}: also when many end at once`, async (t) => {
    const { records, clock, create, ids } = await prepare(t, { maxFinished: 10 })
    const all = Array.from({ length: 200 }, (_, place) => `job-${place}`)
    for (const id of all) await create(id)
    clock.now += 1000
    const ends = all.map((id, place) => {
      const finishedAt = clock.now + place
      return records.patch(id, { status: 'succeeded', finishedAt, end: endWith('1') })
    })
    clock.now += 1000
    t.ok((await Promise.all(ends)).every((done) => done))
    t.strictSame(await ids(), all.slice(-10))
  })

  t.test(`${driver}: it is told which jobs are forgotten, whatever for`, async (t) => {
    const { records, clock, create, finish } = await prepare(t, { keepMs: 100, maxFinished: 2 })
    const forgotten: string[] = []
    records.onForget = (id) => forgotten.push(id)
    for (const id of ['a', 'b', 'c', 'd']) await create(id)
    for (const id of ['a', 'b', 'c']) await finish(id)
    t.strictSame(forgotten, ['a'], 'for their number')
    clock.now += 1000
    await records.expire(clock.now)
    t.strictSame(forgotten.sort(), ['a', 'b', 'c'], 'for their time')
  })

  t.test(`${driver}: a listing has a bound in bytes, and then the newest`, async (t) => {
    const { create, ids } = await prepare(t)
    const bodies = [JSON.stringify('x'.repeat(12_000_000))]
    for (const id of ['a', 'b', 'c', 'd', 'e']) await create(id, { bodies })
    t.strictSame(await ids(), ['c', 'd', 'e'])
  })

  t.test(`${driver}: and in bytes`, async (t) => {
    const { create, finish, ids } = await prepare(t, { maxFinishedBytes: 100_000 })
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

/** A job that waits. */
export function newJob(id: string, createdAt: number, more: Partial<Job> = {}): Job {
  return {
    id,
    expert: 'places',
    expertVersion: '1.0.0',
    kind: 'image',
    bodies: ['{}'],
    isList: false,
    priority: 0,
    timeoutMs: null,
    maxAttempts: 3,
    idempotency: null,
    upload: null,
    output: null,
    retryOf: null,
    webhook: null,
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

/** An answer without a head of its own. */
export function endWith(text: string): JobEnd {
  return { ok: true, text, head: null }
}
