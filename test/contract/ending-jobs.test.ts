import t, { type Test } from 'tap'
import { followJob } from '../support/event-stream.ts'
import { expertOf, pidOf, untilTrue } from '../support/experts.ts'
import { accept, becomes, ended, type JobRecord, recordOf } from '../support/jobs.ts'
import { type Latches, makeLatches } from '../support/latches.ts'
import { call, makeHome, plugin, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

/** Runs that take no notice of their signal: those of `deaf…` ids never end, the others wait for a file. */
const stubborn = plugin(
  'stubborn',
  `
  static config = { type: 'object', properties: { LATCH_DIR: { type: 'string' } } }

  async predictImage({ id, extra_params }, { jobId }) {
    const folder = this.config.LATCH_DIR
    appendFileSync(join(folder, 'events.ndjson'), JSON.stringify({ event: 'start', id, jobId }) + '\\n')
    if (extra_params?.ms !== undefined) await pause(extra_params.ms)
    else if (id.startsWith('deaf')) await new Promise(() => {})
    else while (!existsSync(join(folder, id))) await pause(5)
    return { result: 'released ' + id, error: null }
  }`,
  `import { appendFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'`
)

async function holdRuns(t: Test, env: Record<string, string> = {}) {
  const latches = await makeLatches(t)
  const host = await startHost(t, {
    plugins: ['held-runs'],
    env: { LATCH_DIR: latches.dir, ...env }
  })
  return { ...host, latches }
}

async function hasBegun(latches: Latches, id: string): Promise<boolean> {
  return (await latches.events()).some((line) => line.event === 'start' && line.id === id)
}

/** The two ways to end a job. */
const waysToEnd = {
  cancel: (url: string, id: string) => call(`${url}/jobs/${id}/cancel`, 'POST'),
  DELETE: (url: string, id: string) => call(`${url}/jobs/${id}`, 'DELETE')
}

for (const [way, end] of Object.entries(waysToEnd)) {
  t.test(`${way}: jobs that wait, and runs that listen to their signal`, async (t) => {
    const { url, latches } = await holdRuns(t)
    const pid = await pidOf(url, 'held-runs')
    const base = way === 'cancel' ? url : `${url}/experts/held-runs`

    t.test('one that waits ends at once and never runs; the others run', async (t) => {
      const block = await accept(url, 'block')
      await latches.started('block')
      const before = await accept(url, 'before')
      const waits = await accept(url, 'waits')
      const after = await accept(url, 'after')
      const answer = await end(base, waits)
      t.equal(answer.status, 200)
      t.same(Object.keys(answer.json), [waits])
      t.match(answer.json[waits], {
        state: 'finish',
        result: null,
        status: 'canceled',
        code: 'HOST_CANCELED',
        attempts: 0,
        started_at: null,
        finished_at: /Z$/
      })
      t.same(await recordOf(url, waits), answer.json[waits])
      await latches.release('block', 'before', 'waits', 'after')
      for (const id of [block, before, after]) t.equal((await ended(url, id)).status, 'succeeded')
      t.notOk(await hasBegun(latches, 'waits'))
      t.same(await recordOf(url, waits), answer.json[waits], 'and it stays as it ended')
    })

    t.test('one that runs ends by its signal, in a process that goes on', async (t) => {
      const runs = await accept(url, 'runs')
      const next = await accept(url, 'next')
      await latches.started('runs')
      const answer = await end(base, runs)
      t.equal(answer.status, 200)
      t.match(answer.json[runs], { status: 'canceled', code: 'HOST_CANCELED', attempts: 1 })
      await until('the run has ended', async () =>
        (await latches.events()).find((line) => line.event === 'end' && line.id === 'runs')
      )
      await latches.started('next')
      await latches.release('next')
      t.equal((await ended(url, next)).status, 'succeeded')
      t.equal(await pidOf(url, 'held-runs'), pid, 'the same process')
      t.same(await recordOf(url, runs), answer.json[runs])
    })

    t.test('a list ends as a whole: what is not begun never runs', async (t) => {
      const images = ['l1', 'l2', 'l3'].map((image_id) => ({ image_id, url: 'u' }))
      const body = { images, is_async: true }
      const { jobId } = (await call(`${url}/predict/images`, 'POST', body)).json
      await latches.release('l1', 'l3')
      await latches.started('l2')
      t.match((await end(base, jobId)).json[jobId], { status: 'canceled' })
      const last = await accept(url, 'l1')
      t.equal((await ended(url, last)).status, 'succeeded')
      t.notOk(await hasBegun(latches, 'l3'))
      t.match(await recordOf(url, jobId), { status: 'canceled', result: null })
    })

    t.test('one that has ended cannot be ended again', async (t) => {
      const succeeded = await accept(url, 'before')
      const failed = await accept(url, 'endless', { timeout_ms: 50 })
      const canceled = await accept(url, 'endless')
      for (const id of [succeeded, failed]) await ended(url, id)
      await end(base, canceled)
      await call(`${url}/predict/image`, 'POST', { image_id: 'before', url: 'u' })
      const sync = (await call(`${url}/jobs`, 'GET')).json.jobs.at(-1).jobId
      for (const id of [succeeded, failed, canceled, sync]) {
        const record = await recordOf(url, id)
        for (const again of Object.values(waysToEnd)) {
          const { status, json } = await again(base, id)
          t.equal(status, 409, record.status)
          t.match(json, { code: 'HOST_JOB_ENDED', detail: record.status })
        }
        t.same(await recordOf(url, id), record)
      }
    })
  })
}

t.test(
  'a run that does not listen is killed, as often as need be, and nobody suffers',
  async (t) => {
    const latches = await makeLatches(t)
    const { url } = await startHost(t, {
      files: { stubborn },
      config: { experts: { stubborn: { instances: 3 } } },
      env: { LATCH_DIR: latches.dir }
    })
    await latches.release('quick')
    const pids = async () => {
      const { instances } = await expertOf(url, 'stubborn')
      return instances.map(({ pid }) => pid)
    }
    const before = await pids()
    t.equal(before.length, 3)
    // One more than the five failures that make a crash loop, and nothing succeeds in between.
    const names = [1, 2, 3, 4, 5, 6].map((i) => `deaf-${i}`)
    const deaf: string[] = []
    for (const name of names) deaf.push(await accept(url, name, { priority: 1 }))
    const queued = await Promise.all(['quick', 'quick', 'quick'].map((name) => accept(url, name)))
    for (const [i, id] of deaf.entries()) {
      await latches.started(names[i] as string)
      const answer = await (i % 2 === 0 ? waysToEnd.cancel : waysToEnd.DELETE)(url, id)
      t.match(answer.json[id], { status: 'canceled', attempts: 1 }, 'canceled at once')
    }
    for (const id of queued) {
      t.match(await ended(url, id), { status: 'succeeded', attempts: 1 }, 'what waited is run')
    }
    for (const id of deaf) t.match(await recordOf(url, id), { status: 'canceled', attempts: 1 })
    await untilTrue('three new processes', async () => {
      const now = await pids()
      return now.length === 3 && now.every((pid) => !before.includes(pid))
    })
    t.match(await expertOf(url, 'stubborn'), { status: 'ACTIVE', reason: null })
    t.equal((await ended(url, await accept(url, 'quick'))).status, 'succeeded')
  }
)

t.test('an answer that comes after the cancel changes nothing', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, { files: { stubborn }, env: { LATCH_DIR: latches.dir } })
  const pid = await pidOf(url, 'stubborn')
  const id = await accept(url, 'late')
  await latches.started('late')
  const next = await accept(url, 'late')
  const canceled = (await waysToEnd.cancel(url, id)).json[id]
  t.match(canceled, { status: 'canceled' })
  await latches.release('late')
  t.equal((await ended(url, next)).status, 'succeeded', 'what waited behind it')
  t.equal(await pidOf(url, 'stubborn'), pid, 'it has answered before it was killed')
  t.same(await recordOf(url, id), canceled)
  const result = await call(`${url}/jobs/${id}/result`, 'GET')
  t.equal(result.status, 409)
})

