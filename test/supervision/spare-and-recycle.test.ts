import t from 'tap'
import {
  childrenOf,
  expertOf,
  isRunning,
  pidOf,
  predict,
  untilTrue,
  within
} from '../support/experts.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

const runs = `
  async predict(params) {
    const { ms, block } = params.extra_params ?? {}
    if (block) for (const end = Date.now() + block; Date.now() < end;);
    if (ms) await new Promise((resolve) => setTimeout(resolve, ms))
    return { result: params.movie_id, error: null, pid: process.pid }
  }`

/** The most children that this process had at a time, until it is told to stop. */
function watchChildren() {
  let most = 0
  const look = () => {
    most = Math.max(most, childrenOf(process.pid).filter(isRunning).length)
  }
  look()
  const timer = setInterval(look, 10)
  return () => {
    clearInterval(timer)
    return most
  }
}

/** Callers who send one call after another; `stop` gives what was not answered well, and the rest. */
function callers(url: string, name: string, count: number, extra: Record<string, unknown> = {}) {
  let sending = true
  const wrong: unknown[] = []
  const pids = new Set<number>()
  let answered = 0
  const work = Array.from({ length: count }, async () => {
    while (sending) {
      const answer = await predict(url, name, 'Movies/1', extra)
      if (answer.status !== 200) wrong.push(answer.text)
      else {
        answered += 1
        pids.add(answer.json.pid)
      }
    }
  })
  return {
    pids,
    get answered() {
      return answered
    },
    async stop() {
      sending = false
      await Promise.all(work)
      return wrong
    }
  }
}

t.test('spare: a warm process takes the place of one that was killed', async (t) => {
  // A start takes two seconds, so a warm process can be told from a new one.
  const slow = `async init() { await new Promise((resolve) => setTimeout(resolve, 2000)) }\n${runs}`
  const { url } = await startHost(t, {
    files: { warm: plugin('warm', slow) },
    config: { experts: { warm: { spare: 1 } } }
  })
  const mostChildren = watchChildren()
  const first = await pidOf(url, 'warm')
  const [spare, ...others] = childrenOf(process.pid).filter((pid) => pid !== first)
  t.strictSame(others, [], 'one serves and one waits')
  const killedAt = performance.now()
  process.kill(first, 'SIGKILL')
  await untilTrue('its place taken', async () => (await pidOf(url, 'warm')) === spare)
  const answer = await predict(url, 'warm', 'Movies/1')
  const took = performance.now() - killedAt
  t.match(answer, { status: 200, json: { pid: spare } })
  t.ok(took < 1000, `answered ${took.toFixed(0)} ms after the kill`)
  t.comment(`answered by the spare ${took.toFixed(0)} ms after the kill`)
  await untilTrue('a new spare', () => childrenOf(process.pid).length === 2)
  t.match(await expertOf(url, 'warm'), { status: 'ACTIVE', instances: [{ pid: spare }] })
  // The new one is warm too, once it has started: it serves the same way.
  const fresh = childrenOf(process.pid).find((pid) => pid !== spare) as number
  await untilTrue('its start', () => performance.now() - killedAt > 3000)
  process.kill(spare as number, 'SIGKILL')
  await untilTrue('its place taken', async () => (await pidOf(url, 'warm')) === fresh)
  t.match(await predict(url, 'warm', 'Movies/2'), { status: 200, json: { pid: fresh } })
  const most = mostChildren()
  t.ok(most >= 2 && most <= 4, `at most ${most} processes`)
})

t.test('processes are replaced after so many runs, or so long, and no call fails', async (t) => {
  const { url } = await startHost(t, {
    files: { counted: plugin('counted', runs), aging: plugin('aging', runs) },
    config: {
      experts: {
        counted: { max_jobs_per_process: 50, instances: 2, spare: 1 },
        aging: { max_uptime_ms: 500, concurrency: 4 }
      }
    }
  })
  const mostChildren = watchChildren()
  const counted = callers(url, 'counted', 6)
  const aging = callers(url, 'aging', 6, { ms: 20 })
  await untilTrue('five processes of one', () => counted.pids.size >= 5)
  await untilTrue('three of the other', () => aging.pids.size >= 3)
  const total = counted.answered + aging.answered
  t.strictSame(await counted.stop(), [])
  t.strictSame(await aging.stop(), [])
  const most = mostChildren()
  t.ok(most <= 2 * (2 + 1) + 2 * 1, `at most ${most} processes`)
  t.comment(`${total} calls over ${counted.pids.size} + ${aging.pids.size} processes, most ${most}`)
  for (const name of ['counted', 'aging']) {
    t.match(await expertOf(url, name), { status: 'ACTIVE', last_exit: null, restarts: 0 })
  }
  await untilTrue('the end of the replaced', () => childrenOf(process.pid).length <= 4 + 1)
})

