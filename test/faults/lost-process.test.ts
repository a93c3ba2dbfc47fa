import t from 'tap'
import { expertOf, isRunning, pidOf, predict, untilTrue } from '../support/experts.ts'
import { plugin, startHost } from '../support/start-host.ts'

const echo = 'async predict(params) { return { result: params.movie_id, error: null } }'

/** Answers at once, or waits until the process ends, or ends it in the way that `extra_params` says. */
const mortal = `
  async predict(params) {
    const { how } = params.extra_params ?? {}
    if (how === 'exit') process.exit(7)
    if (how === 'exit-later') setTimeout(() => process.exit(7), 20)
    if (how === 'throw-later') setTimeout(() => { throw new Error('thrown in a timer') }, 20)
    if (how === 'reject') void Promise.reject(new Error('rejected and forgotten'))
    if (how === 'abort') process.abort()
    if (how === 'pile-up') {
      // What arrives meanwhile is begun in one turn, whose answers leave together.
      setTimeout(() => { for (const end = Date.now() + 80; Date.now() < end;); }, 1)
    }
    if (how === 'segfault') process.kill(process.pid, 'SIGSEGV')
    if (how === 'hang' || how?.endsWith('-later') || how === 'reject') await new Promise(() => {})
    return { result: params.movie_id, error: null, pid: process.pid }
  }`

const patient = { quarantine: { failures: 100 } }

t.test('killed in the middle of a prediction', async (t) => {
  const { url } = await startHost(t, {
    files: { mortal: plugin('mortal', mortal), echo: plugin('echo', echo) },
    config: { experts: { mortal: patient } }
  })
  const pid = await pidOf(url, 'mortal')
  const hanging = predict(url, 'mortal', 'Movies/1', { how: 'hang' })
  await untilTrue(
    'the run',
    async () => (await expertOf(url, 'mortal')).instances[0]?.in_flight === 1
  )
  // Behind it, not begun: the next process answers these.
  const behind = ['Movies/2', 'Movies/3', 'Movies/4'].map((id) => predict(url, 'mortal', id))
  await untilTrue('the queue', async () => {
    const { queue, instances } = await expertOf(url, 'mortal')
    return queue.waiting + (instances[0]?.in_flight ?? 0) === 4
  })

  let sending = true
  let others = 0
  const wrong: unknown[] = []
  const load = Array.from({ length: 16 }, async () => {
    while (sending) {
      const answer = await predict(url, 'echo', 'Movies/9')
      others += 1
      if (answer.status !== 200 || answer.json.result !== 'Movies/9') wrong.push(answer)
    }
  })
  await untilTrue('load', () => others > 100)

  const killedAt = performance.now()
  process.kill(pid, 'SIGKILL')
  const lost = await hanging
  const told = performance.now() - killedAt
  t.equal(lost.status, 502)
  t.match(lost.json, { code: 'HOST_EXPERT_EXITED', detail: /mortal.*SIGKILL/ })
  t.ok(told < 1000, `told after ${told.toFixed(0)} ms`)

  for (const [i, answer] of (await Promise.all(behind)).entries()) {
    t.match(answer, { status: 200, json: { result: `Movies/${i + 2}` } })
    t.not(answer.json.pid, pid, 'by the next process')
  }
  const recovered = performance.now() - killedAt
  const row = await expertOf(url, 'mortal')
  t.match(row, { status: 'ACTIVE', reason: null, restarts: 1, last_exit: /SIGKILL/ })
  t.not(row.instances[0]?.pid, pid)

  sending = false
  await Promise.all(load)
  t.strictSame(wrong, [], 'no request of the other expert failed')
  t.comment(
    `502 after ${told.toFixed(0)} ms, back after ${recovered.toFixed(0)} ms, ${others} others served`
  )
})

