import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { expertOf, pidOf, predict, untilTrue, within } from '../support/experts.ts'
import { becomes, ended, type JobRecord, recordOf } from '../support/jobs.ts'
import { acceptRun, spawnNoted, startNoted } from '../support/noted-host.ts'
import { call } from '../support/start-host.ts'

/** Milliseconds from a job's acceptance to the start of its last run. */
function waited({ created_at, started_at }: JobRecord): number {
  return Date.parse(started_at) - Date.parse(created_at)
}

t.test('a job whose process dies under it waits and then succeeds', async (t) => {
  for (const how of ['exit 1', 'abort 1', 'kill 1', 'hold 1']) {
    await t.test(how === 'hold 1' ? 'killed from outside' : how, async (t) => {
      const { url, starts, latches } = await startNoted(t)
      const id = await acceptRun(url, 'mortal', how)
      if (how === 'hold 1') {
        await latches.started('mortal')
        process.kill(await pidOf(url, 'noted'), 'SIGKILL')
      }
      const record = await ended(url, id)
      t.match(record, { status: 'succeeded', result: 'mortal', attempts: 2 })
      const runs = await starts('mortal')
      t.equal(runs.length, 2)
      t.not(runs[0]?.pid, runs[1]?.pid, 'in another process')
      t.equal(record.mark, runs[1]?.mark, 'the answer is that of the second run')
      t.ok(waited(record) >= 500, `begun again after ${waited(record)} ms`)
    })
  }
})

t.test('a job that is lost as often as it may be begun fails, and parks nothing', async (t) => {
  const { url, starts } = await startNoted(t, { settings: { quarantine: { failures: 2 } } })
  const rows = [
    { more: {}, runs: 3, code: 'HOST_JOB_LOST', words: /begun 3 times.*exited with code 3/ },
    { more: { attempts: 2 }, runs: 2, code: 'HOST_JOB_LOST', words: /begun 2 times/ },
    { more: { attempts: 1 }, runs: 1, code: 'HOST_EXPERT_EXITED', words: /exited with code 3/ }
  ]
  for (const { more, runs, code, words } of rows) {
    const name = `crasher of ${runs}`
    const id = await acceptRun(url, name, 'exit 99', more)
    const record = await ended(url, id)
    t.match(record, { status: 'failed', attempts: runs, code, error: words, result: null }, name)
    t.equal((await starts(name)).length, runs)
    if (runs === 3) t.ok(waited(record) >= 2500, `the third begun after ${waited(record)} ms`)
    t.match(await predict(url, 'noted', `after ${name}`), { status: 200 }, 'the expert serves on')
  }
  const { status } = await expertOf(url, 'noted')
  t.equal(status, 'ACTIVE', 'each input counted once towards the two failures that park it')
})

t.test('what fails by itself is not tried again', async (t) => {
  const { url, starts } = await startNoted(t)
  const image = 'data:image/png;base64,iVBORw0KGgo='
  const id = await acceptRun(url, 'no picture', image)
  // As the seed's predict routes have it, that is an answer.
  t.match(await ended(url, id), { status: 'succeeded', attempts: 1, result: null, error: /image/ })
  const form = new FormData()
  form.set('file', new Blob(['no picture']))
  for (const [key, text] of [
    ['id', 'no picture'],
    ['how', image],
    ['is_async', 'true']
  ] as const) {
    form.set(key, text)
  }
  const sent = await fetch(`${url}/weigh`, { method: 'POST', body: form })
  const { jobId } = (await sent.json()) as { jobId: string }
  t.match(await ended(url, jobId), { status: 'failed', attempts: 1, code: /^EXP_MEDIA_/ })
  const timed = await acceptRun(url, 'too slow', 'hold 9', { timeout_ms: 50 })
  t.match(await ended(url, timed), { status: 'failed', attempts: 1, code: 'HOST_RUN_TIMEOUT' })
  // A second run would come before the end of a job that is itself run twice.
  const later = await acceptRun(url, 'later', 'exit 1')
  t.match(await ended(url, later), { status: 'succeeded', attempts: 2 })
  t.equal((await starts('no picture')).length, 2)
  t.equal((await starts('too slow')).length, 1)
})