t.test('a call that somebody waits for', async (t) => {
  const { url, latches } = await holdRuns(t)
  const find = (status: string, id: string): Promise<string> =>
    until(`${id} is ${status}`, async () => {
      const { jobs } = (await call(`${url}/jobs?status=${status}`, 'GET')).json
      return jobs.find((job: JobRecord) => job.params.id === id)?.jobId
    })
  const image = (image_id: string, headers = {}) =>
    call(`${url}/predict/image`, 'POST', { image_id, url: 'u' }, headers)

  t.test('can be canceled by its id: its caller gets 499', async (t) => {
    const running = image('running')
    const runningId = await find('running', 'running')
    const queued = image('queued')
    const queuedId = await find('queued', 'queued')
    for (const [id, answer] of [
      [queuedId, queued],
      [runningId, running]
    ] as const) {
      const canceled = await call(`${url}/jobs/${id}/cancel`, 'POST')
      t.equal(canceled.status, 200)
      t.match(canceled.json[id], { status: 'canceled' })
      const { status, json } = await answer
      t.equal(status, 499)
      t.match(json, { code: 'HOST_CANCELED', request_id: String })
      t.same(await recordOf(url, id), canceled.json[id])
    }
    t.notOk(await hasBegun(latches, 'queued'))
  })

  t.test('also one of an accepted job, by Prefer: wait or by its key', async (t) => {
    for (const [name, value] of [
      ['prefer', 'wait=30'],
      ['idempotency-key', 'ended']
    ] as const) {
      const answer = image(name, { [name]: value })
      const id = await find('running', name)
      t.equal((await call(`${url}/jobs/${id}`, 'DELETE')).status, 200)
      const { status, json } = await answer
      t.equal(status, 499, name)
      t.equal(json.code, 'HOST_CANCELED')
    }
  })
})

