import t, { type Test } from 'tap'
import type { Job, WebhookEvent } from '../jobs/job.ts'
import type { JobRecords } from '../jobs/job-records.ts'
import type { WebhookDelivery, WebhookOutbox } from '../jobs/webhook-outbox.ts'
import { MOST_PARAMS_BYTES, MOST_RESULT_BYTES } from '../jobs/webhook-outbox.ts'
import { endWith, newJob } from './job-records-contract.ts'

const ALL: WebhookEvent[] = ['start', 'progress', 'completed']

/** What every driver of `WebhookOutbox` promises, with the records that fill it. `make` gives an empty pair. */
export function webhookOutboxContract(
  driver: string,
  make: () => Promise<{
    records: JobRecords
    outbox: WebhookOutbox
    close: () => Promise<void>
  }>
): void {
  const prepare = async (t: Test) => {
    const { records, outbox, close } = await make()
    t.teardown(close)
    const create = async (id: string, more: { origin?: string; events?: WebhookEvent[] } = {}) => {
      const { origin = 'a.example', events = ALL } = more
      const webhook = { url: `https://${origin}/told`, origin, events }
      await records.create(newJob(id, Date.now(), { webhook }))
    }
    const begin = (id: string, attempts = 1, token = 0) =>
      records.patch(id, { status: 'running', startedAt: 5.5, attempts }, token)
    const progress = (id: string, fraction: number) =>
      records.patch(id, { progress: { fraction, note: null } })
    const finish = (id: string, text = '{"result":1}', token = 0) =>
      records.patch(id, { status: 'succeeded', finishedAt: Date.now(), end: endWith(text) }, token)
    const claim = (more: Partial<Parameters<WebhookOutbox['claim']>[0]> = {}) =>
      outbox.claim({
        now: Date.now() + 1000,
        limit: 100,
        busyJobs: [],
        busyOrigins: [],
        roomOf: () => 100,
        ...more
      })
    /** Delivers all that can be, one after the other; gives them in order. */
    const drain = async () => {
      const all: WebhookDelivery[] = []
      for (;;) {
        const [next] = await claim()
        if (next === undefined) return all
        all.push(next)
        await outbox.delivered(next)
      }
    }
    return { records, outbox, create, begin, progress, finish, claim, drain }
  }
  const only = (all: WebhookDelivery[]) => {
    if (all.length !== 1) throw new Error(`wanted one, got ${all.length}`)
    return all[0] as WebhookDelivery
  }
  const shown = (all: WebhookDelivery[]) => all.map(({ jobId, event }) => `${jobId} ${event}`)

  t.test(`${driver}: a job tells its start, its progress and its end, in order`, async (t) => {
    const { outbox, create, begin, progress, finish, claim, drain } = await prepare(t)
    let notices = 0
    outbox.onNotice = () => {
      notices += 1
    }
    await create('a')
    t.strictSame(await claim(), [], 'a job that waits has nothing to tell')
    await begin('a')
    await progress('a', 0.25)
    await progress('a', 0.5)
    await finish('a')
    t.ok(notices >= 4, 'each is announced')
    const told = await drain()
    t.strictSame(shown(told), ['a start', 'a progress', 'a completed'])
    t.equal(new Set(told.map(({ id }) => id)).size, 3)
    const [start, half, end] = told.map(({ job }) => job) as [Job, Job, Job]
    t.match(start, { id: 'a', status: 'running', startedAt: 5.5, finishedAt: null, end: null })
    t.strictSame(start.bodies, ['{}'])
    t.strictSame(half.progress, { fraction: 0.5, note: null }, 'the newest took the place')
    t.match(end, {
      status: 'succeeded',
      attempts: 1,
      expert: 'places',
      end: endWith('{"result":1}')
    })
    t.strictSame(await outbox.waiting(), { count: 0, bytes: 0 })
  })

  t.test(
    `${driver}: what is not asked for is not told, and no webhook tells nothing`,
    async (t) => {
      const { records, create, begin, progress, finish, drain } = await prepare(t)
      await create('a', { events: ['completed'] })
      await create('b', { events: ['progress'] })
      await records.create(newJob('c', Date.now()))
      for (const id of ['a', 'b', 'c']) {
        await begin(id)
        await progress(id, 0.5)
        await finish(id)
      }
      t.strictSame(shown(await drain()).sort(), ['a completed', 'b progress'])
    }
  )

  t.test(`${driver}: start and end in one write are both told`, async (t) => {
    const { records, create, drain } = await prepare(t)
    await create('a')
    const facts = { status: 'succeeded', startedAt: 5.5, attempts: 1, finishedAt: 7 } as const
    await records.patch('a', { ...facts, progress: { fraction: 1, note: null }, end: endWith('1') })
    const told = await drain()
    t.strictSame(shown(told), ['a start', 'a completed'])
    t.match(told[0]?.job, { status: 'running', finishedAt: null, end: null })
  })

  t.test(
    `${driver}: one that never ran tells its end alone; a second run is no start`,
    async (t) => {
      const { records, create, begin, finish, drain } = await prepare(t)
      await create('a')
      const canceled = { ok: false, code: 'HOST_CANCELED', message: 'm', statusCode: 499 } as const
      const end = { ...canceled, exposed: true }
      await records.patch('a', { status: 'canceled', finishedAt: 7, end })
      const told = await drain()
      t.strictSame(shown(told), ['a completed'])
      t.strictSame(told[0]?.job.end, end)
      await create('b')
      await begin('b')
      await records.patch('b', { status: 'queued', startedAt: null, attempts: 0 })
      await begin('b')
      await finish('b')
      t.strictSame(shown(await drain()), ['b start', 'b completed'])
    }
  )

  t.test(`${driver}: an end that is refused is not told`, async (t) => {
    const { create, begin, finish, drain } = await prepare(t)
    await create('a')
    await begin('a', 1, 7)
    await drain()
    t.equal(await finish('a', '1', 6), false, 'of an earlier claim')
    t.strictSame(await drain(), [])
    t.equal(await finish('a', '2', 7), true)
    t.equal(await finish('a', '3', 8), false, 'an end is final')
    t.match(await drain(), [{ event: 'completed', job: { end: endWith('2') } }])
  })

  t.test(`${driver}: the next of a job waits until the one before is gone`, async (t) => {
    const { outbox, create, begin, finish, claim } = await prepare(t)
    await create('a')
    await begin('a')
    await finish('a')
    const [start] = await claim()
    t.equal(start?.event, 'start')
    t.strictSame(shown(await claim()), ['a start'], 'a claim is no delivery')
    t.strictSame(await claim({ busyJobs: ['a'] }), [])
    const later = Date.now() + 60_000
    await outbox.tryLater(start as WebhookDelivery, later, 'it answered 500')
    t.strictSame(await claim(), [])
    t.equal(await outbox.nextAt(Date.now() + 1000), later)
    const [again] = await claim({ now: later })
    t.match(again, { id: start?.id, attempts: 1, error: 'it answered 500', event: 'start' })
    await outbox.giveUp(again as WebhookDelivery, Date.now(), 'it answered 410')
    t.strictSame(shown(await claim()), ['a completed'])
    t.match(await outbox.list({ state: 'failed', limit: 10 }), [
      { id: start?.id, state: 'failed', attempts: 2, error: 'it answered 410', nextAt: null }
    ])
  })

  t.test(
    `${driver}: a progress that is replaced on its way is not told to be delivered`,
    async (t) => {
      const { outbox, create, begin, progress, claim, drain } = await prepare(t)
      await create('a', { events: ['progress'] })
      await begin('a')
      await progress('a', 0.1)
      const [first] = await claim()
      await progress('a', 0.2)
      await outbox.delivered(first as WebhookDelivery)
      const told = await drain()
      t.match(told, [{ event: 'progress', job: { progress: { fraction: 0.2 } } }])
      t.not(told[0]?.id, first?.id)
      await progress('a', 0.3)
      const [third] = await claim()
      const later = Date.now() + 60_000
      await outbox.tryLater(third as WebhookDelivery, later, 'no')
      await progress('a', 0.4)
      t.strictSame(await claim(), [], 'a newer one takes over the wait')
      const [fourth] = await claim({ now: later })
      t.match(fourth, { attempts: 1, job: { progress: { fraction: 0.4 } } })
      await progress('a', 0.5)
      await outbox.tryLater(fourth as WebhookDelivery, later + 60_000, 'no again')
      t.strictSame(await claim({ now: later + 1000 }), [], 'also one that came while it was tried')
      const [fifth] = await claim({ now: later + 60_000 })
      t.match(fifth, { attempts: 2, error: 'no again', job: { progress: { fraction: 0.5 } } })
      await progress('a', 0.6)
      await outbox.giveUp(fifth as WebhookDelivery, Date.now(), 'it answered 410')
      t.strictSame(await outbox.waiting(), { count: 0, bytes: 0 })
      const given = await outbox.list({ state: 'failed', limit: 9 })
      t.match(given, [{ event: 'progress', attempts: 3, error: 'it answered 410' }])
    }
  )

  t.test(`${driver}: no more of an origin than it has room for, the others past it`, async (t) => {
    const { create, begin, claim } = await prepare(t)
    for (let n = 0; n < 40; n++) await create(`slow${n}`, { origin: 'slow.example' })
    for (let n = 0; n < 5; n++) await create(`fast${n}`, { origin: 'fast.example' })
    for (let n = 0; n < 40; n++) await begin(`slow${n}`)
    for (let n = 0; n < 5; n++) await begin(`fast${n}`)
    const roomOf = (origin: string) => (origin === 'slow.example' ? 3 : 4)
    const count = (all: WebhookDelivery[], origin: string) =>
      all.filter((one) => one.origin === origin).length
    const some = await claim({ roomOf })
    t.strictSame([count(some, 'slow.example'), count(some, 'fast.example')], [3, 4])
    const others = await claim({ roomOf, busyOrigins: ['slow.example'] })
    t.strictSame([count(others, 'slow.example'), count(others, 'fast.example')], [0, 4])
    t.equal((await claim({ limit: 2 })).length, 2)
    t.equal(shown(await claim({ limit: 1 }))[0], 'slow0 start', 'the longest due first')
  })

  t.test(`${driver}: what is large is left out`, async (t) => {
    const { records, outbox, create, begin, finish, drain } = await prepare(t)
    const webhook = { url: 'https://a.example/', origin: 'a.example', events: ALL }
    const body = JSON.stringify('x'.repeat(MOST_PARAMS_BYTES))
    await records.create(newJob('a', Date.now(), { webhook, bodies: [body] }))
    await begin('a')
    await finish('a', JSON.stringify('ö'.repeat(MOST_RESULT_BYTES / 2)))
    t.ok((await outbox.waiting()).bytes < 10_000)
    const [start, end] = await drain()
    t.match(start, { leftOut: 'params', job: { bodies: [] } })
    t.match(end, { leftOut: 'result', job: { end: { ok: true, text: 'null' } } })
    await create('b')
    await begin('b')
    const text = JSON.stringify('x'.repeat(MOST_RESULT_BYTES - 2))
    await finish('b', text)
    t.ok((await outbox.waiting()).bytes > MOST_RESULT_BYTES)
    t.strictSame(
      (await drain()).map(({ leftOut }) => leftOut),
      [null, null]
    )
  })

  t.test(`${driver}: it is told also when its job is forgotten`, async (t) => {
    const { records, create, begin, drain } = await prepare(t)
    await create('a')
    await begin('a')
    const long = { status: 'succeeded', finishedAt: 6, end: endWith('1') } as const
    await records.patch('a', long)
    await records.expire(Date.now())
    t.equal(await records.get('a'), undefined)
    t.strictSame(shown(await drain()), ['a start', 'a completed'])
  })

  t.test(`${driver}: what is tried again is told in the order in which it happened`, async (t) => {
    const { outbox, create, begin, finish, claim, drain } = await prepare(t)
    const giveUpBoth = async (id: string) => {
      await create(id, { events: ['start', 'completed'] })
      await begin(id)
      await finish(id)
      const given: WebhookDelivery[] = []
      for (let n = 0; n < 2; n++) {
        const [next] = await claim()
        given.push(next as WebhookDelivery)
        await outbox.giveUp(next as WebhookDelivery, Date.now(), 'why')
      }
      t.strictSame(shown(given), [`${id} start`, `${id} completed`])
      return given as [WebhookDelivery, WebhookDelivery]
    }
    const retry = (one: WebhookDelivery) => outbox.retry(one.id, Date.now())
    const later = Date.now() + 60_000

    const [startOfA, endOfA] = await giveUpBoth('a')
    await retry(startOfA)
    await outbox.tryLater(only(await claim()), later, 'no')
    await retry(endOfA)
    t.strictSame(await claim(), [], 'the end waits as long as the start has to')
    t.strictSame(shown(await claim({ now: later + 1000 })), ['a start'])
    await outbox.delivered(startOfA)
    t.strictSame(shown(await drain()), ['a completed'])

    const [startOfB, endOfB] = await giveUpBoth('b')
    await retry(endOfB)
    await retry(startOfB)
    t.strictSame(shown(await drain()), ['b start', 'b completed'])

    const [startOfC, endOfC] = await giveUpBoth('c')
    await retry(endOfC)
    const underWay = only(await claim())
    await retry(startOfC)
    await outbox.tryLater(underWay, Date.now(), 'no')
    t.strictSame(shown(await claim()), ['c start'], 'the older one, which came back meanwhile')
    t.strictSame(shown(await drain()), ['c start', 'c completed'])
    t.strictSame(await outbox.waiting(), { count: 0, bytes: 0 })
  })

  t.test(`${driver}: listings come in pages; what was given up can be tried again`, async (t) => {
    const { outbox, create, finish, claim } = await prepare(t)
    for (const id of ['a', 'b', 'c']) {
      await create(id, { events: ['completed'] })
      await finish(id)
    }
    const ids = async (state: 'waiting' | 'failed', after?: string, limit = 2) => {
      const query = { state, limit, ...(after !== undefined && { after }) }
      return (await outbox.list(query)).map(({ id }) => id)
    }
    const first = await ids('waiting')
    const [third] = await ids('waiting', first[1])
    t.equal(new Set([...first, third]).size, 3)
    t.strictSame(await ids('waiting', third), [])
    t.strictSame(await ids('waiting', 'msg_unknown'), [])
    const [one] = await claim({ limit: 1 })
    await outbox.giveUp(one as WebhookDelivery, 5000, 'why')
    t.strictSame(await ids('failed'), [one?.id])
    t.equal((await outbox.waiting()).count, 2)
    t.equal(await outbox.retry('msg_unknown\0', Date.now()), false)
    t.equal(await outbox.get('msg_unknown\0'), undefined)
    t.equal(await outbox.retry(one?.id as string, Date.now()), true)
    t.match(await outbox.get(one?.id as string), { state: 'waiting', attempts: 0 })
    t.equal((await claim()).length, 3)
    await outbox.giveUp(one as WebhookDelivery, 5000, 'why')
    await outbox.forgetFailed(4999)
    t.equal((await ids('failed')).length, 1)
    await outbox.forgetFailed(5000)
    t.strictSame(await ids('failed'), [])
    t.equal(await outbox.retry(one?.id as string, Date.now()), false)
  })
}