for (const [kind, how] of [
  ['slow', 'ms 20'],
  ['quick', '-']
] as const) {
  t.test(`what may be a killer runs after all that wait, alone: ${kind} runs`, async (t) => {
    const { url, notes, latches } = await startNoted(t, {
      settings: { concurrency: 4 },
      experts: ['noted', 'clock']
    })
    const base = `${url}/experts/noted`
    const killer = await acceptRun(base, 'killer', 'exit 2, hold 3', { priority: 10 })
    await untilTrue('its second loss', async () => {
      const { status, attempts } = await recordOf(base, killer)
      return status === 'queued' && attempts === 2
    })
    const lostBefore = Date.now()
    // Where runs are known to be short, many are claimed ahead of their turn.
    if (kind === 'quick') {
      for (let i = 0; i < 100; i++) await predict(url, 'noted', 'warm')
    }
    // As long as these hold, nothing can be claimed; then all of it waits together.
    const holders = await Promise.all(
      ['h1', 'h2', 'h3', 'h4'].map((id) => acceptRun(base, id, 'hold 1'))
    )
    for (const id of ['h1', 'h2', 'h3', 'h4']) await latches.started(id)
    const waiting = await Promise.all(
      Array.from({ length: 80 }, (_, i) =>
        acceptRun(base, `w${i}`, how, { priority: i % 2 === 0 ? 0 : -5 })
      )
    )
    const { instances } = await expertOf(url, 'noted')
    t.comment(`${instances[0]?.in_flight} are with the process, which runs four at once`)
    // Two seconds, and one in which the line is looked at.
    await untilTrue('the end of its wait', () => Date.now() - lostBefore > 3200)
    await latches.release('h1', 'h2', 'h3', 'h4')
    await untilTrue('its third run', async () => {
      return (await notes()).filter(({ id }) => id === 'killer').length === 3
    })
    // All of these would run at once if they could run beside it.
    const behind = await Promise.all(
      Array.from({ length: 8 }, (_, i) => acceptRun(base, `b${i}`, how, { priority: 100 }))
    )
    const called = predict(url, 'noted', 'called')
    for (let i = 0; i < 10; i++) {
      await ended(url, await acceptRun(`${url}/experts/clock`, `tick ${i}`, '-'))
    }
    await latches.release('killer')
    t.match(await called, { status: 200 })
    for (const id of [...waiting, ...behind, ...holders]) {
      t.match(await ended(base, id), { status: 'succeeded', attempts: 1 }, 'lost by no other')
    }
    t.match(await ended(base, killer), { status: 'succeeded', attempts: 3 })

    const order = (await notes())
      .filter(({ id }) => !/^tick|^warm/.test(id))
      .map(({ event, id }) => `${event} ${id}`)
    const again = order.lastIndexOf('start killer')
    t.strictSame(
      order.slice(again, order.indexOf('end killer') + 1),
      ['start killer', 'end killer'],
      'nothing of the others runs between start and end of it'
    )
    const sooner = order.slice(0, again).filter((line) => line.startsWith('end w'))
    t.equal(sooner.length, waiting.length, 'all that waited, of lower priority too, ran before')
    t.notOk(order.slice(0, again).some((line) => line.startsWith('start b')))
  })
}

t.test('jobs beside a killer lose one run, and it parks nothing', async (t) => {
  const { url, starts, latches } = await startNoted(t, { settings: { concurrency: 4 } })
  const beside = await Promise.all(['a', 'b', 'c'].map((id) => acceptRun(url, id, 'hold 1')))
  for (const id of ['a', 'b', 'c']) await latches.started(id)
  const killer = await acceptRun(url, 'killer', 'kill 99')
  for (const id of beside) t.match(await ended(url, id), { status: 'succeeded', attempts: 2 })
  t.match(await ended(url, killer), { status: 'failed', code: 'HOST_JOB_LOST', attempts: 3 })
  t.equal((await starts('killer')).length, 3)
  for (const id of ['a', 'b', 'c']) t.equal((await starts(id)).length, 2, `${id} lost one run`)
  await untilTrue('its next process', async () => {
    return (await expertOf(url, 'noted')).status === 'ACTIVE'
  })
})