t.test('results and retries', async (t) => {
  const { url, latches } = await holdRuns(t)
  const retry = (id: string, base = '') => call(`${url}${base}/jobs/${id}/retry`, 'POST')
  const result = (id: string) => call(`${url}/jobs/${id}/result`, 'GET')
  await latches.release('free')

  t.test('there is no result of a job that has not ended, or not well', async (t) => {
    const running = await accept(url, 'running')
    await latches.started('running')
    const queued = await accept(url, 'queued')
    for (const [id, status] of [
      [running, 'running'],
      [queued, 'queued']
    ] as const) {
      const answer = await result(id)
      t.equal(answer.status, 409, status)
      t.match(answer.json, { code: 'HOST_JOB_UNFINISHED', detail: status })
    }
    const failed = await accept(url, 'endless', { timeout_ms: 50, priority: 1 })
    for (const id of [running, queued]) await call(`${url}/jobs/${id}/cancel`, 'POST')
    await ended(url, failed)
    for (const id of [failed, running, queued]) {
      const answer = await result(id)
      t.equal(answer.status, 409)
      const { error } = await recordOf(url, id)
      t.match(answer.json, { code: 'HOST_JOB_FAILED', detail: error }, 'it says why')
    }
  })

  t.test('retry makes a new job with the same parameters', async (t) => {
    const bodies: Array<[string, object]> = [
      ['/predict', { movie_id: 'again', local: true, scene_element: 3, extra_params: { a: 1 } }],
      ['/predict/image', { image_id: 'again', url: 'u', output: 'db', extra_params: { b: [2] } }],
      [
        '/predict/images',
        { images: ['again', 'free'].map((image_id) => ({ image_id, url: 'u' })) }
      ],
      ['/hold-job', { id: 'again' }]
    ]
    for (const [i, [path, body]] of bodies.entries()) {
      const base = i % 2 === 0 ? '' : '/experts/held-runs'
      const block = await accept(url, `block-${i}`)
      await latches.started(`block-${i}`)
      const headers = { prefer: 'respond-async' }
      const asked = { ...body, priority: 7, attempts: 2 }
      const id = (await call(`${url}${path}`, 'POST', asked, headers)).json.jobId
      const { params } = await recordOf(url, id)
      await call(`${url}/jobs/${id}/cancel`, 'POST')
      const original = await recordOf(url, id)
      const answer = await retry(id, base)
      t.equal(answer.status, 202, path)
      t.same(Object.keys(answer.json), ['jobId'])
      const again = answer.json.jobId
      t.not(again, id)
      t.equal(answer.headers.get('location'), `${base}/jobs/${again}`)
      t.match(await recordOf(url, again), { status: 'queued', retry_of: id, attempts: 0 })
      t.same((await recordOf(url, again)).params, params)
      // Its priority, too: it passes by what came before it.
      const other = await accept(url, 'free', { priority: 6 })
      await latches.release(`block-${i}`, 'again')
      await ended(url, block)
      const record = await ended(url, again)
      t.match(record, { status: 'succeeded', retry_of: id })
      t.match((await result(again)).text, /released again/)
      const { started_at } = await ended(url, other)
      t.ok(started_at >= record.started_at)
      t.same(await recordOf(url, id), original, 'the first stays as it was')
    }
  })

  t.test('one that failed can be retried, as often as wanted', async (t) => {
    const id = await accept(url, 'flaky', { timeout_ms: 100 })
    t.match(await ended(url, id), { status: 'failed', code: 'HOST_RUN_TIMEOUT' })
    const second = (await retry(id)).json.jobId
    t.match(
      await ended(url, second),
      { status: 'failed', code: 'HOST_RUN_TIMEOUT', retry_of: id },
      'with the same timeout_ms'
    )
    await latches.release('flaky')
    for (const failed of [id, id, second]) {
      const again = (await retry(failed)).json.jobId
      t.match(await ended(url, again), { result: 'released flaky', retry_of: failed })
    }
    t.equal((await latches.events()).filter((line) => line.id === 'flaky').length, 10)
  })

  t.test('a call that somebody waited for can be retried, too', async (t) => {
    const body = { image_id: 'waited', url: 'u', timeout_ms: 100 }
    t.equal((await call(`${url}/predict/image`, 'POST', body)).status, 504)
    const { jobId } = (await call(`${url}/jobs`, 'GET')).json.jobs.at(-1)
    await latches.release('waited')
    const again = (await retry(jobId)).json.jobId
    t.match(await ended(url, again), { result: 'released waited', retry_of: jobId })
  })

  t.test('what has not failed cannot be retried', async (t) => {
    const succeeded = await accept(url, 'free')
    await ended(url, succeeded)
    const running = await accept(url, 'held')
    await latches.started('held')
    const queued = await accept(url, 'free')
    const before = (await call(`${url}/jobs`, 'GET')).json.jobs.length
    for (const [id, status] of [
      [succeeded, 'succeeded'],
      [running, 'running'],
      [queued, 'queued']
    ] as const) {
      const answer = await retry(id)
      t.equal(answer.status, 409, status)
      t.match(answer.json, { code: 'HOST_JOB_NOT_RETRIABLE', detail: status })
    }
    t.equal((await call(`${url}/jobs`, 'GET')).json.jobs.length, before, 'nothing was made')
    await latches.release('held')
    for (const id of [running, queued]) await ended(url, id)
  })
})

