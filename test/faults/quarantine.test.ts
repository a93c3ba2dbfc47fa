import t from 'tap'
import { expertOf, isRunning, predict, untilTrue } from '../support/experts.ts'
import { plugin, startHost } from '../support/start-host.ts'

const echo = 'async predict(params) { return params.movie_id }'

t.test('a crash loop is parked', async (t) => {
  const { url } = await startHost(t, {
    files: {
      echo: plugin('echo', echo),
      // Its init succeeds, then it ends by itself.
      leaving: plugin(
        'leaving',
        `async init() { setTimeout(() => { throw new Error('out of luck') }, 50) }
        async predict() { await new Promise(() => {}) }`
      ),
      'never-ready': plugin('never-ready', `async init() { throw new Error('no model') }\n${echo}`)
    },
    config: { experts: { leaving: { quarantine: { failures: 5 } } } }
  })
  // Calls are sent all the while: none may be lost, and none may wait for ever.
  let calling = true
  const answers: Array<{ status: number; json: { code: string } }> = []
  const callers = Array.from({ length: 3 }, async () => {
    while (calling) answers.push(await predict(url, 'leaving', 'Movies/1'))
  })
  let others = 0
  let failed = 0
  const other = (async () => {
    while (calling) {
      const { status } = await predict(url, 'echo', 'Movies/1')
      if (status === 200) others += 1
      else failed += 1
    }
  })()
  for (const [name, words] of [
    ['leaving', /5 failures.*exited with code 1: out of luck/],
    ['never-ready', /5 failures.*no model/]
  ] as const) {
    await untilTrue(name, async () => (await expertOf(url, name)).status === 'QUARANTINED', 40_000)
    const row = await expertOf(url, name)
    t.match(row.reason, words)
    t.equal(row.restarts, 4, 'five starts')
    t.strictSame(row.instances, [])
    t.equal(row.queue.waiting, 0)
    t.match(await predict(url, name, 'Movies/1'), {
      status: 503,
      json: { code: 'HOST_EXPERT_NOT_READY', detail: words }
    })
  }
  calling = false
  await Promise.all([...callers, other])
  const codes = new Set(answers.map(({ status, json }) => `${status} ${json.code}`))
  t.strictSame([...codes].sort(), ['502 HOST_EXPERT_EXITED', '503 HOST_EXPERT_NOT_READY'])
  t.ok(others > 0)
  t.equal(failed, 0, 'no request of the other expert failed')
  const { restarts } = await expertOf(url, 'leaving')
  t.equal(restarts, 4, 'it stays parked')
})

t.test('a success between two failures starts the count anew', async (t) => {
  const { url } = await startHost(t, {
    files: {
      clumsy: plugin(
        'clumsy',
        `async predict(params) {
          if (params.movie_id === 'crash') process.exit(1)
          return process.pid
        }`
      )
    },
    config: { experts: { clumsy: { quarantine: { failures: 2 } } } }
  })
  for (let i = 0; i < 4; i++) {
    t.equal((await predict(url, 'clumsy', 'crash')).status, 502)
    const { status, json } = await predict(url, 'clumsy', 'fine')
    t.equal(status, 200, 'served by the next process')
    t.ok(isRunning(json))
  }
  t.equal((await expertOf(url, 'clumsy')).restarts, 4)
  // And without one, the same crashes do park it.
  t.equal((await predict(url, 'clumsy', 'crash')).status, 502)
  t.equal((await predict(url, 'clumsy', 'crash')).status, 502)
  t.match(await expertOf(url, 'clumsy'), { status: 'QUARANTINED', reason: /2 failures/ })
})

t.test('when it is parked, its queue is told', async (t) => {
  const { url } = await startHost(t, {
    files: {
      once: plugin(
        'once',
        `async init(context) {
          const mark = context.cache + '/once'
          if (existsSync(mark)) throw new Error('only once')
          writeFileSync(mark, '')
        }
        async predict() { await new Promise(() => {}) }`,
        "import { existsSync, writeFileSync } from 'node:fs'"
      )
    },
    config: { experts: { once: { quarantine: { failures: 3 } } } }
  })
  const running = predict(url, 'once', 'Movies/1')
  await untilTrue(
    'the run',
    async () => (await expertOf(url, 'once')).instances[0]?.in_flight === 1
  )
  const waiting = ['Movies/2', 'Movies/3'].map((id) => predict(url, 'once', id))
  await untilTrue('the queue', async () => {
    const { queue, instances } = await expertOf(url, 'once')
    return queue.waiting + (instances[0]?.in_flight ?? 0) === 3
  })
  const { instances } = await expertOf(url, 'once')
  process.kill(instances[0]?.pid as number, 'SIGKILL')
  t.equal((await running).status, 502)
  for (const answer of await Promise.all(waiting)) {
    t.match(answer, {
      status: 503,
      json: { code: 'HOST_EXPERT_NOT_READY', detail: /3 failures.*only once/ }
    })
  }
})

t.test('one call that ends two processes counts once', async (t) => {
  const { url } = await startHost(t, {
    files: {
      frail: plugin(
        'frail',
        `predict(params) {
          if (params.movie_id === 'poison') process.kill(process.pid, 'SIGSEGV')
          return params.movie_id
        }`
      )
    },
    config: { experts: { frail: { quarantine: { failures: 2 } } } }
  })
  for (let i = 0; i < 60; i++) await predict(url, 'frail', 'warm')
  // Sent together with others, it is not blamed at first but run again alone.
  const calls = ['poison', '1', '2', '3'].map((id) => predict(url, 'frail', id))
  const answers = await Promise.all(calls)
  t.strictSame(
    answers.map(({ status }) => status),
    [502, 200, 200, 200]
  )
  t.equal((await expertOf(url, 'frail')).status, 'ACTIVE')
})