t.test('every way to die is told to its caller alone', async (t) => {
  const { url } = await startHost(t, {
    files: { mortal: plugin('mortal', mortal), echo: plugin('echo', echo) },
    config: { experts: { mortal: patient } }
  })
  const ways: Record<string, RegExp> = {
    exit: /exited with code 7$/,
    'exit-later': /exited with code 7$/,
    'throw-later': /exited with code 1: thrown in a timer$/,
    reject: /exited with code 1: rejected and forgotten$/,
    abort: /was killed by SIGABRT$/,
    segfault: /was killed by SIGSEGV$/
  }
  for (const [how, words] of Object.entries(ways)) {
    await t.test(how, async (t) => {
      const pid = await pidOf(url, 'mortal')
      const [lost, after, other] = await Promise.all([
        predict(url, 'mortal', 'Movies/1', { how }),
        predict(url, 'mortal', 'Movies/2'),
        predict(url, 'echo', 'Movies/3')
      ])
      t.match(lost, {
        status: 502,
        json: { code: 'HOST_EXPERT_EXITED', detail: /exited with code|was killed by/ }
      })
      t.notMatch(lost.text, /timer|forgotten/, "an error's message is not for callers")
      t.match(after, { status: 200, json: { result: 'Movies/2' } }, 'the call behind it')
      t.match(other, { status: 200, json: { result: 'Movies/3' } }, 'the other expert')
      t.notOk(isRunning(pid))
      t.match((await expertOf(url, 'mortal')).last_exit, words)
    })
  }
})

t.test('of many quick calls, the one that ends the process is the one that is told', async (t) => {
  const { url } = await startHost(t, {
    files: { mortal: plugin('mortal', mortal) },
    config: { experts: { mortal: patient } }
  })
  const rows: Array<[how: string, place: number]> = [
    ['exit', 0],
    ['exit', 7],
    ['exit', 39],
    ['abort', 7],
    ['segfault', 20]
  ]
  for (const [how, place] of rows) {
    // Until calls are known to be quick, they are not sent ahead of their turn.
    for (let i = 0; i < 5; i++) await predict(url, 'mortal', 'Movies/warm')
    await predict(url, 'mortal', 'Movies/warm', { how: 'pile-up' })
    const calls = Array.from({ length: 40 }, (_, i) =>
      predict(url, 'mortal', `Movies/${i}`, i === place ? { how } : null)
    )
    const statuses = (await Promise.all(calls)).map((answer) => answer.status)
    const wanted = calls.map((_, i) => (i === place ? 502 : 200))
    t.strictSame(statuses, wanted, `call ${place} of 40: ${how}`)
  }
})

t.test('two processes: one dies, its calls that had not begun go to the other', async (t) => {
  const { url } = await startHost(t, {
    files: { mortal: plugin('mortal', mortal) },
    config: { experts: { mortal: { ...patient, instances: 2 } } }
  })
  const [first, second] = (await expertOf(url, 'mortal')).instances.map(({ pid }) => pid)
  t.not(first, second)
  const calls = Array.from({ length: 60 }, (_, i) =>
    predict(url, 'mortal', `Movies/${i}`, i === 20 ? { how: 'exit' } : null)
  )
  const answers = await Promise.all(calls)
  t.strictSame(
    answers.map((answer) => answer.status),
    answers.map((_, i) => (i === 20 ? 502 : 200))
  )
  await untilTrue('two again', async () => (await expertOf(url, 'mortal')).instances.length === 2)
  t.equal((await expertOf(url, 'mortal')).status, 'ACTIVE')
})

t.test('while no process is there, calls wait, as many as may', async (t) => {
  const { url } = await startHost(t, {
    files: {
      slow: plugin(
        'slow',
        `async init(context) {
          const { existsSync, writeFileSync } = await import('node:fs')
          const mark = context.cache + '/once'
          if (existsSync(mark)) await new Promise((resolve) => setTimeout(resolve, 1000))
          writeFileSync(mark, '')
        }
        ${mortal}`
      )
    },
    config: { experts: { slow: { max_queue_size: 3 } } }
  })
  process.kill(await pidOf(url, 'slow'), 'SIGKILL')
  await untilTrue('RESTARTING', async () => (await expertOf(url, 'slow')).status === 'RESTARTING')
  const answers = await Promise.all(
    Array.from({ length: 5 }, (_, i) => predict(url, 'slow', `Movies/${i}`))
  )
  t.strictSame(answers.map((answer) => answer.status).sort(), [200, 200, 200, 503, 503])
  for (const { json, headers } of answers.filter((answer) => answer.status === 503)) {
    t.match(json, { code: 'HOST_QUEUE_FULL', detail: /slow.*3 calls/ })
    t.match(headers.get('retry-after'), /^\d+$/)
  }
})