t.test('jobs of a parked expert wait, and run when it is released', async (t) => {
  const { url, latches } = await startNoted(t, { settings: { quarantine: { failures: 2 } } })
  const running = await acceptRun(url, 'running', 'hold 1')
  await latches.started('running')
  const waiting = await Promise.all(['a', 'b', 'c'].map((id) => acceptRun(url, id, '-')))
  await writeFile(join(latches.dir, 'down'), '')
  process.kill(await pidOf(url, 'noted'), 'SIGKILL')
  await untilTrue('the quarantine', async () => {
    return (await expertOf(url, 'noted')).status === 'QUARANTINED'
  })
  t.match(await becomes(url, running, 'queued'), { attempts: 1 })
  for (const id of waiting) t.match(await recordOf(url, id), { status: 'queued', attempts: 0 })
  await rm(join(latches.dir, 'down'))
  t.equal((await call(`${url}/manage/experts/noted/load`, 'POST')).status, 200)
  for (const id of waiting) t.match(await ended(url, id), { status: 'succeeded', attempts: 1 })
  t.match(await ended(url, running), { status: 'succeeded', attempts: 2 })
})

t.test('jobs of an expert that stays away end with the reason', async (t) => {
  const rows = {
    parked: /it is down/,
    removed: /noted.*(removed|no longer|not there|gone|no expert)/i,
    unloaded: /unloaded by hand/
  }
  for (const [how, words] of Object.entries(rows)) {
    await t.test(how, async (t) => {
      const { url, home, latches, starts } = await startNoted(t, {
        settings: { quarantine: { failures: 2 }, drain_timeout_ms: 300 },
        env: { JOBS_ABSENT_EXPIRATION: '1' }
      })
      const running = await acceptRun(url, 'running', 'hold 1')
      await latches.started('running')
      const waiting = await Promise.all(['a', 'b', 'c'].map((id) => acceptRun(url, id, '-')))
      if (how === 'parked') {
        await writeFile(join(latches.dir, 'down'), '')
        process.kill(await pidOf(url, 'noted'), 'SIGKILL')
      } else if (how === 'removed') {
        await rm(join(home, 'plugins', 'noted'), { recursive: true })
      } else await call(`${url}/manage/experts/noted/unload`, 'POST')
      for (const id of [running, ...waiting]) {
        t.match(await ended(url, id), {
          status: 'failed',
          code: 'HOST_JOB_ABANDONED',
          error: words,
          attempts: how === 'parked' && id === running ? 1 : 0
        })
      }
      t.match((await recordOf(url, running)).error, /^The job waited 1 s/)
      for (const id of ['a', 'b', 'c']) t.equal((await starts(id)).length, 0, `${id} never ran`)
      // Released too late: what has ended stays so.
      await rm(join(latches.dir, 'down'), { force: true })
      if (how !== 'removed') {
        t.equal((await call(`${url}/manage/experts/noted/load`, 'POST')).status, 200)
        t.match(await ended(url, await acceptRun(url, 'late', '-')), { status: 'succeeded' })
        t.match(await recordOf(url, running), { status: 'failed', code: 'HOST_JOB_ABANDONED' })
      }
    })
  }
})

t.test('a reload that outlasts drain_timeout_ms costs no attempt', async (t) => {
  const { url, latches, starts } = await startNoted(t, { settings: { drain_timeout_ms: 300 } })
  // Begun once at most: one lost run would be its end.
  const running = await acceptRun(url, 'running', 'hold 1', { attempts: 1 })
  await latches.started('running')
  const waiting = await Promise.all(['a', 'b', 'c'].map((id) => acceptRun(url, id, '-')))
  t.equal((await call(`${url}/manage/experts/noted/reload`, 'POST')).status, 200)
  t.match(await ended(url, running), { status: 'succeeded', attempts: 1 })
  t.equal((await starts('running')).length, 2)
  for (const id of waiting) t.match(await ended(url, id), { status: 'succeeded', attempts: 1 })
  for (const id of ['a', 'b', 'c']) t.equal((await starts(id)).length, 1)
})

t.test('a stop of the host costs no attempt and loses nothing', async (t) => {
  const { host, again, latches, starts } = await spawnNoted(t, {
    settings: { drain_timeout_ms: 300 }
  })
  const running = await acceptRun(host.url, 'running', 'hold 1', { attempts: 1 })
  await latches.started('running')
  const waiting = await Promise.all(['a', 'b', 'c'].map((id) => acceptRun(host.url, id, '-')))
  host.child.kill('SIGTERM')
  t.match(await within(host.exited, 15_000, 'the end of the host'), { code: 0, signal: null })
  const { url } = await again()
  t.match(await ended(url, running), { status: 'succeeded', attempts: 1 })
  t.equal((await starts('running')).length, 2)
  for (const id of waiting) t.match(await ended(url, id), { status: 'succeeded', attempts: 1 })
  for (const id of ['a', 'b', 'c']) t.equal((await starts(id)).length, 1)
})