t.test('a run outlasts the replacement of its process', async (t) => {
  const { url } = await startHost(t, {
    files: { steady: plugin('steady', runs) },
    config: { experts: { steady: { max_jobs_per_process: 2, concurrency: 2 } } }
  })
  const old = await pidOf(url, 'steady')
  const long = predict(url, 'steady', 'long', { ms: 2500 })
  await untilTrue('the run', async () => {
    return (await expertOf(url, 'steady')).instances[0]?.in_flight === 1
  })
  for (const id of ['1', '2']) t.match((await predict(url, 'steady', id)).json, { pid: old })
  await untilTrue('the next', async () => (await pidOf(url, 'steady')) !== old)
  t.ok(isRunning(old), 'the old one ends what it runs')
  t.match(await long, { status: 200, json: { pid: old } })
  await untilTrue('the end of the old', () => !isRunning(old), 5000)
})

t.test('a process that dies while another is replaced is started again', async (t) => {
  const slow = `async init() { await new Promise((resolve) => setTimeout(resolve, 700)) }\n${runs}`
  const { url } = await startHost(t, {
    files: { two: plugin('two', slow) },
    config: { experts: { two: { max_jobs_per_process: 3, instances: 2 } } }
  })
  const [first, second] = (await expertOf(url, 'two')).instances.map(({ pid }) => pid)
  // All to the first: the other is idle, and the first in line is taken of two idle ones.
  for (let i = 0; i < 3; i++) t.match((await predict(url, 'two', 'x')).json, { pid: first })
  await untilTrue('its successor', () => childrenOf(process.pid).length === 3)
  process.kill(second as number, 'SIGKILL')
  await untilTrue('both places filled', async () => {
    const pids = (await expertOf(url, 'two')).instances.map(({ pid }) => pid)
    return pids.length === 2 && !pids.includes(first as number) && !pids.includes(second as number)
  })
})

t.test('two instances: the least loaded runs a call, and one alone serves on', async (t) => {
  const { url } = await startHost(t, {
    files: { pair: plugin('pair', runs) },
    config: { experts: { pair: { instances: 2 } } }
  })
  const states = new Set<string>()
  const row = async () => {
    const found = await expertOf(url, 'pair')
    states.add(found.status)
    return found
  }
  const both = [1, 2].map((id) => predict(url, 'pair', `Movies/${id}`, { block: 1200 }))
  await untilTrue('two runs', async () => {
    return (await row()).instances.every(({ in_flight }) => in_flight === 1)
  })
  const third = predict(url, 'pair', 'Movies/3')
  await untilTrue('a third waits', async () => (await row()).queue.waiting === 1)
  const answers = await Promise.all(both)
  t.strictSame(
    answers.map(({ status }) => status),
    [200, 200]
  )
  t.equal(new Set(answers.map(({ json }) => json.pid)).size, 2, 'in two processes')
  t.equal((await third).status, 200)

  const mostChildren = watchChildren()
  const [killed, other] = (await row()).instances.map(({ pid }) => pid)
  const load = callers(url, 'pair', 1, { ms: 5 })
  await untilTrue('load', () => load.answered > 20)
  // Of two that are idle a lone caller gets the first: the kill of the last takes no call along.
  process.kill(other as number, 'SIGKILL')
  await untilTrue('the end of one', () => [killed, other].some((pid) => !isRunning(pid as number)))
  await untilTrue('its successor', async () => {
    const { instances, restarts } = await row()
    return restarts === 1 && instances.length === 2
  })
  t.strictSame(await load.stop(), [], 'no call failed')
  t.strictSame([...states], ['ACTIVE'])
  t.ok(mostChildren() <= 4)
})

t.test('a reload waits only so long for what a replaced process still runs', async (t) => {
  const { url } = await startHost(t, {
    files: {
      endless: plugin(
        'endless',
        `async predict(params) {
          if (params.movie_id === 'endless') await new Promise(() => {})
          return process.pid
        }`
      )
    },
    config: {
      experts: { endless: { max_jobs_per_process: 2, concurrency: 2, drain_timeout_ms: 300 } }
    },
    env: { NEBULA_ADMIN_KEY: 'key' }
  })
  const mostChildren = watchChildren()
  const old = await pidOf(url, 'endless')
  const endless = predict(url, 'endless', 'endless')
  await untilTrue('the run', async () => {
    return (await expertOf(url, 'endless')).instances[0]?.in_flight === 1
  })
  for (const id of ['1', '2']) t.equal((await predict(url, 'endless', id)).json, old)
  await untilTrue('the next', async () => (await pidOf(url, 'endless')) !== old)
  t.ok(isRunning(old))
  const reloaded = call(`${url}/manage/experts/endless/reload`, 'POST', undefined, {
    authorization: 'Bearer key'
  })
  const { status } = await within(reloaded, 8000, 'the reload')
  t.equal(status, 200)
  t.match(await endless, { status: 503, json: { code: 'HOST_EXPERT_DRAINED' } })
  await untilTrue('the end of the old', () => !isRunning(old))
  t.ok(mostChildren() <= 2)
})