t.test('a cancel that races with the end: each job ends once, and stays so', async (t) => {
  const latches = await makeLatches(t)
  const env = { LATCH_DIR: latches.dir, EXPERT_THREAD_POOL_SIZE: '4' }
  const home = await makeHome(t, { files: { stubborn } })
  const first = await startHost(t, { home, env })
  const { url } = first
  const pid = await pidOf(url, 'stubborn')
  const finals = new Map<string, string>()
  const race = async (i: number) => {
    const id = await accept(url, `race-${i}`, { extra_params: { ms: (i % 8) * 20 } })
    const stream = await followJob(t, url, id)
    // From at once to long after its end, half of them just when they begin to run.
    if (i % 2 === 0) await becomes(url, id, 'running', 'succeeded')
    for (let turns = Math.random() * 200; turns > 0; turns--) await new Promise(setImmediate)
    const { status, json } = await call(`${url}/jobs/${id}/cancel`, 'POST')
    const events = await stream.ended
    const told = events.filter(({ event }) => event === 'status').map(({ data }) => data.status)
    const ends = told.filter((one) => one !== 'queued' && one !== 'running')
    const results = events.filter(({ event }) => event === 'result')
    const record = await recordOf(url, id)
    const expected = status === 200 ? 'canceled' : 'succeeded'
    const seen = { status, code: json.code, ends, results: results.length, now: record.status }
    const wanted = {
      status: status === 200 ? 200 : 409,
      code: status === 200 ? undefined : 'HOST_JOB_ENDED',
      ends: [expected],
      results: 1,
      now: expected
    }
    finals.set(id, JSON.stringify(record))
    return { seen, wanted }
  }
  const outcomes: Awaited<ReturnType<typeof race>>[] = []
  let next = 0
  const racers = Array.from({ length: 10 }, async () => {
    while (next < 100) outcomes.push(await race(next++))
  })
  await Promise.all(racers)
  t.equal(outcomes.length, 100)
  t.same(
    outcomes.map(({ seen }) => seen),
    outcomes.map(({ wanted }) => wanted)
  )
  const canceled = outcomes.filter(({ seen }) => seen.now === 'canceled').length
  t.ok(canceled > 0 && canceled < 100, `${canceled} of 100 were canceled`)
  await untilTrue('nothing runs', async () => {
    return (await expertOf(url, 'stubborn')).instances[0]?.in_flight === 0
  })
  t.equal(await pidOf(url, 'stubborn'), pid)
  const asTheyAre = async (at: string) => {
    const { jobs, counts } = (await call(`${at}/jobs?counts=true`, 'GET')).json
    t.match(counts, { queued: 0, running: 0, failed: 0, canceled, succeeded: 100 - canceled })
    const now = jobs.map(({ jobId, ...record }: JobRecord) => [jobId, JSON.stringify(record)])
    t.same(new Map(now), finals)
  }
  await asTheyAre(url)
  const starts = (await latches.events()).length
  await first.host.stop()
  const second = await startHost(t, { home, env })
  await asTheyAre(second.url)
  t.equal((await latches.events()).length, starts, 'and none runs again after a restart')
})
