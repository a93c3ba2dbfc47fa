import t, { type Test } from 'tap'
import { followJob, type SentEvent } from '../support/event-stream.ts'
import { accept, becomes, ended, recordOf } from '../support/jobs.ts'
import { makeLatches } from '../support/latches.ts'
import { call, makeHome, plugin, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

/**
 * Says one line and one step of progress for each of `steps`, and stops before those of `hold` until a
 * file opens the way.
 */
const teller = plugin(
  'teller',
  `
  static config = { type: 'object', properties: { LATCH_DIR: { type: 'string' } } }

  async predictImage({ id, extra_params }, context) {
    const { steps = 0, hold = [], fail = false, letters = 0 } = extra_params ?? {}
    for (let step = 1; step <= steps; step++) {
      if (hold.includes(step)) {
        const latch = join(this.config.LATCH_DIR, id + '-' + step)
        while (!existsSync(latch)) await pause(5, null, { signal: context.signal })
      }
      context.log.info(id + ' says ' + step, { step })
      context.progress(step / steps, id + ' is at ' + step)
      // Others have their turn.
      await pause(1)
    }
    if (fail) throw new ExpertError('EXP_BAD_INPUT', id + ' cannot')
    return { result: letters > 0 ? 'x'.repeat(letters) : 'told by ' + id, error: null }
  }`,
  `import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'`
)

async function serveTeller(t: Test, env: Record<string, string> = {}) {
  const latches = await makeLatches(t)
  const files = { teller }
  const host = await startHost(t, { files, env: { LATCH_DIR: latches.dir, ...env } })
  return { ...host, latches }
}

/** What a job has said, in order: log lines and notes. */
function said(events: SentEvent[]): unknown[] {
  return events
    .filter(({ event }) => event === 'log' || event === 'progress')
    .map(({ event, data }) => (event === 'log' ? data.message : data.note))
}

/** What `said` is of a job that ran through. */
function wholeStory(id: string, steps: number, from = 1): string[] {
  const numbers = Array.from({ length: steps - from + 1 }, (_, i) => i + from)
  return numbers.flatMap((step) => [`${id} says ${step}`, `${id} is at ${step}`])
}

const typesOf = (events: SentEvent[]) => events.map(({ event }) => event)

t.test('following a job', async (t) => {
  const host = await serveTeller(t, { EXPERT_THREAD_POOL_SIZE: '2' })
  const { url, latches } = host
  const tell = (id: string, extra_params: object, more = {}) =>
    accept(url, id, { extra_params, ...more })

  t.test('status, then progress and log in order, the result, and the end', async (t) => {
    for (const base of ['', '/experts/teller']) {
      const id = `whole${base.length}`
      const jobId = await tell(id, { steps: 20, hold: [1] })
      await becomes(url, jobId, 'running')
      const stream = await followJob(t, `${url}${base}`, jobId)
      t.equal(stream.status, 200)
      t.equal(stream.type, 'text/event-stream')
      await stream.next('the first status', ({ event }) => event === 'status')
      await latches.release(`${id}-1`)
      const events = await stream.ended
      const record = await recordOf(url, jobId)
      t.match(events[0], {
        event: 'status',
        id: null,
        data: { status: 'running', attempts: 1, expert: 'teller' }
      })
      t.same(said(events), wholeStory(id, 20))
      const log = events.find(({ event }) => event === 'log')
      t.same(log?.data, { level: 'info', message: `${id} says 1`, fields: { step: 1 } })
      const progress = events.findLast(({ event }) => event === 'progress')
      t.same(progress?.data, { fraction: 1, note: `${id} is at 20` })
      t.same(typesOf(events.slice(-2)), ['status', 'result'])
      t.match(events.at(-2)?.data, { status: 'succeeded' })
      t.same(events.at(-1)?.data, record, 'the result is the record')
      const numbers = events.flatMap((event) => (event.id === null ? [] : [Number(event.id)]))
      t.equal(numbers.length, 41, 'all but the statuses have an id')
      t.ok(
        numbers.every((number, i) => i === 0 || number > (numbers[i - 1] as number)),
        'that grows'
      )
    }
  })

  t.test('of two that run side by side, each stream has its own and nothing else', async (t) => {
    const ids = await Promise.all(['left', 'right'].map((id) => tell(id, { steps: 40, hold: [1] })))
    for (const jobId of ids) await becomes(url, jobId, 'running')
    const streams = await Promise.all(ids.map((jobId) => followJob(t, url, jobId)))
    for (const stream of streams) await stream.next('a status', ({ event }) => event === 'status')
    await latches.release('left-1', 'right-1')
    const [left = [], right = []] = await Promise.all(streams.map((stream) => stream.ended))
    t.same(said(left), wholeStory('left', 40))
    t.same(said(right), wholeStory('right', 40))
    t.match(left.at(-1)?.data, { result: 'told by left' })
    t.match(right.at(-1)?.data, { result: 'told by right' })
  })

  t.test('several may follow one job, and all are told the same', async (t) => {
    const jobId = await tell('many', { steps: 10, hold: [1] })
    const streams = await Promise.all([1, 2, 3, 4, 5].map(() => followJob(t, url, jobId)))
    await becomes(url, jobId, 'running')
    await latches.release('many-1')
    for (const stream of streams) {
      const events = await stream.ended
      t.same(said(events), wholeStory('many', 10))
      t.same(events.at(-1), streams[0]?.events.at(-1))
    }
  })

  t.test('Last-Event-ID resumes a broken stream without loss or double', async (t) => {
    const jobId = await tell('broken', { steps: 45, hold: [1, 15, 30] })
    const seen: SentEvent[] = []
    const first = await followJob(t, url, jobId)
    await latches.release('broken-1')
    await first.next('step 14', ({ data }) => data.note === 'broken is at 14')
    first.drop()
    seen.push(...first.events)
    t.same(said(seen), wholeStory('broken', 14))
    await latches.release('broken-15')
    const second = await followJob(t, url, jobId, seen.at(-1)?.id as string)
    t.equal(second.events[0]?.event ?? 'status', 'status', 'it begins with how it stands')
    await second.next('step 29', ({ data }) => data.note === 'broken is at 29')
    // Half of what it had: the rest is sent again.
    second.drop()
    const half = second.events.slice(0, Math.ceil(second.events.length / 2))
    seen.push(...half)
    await latches.release('broken-30')
    const last = seen.findLast(({ id }) => id !== null)?.id as string
    const third = await followJob(t, url, jobId, last)
    seen.push(...(await third.ended))
    t.same(said(seen), wholeStory('broken', 45))
    t.match(seen.at(-1), { event: 'result', data: { result: 'told by broken' } })
  })

  t.test('who comes late is told what was said before', async (t) => {
    const jobId = await tell('early', { steps: 10, hold: [9] })
    const before = await followJob(t, url, jobId)
    await before.next('step 8', ({ data }) => data.note === 'early is at 8')
    const late = await followJob(t, url, jobId)
    await late.next('step 8', ({ data }) => data.note === 'early is at 8')
    t.same(said(late.events), wholeStory('early', 8))
    await latches.release('early-9')
    t.same(said(await late.ended), wholeStory('early', 10))
  })

  t.test('after the end it is status and result at once; after the result, 204', async (t) => {
    const jobId = await tell('over', { steps: 3 })
    await ended(url, jobId)
    const record = await recordOf(url, jobId)
    const stream = await followJob(t, url, jobId)
    const events = await stream.ended
    t.same(said(events), wholeStory('over', 3), 'what it said is still known')
    const others = events.filter(({ event }) => event !== 'log' && event !== 'progress')
    t.same(typesOf(others), ['status', 'result'])
    t.match(others[0]?.data, { status: 'succeeded' })
    t.same(others[1]?.data, record)
    const last = events.at(-1)?.id as string
    const again = await call(`${url}/jobs/${jobId}/events`, 'GET', undefined, {
      'last-event-id': last
    })
    t.equal(again.status, 204)
    t.equal(again.text, '')
    const lastLog = events.findLast(({ event }) => event === 'log')?.id as string
    const resumed = await (await followJob(t, url, jobId, lastLog)).ended
    t.same(typesOf(resumed), ['progress', 'status', 'result'], 'only what it had not seen')
    t.equal(resumed.at(-1)?.id, last, 'the result has the same id whenever it is sent')
  })

  t.test('a Last-Event-ID that is none is as good as none', async (t) => {
    const jobId = await tell('odd', { steps: 2 })
    await ended(url, jobId)
    for (const odd of ['x', '-1', '1.5', 'Infinity', '']) {
      const stream = await followJob(t, url, jobId, odd)
      t.equal(stream.status, 200, JSON.stringify(odd))
      const events = await stream.ended
      t.same(said(events), wholeStory('odd', 2))
      t.equal(events.at(-1)?.event, 'result')
    }
  })

  t.test('a job that fails says why, and ends its stream', async (t) => {
    const jobId = await tell('failing', { steps: 2, hold: [1], fail: true })
    const stream = await followJob(t, url, jobId)
    await latches.release('failing-1')
    const events = await stream.ended
    t.same(said(events), wholeStory('failing', 2))
    t.match(events.at(-2), { event: 'status', data: { status: 'failed' } })
    t.match(events.at(-1), {
      event: 'result',
      data: { status: 'failed', result: null, error: 'failing cannot', code: 'EXP_BAD_INPUT' }
    })
    t.same(events.at(-1)?.data, await recordOf(url, jobId))
  })

  t.test('a job that is canceled says so, and ends its stream', async (t) => {
    const jobId = await tell('stopped', { steps: 2, hold: [2] })
    const stream = await followJob(t, url, jobId)
    await stream.next('step 1', ({ data }) => data.note === 'stopped is at 1')
    await call(`${url}/jobs/${jobId}/cancel`, 'POST')
    const events = await stream.ended
    t.same(said(events), wholeStory('stopped', 1))
    t.match(events.at(-2), { event: 'status', data: { status: 'canceled' } })
    t.match(events.at(-1), { event: 'result', data: { status: 'canceled', code: 'HOST_CANCELED' } })
    t.same(events.at(-1)?.data, await recordOf(url, jobId))
    const later = await (await followJob(t, url, jobId)).ended
    t.same(later.at(-1), events.at(-1))
  })

  t.test('a job that waits says that it does, then that it runs', async (t) => {
    const blocks = await Promise.all(
      ['b1', 'b2'].map((id) => tell(id, { steps: 1, hold: [1] }, { priority: 1 }))
    )
    for (const block of blocks) await becomes(url, block, 'running')
    const jobId = await tell('patient', { steps: 1 })
    const stream = await followJob(t, url, jobId)
    await stream.next('that it waits', ({ data }) => data.status === 'queued')
    t.equal(stream.events.length, 1)
    await latches.release('b1-1')
    const events = await stream.ended
    const statuses = events.filter(({ event }) => event === 'status')
    t.same(
      statuses.map(({ data }) => data.status),
      ['queued', 'running', 'succeeded']
    )
    t.same(said(events), wholeStory('patient', 1))
    await latches.release('b2-1')
    for (const block of blocks) await ended(url, block)
  })

  t.test('one that is canceled while it waits is told to those who follow', async (t) => {
    const blocks = await Promise.all(['b3', 'b4'].map((id) => tell(id, { steps: 1, hold: [1] })))
    for (const block of blocks) await becomes(url, block, 'running')
    const jobId = await tell('never', { steps: 1 })
    const stream = await followJob(t, url, jobId)
    await stream.next('that it waits', ({ data }) => data.status === 'queued')
    await call(`${url}/jobs/${jobId}`, 'DELETE')
    const events = await stream.ended
    t.same(typesOf(events), ['status', 'status', 'result'])
    t.match(events.at(-1)?.data, { status: 'canceled', attempts: 0, started_at: null })
    await latches.release('b3-1', 'b4-1')
    for (const block of blocks) await ended(url, block)
  })

  t.test('a list says how many of its items are done', async (t) => {
    const images = ['1', '2', '3', '4'].map((n) => ({ image_id: `item-${n}`, url: 'u' }))
    const extra_params = { steps: 1, hold: [1] }
    const body = { images, extra_params, is_async: true }
    const { jobId } = (await call(`${url}/predict/images`, 'POST', body)).json
    const stream = await followJob(t, url, jobId)
    for (const [i, n] of ['1', '2', '3', '4'].entries()) {
      await latches.release(`item-${n}-1`)
      await stream.next(`${n} of 4`, ({ event, data }) => {
        return event === 'progress' && data.fraction === (i + 1) / 4
      })
    }
    const events = await stream.ended
    const progress = events.filter(({ event }) => event === 'progress')
    t.same(
      progress.map(({ data }) => data.fraction),
      [0.25, 0.5, 0.75, 1],
      'of its items, not of the steps of one'
    )
    const result = events.at(-1)?.data as { results: Array<{ result: string }> }
    t.same(
      result.results.map((one) => one.result),
      images.map(({ image_id }) => `told by ${image_id}`)
    )
  })

  t.test('a result of more than 256 KiB is not sent: the event says where it is', async (t) => {
    for (const base of ['', '/experts/teller']) {
      const long = await tell('long', { letters: 256 * 1024 + 1 })
      await ended(url, long)
      const events = await (await followJob(t, `${url}${base}`, long)).ended
      const { event, data } = events.at(-1) as SentEvent
      t.equal(event, 'result')
      t.notOk('result' in data)
      t.match(data, { status: 'succeeded', location: `${base}/jobs/${long}/result` })
      const answer = await call(`${url}${data.location}`, 'GET')
      t.equal(answer.json.result.length, 256 * 1024 + 1)
    }
    const short = await tell('short', { letters: 255 * 1024 })
    await ended(url, short)
    const events = await (await followJob(t, url, short)).ended
    t.equal((events.at(-1) as SentEvent).data.result, 'x'.repeat(255 * 1024))
  })

  t.test('a call that somebody waits for can be followed, too', async (t) => {
    const extra_params = { steps: 4, hold: [1] }
    const body = { image_id: 'waited', url: 'u', extra_params }
    const answer = call(`${url}/predict/image`, 'POST', body)
    const { jobId } = await until('it runs', async () => {
      return (await call(`${url}/jobs?status=running`, 'GET')).json.jobs[0]
    })
    const stream = await followJob(t, url, jobId)
    await stream.next('that it runs', ({ data }) => data.status === 'running')
    await latches.release('waited-1')
    const events = await stream.ended
    t.same(said(events), wholeStory('waited', 4))
    t.same((await answer).json, { result: 'told by waited', error: null })
    t.match(events.at(-1)?.data, { result: 'told by waited' })
  })

  t.test('there is nothing to follow of a job that is not known', async (t) => {
    for (const id of ['nope', '00000000-0000-4000-8000-000000000000', '%00', '__proto__']) {
      const { status, json } = await call(`${url}/jobs/${id}/events`, 'GET')
      t.equal(status, 404, id)
      t.equal(json.code, 'HOST_JOB_UNKNOWN')
    }
  })
})

t.test('a host that stops ends the streams of what still waits', async (t) => {
  const { url, host, latches } = await serveTeller(t)
  const block = await accept(url, 'block', { extra_params: { steps: 1, hold: [1] } })
  await becomes(url, block, 'running')
  const waits = await accept(url, 'waits', {})
  const stream = await followJob(t, url, waits)
  await stream.next('that it waits', ({ data }) => data.status === 'queued')
  const stopped = host.stop()
  await latches.release('block-1')
  const events = await stream.ended
  t.same(typesOf(events), ['status'], 'without an end of the job')
  await stopped
})

t.test('a finished job can be followed and read when the host comes back', async (t) => {
  const latches = await makeLatches(t)
  const env = { LATCH_DIR: latches.dir }
  const home = await makeHome(t, { files: { teller } })
  const before = await startHost(t, { home, env })
  const ids = [
    await accept(before.url, 'kept', { extra_params: { steps: 3 } }),
    await accept(before.url, 'lost', { extra_params: { steps: 1, fail: true } })
  ]
  const blocked = await accept(before.url, 'gone', { extra_params: { steps: 1, hold: [1] } })
  for (const id of ids) await ended(before.url, id)
  await becomes(before.url, blocked, 'running')
  await call(`${before.url}/jobs/${blocked}/cancel`, 'POST')
  ids.push(blocked)
  const seen = []
  for (const id of ids) {
    const events = await (await followJob(t, before.url, id)).ended
    const result = await call(`${before.url}/jobs/${id}/result`, 'GET')
    const { request_id: _, ...told } = result.json
    seen.push({ record: await recordOf(before.url, id), last: events.at(-1), told })
  }
  await before.host.stop()
  const { url } = await startHost(t, { home, env })
  for (const [i, id] of ids.entries()) {
    const { record, last, told } = seen[i] as (typeof seen)[number]
    t.same(await recordOf(url, id), record)
    const events = await (await followJob(t, url, id)).ended
    t.same(typesOf(events), ['status', 'result'])
    t.same(events.at(-1), last, 'the same event under the same id')
    const headers = { 'last-event-id': last?.id as string }
    const { status } = await call(`${url}/jobs/${id}/events`, 'GET', undefined, headers)
    t.equal(status, 204, 'who has seen it before need not see it again')
    const { request_id: _, ...now } = (await call(`${url}/jobs/${id}/result`, 'GET')).json
    t.same(now, told)
  }
})
