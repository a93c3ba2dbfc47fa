import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
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
import { call, type HostProcess, plugin, spawnHost } from '../support/start-host.ts'

const runs = `
  async predict(params) {
    const { ms } = params.extra_params ?? {}
    if (ms !== undefined) await new Promise((resolve) => setTimeout(resolve, ms))
    return { result: params.movie_id, error: null }
  }
  async handleExit() { this.log.info('handled its exit') }`

/** As a supervisor or a terminal does it: to the whole process group. */
function signalGroup(host: HostProcess, signal: NodeJS.Signals): void {
  process.kill(-(host.child.pid as number), signal)
}

async function runFolders(home: string): Promise<string[]> {
  return readdir(join(home, 'data', 'run'))
}

t.test('SIGTERM to the group: what runs ends, what is new is refused', async (t) => {
  const host = await spawnHost(t, { files: { steady: plugin('steady', runs) } })
  t.equal((await runFolders(host.home)).length, 1)
  const children = childrenOf(host.child.pid as number)
  t.equal(children.length, 1)

  const running = predict(host.url, 'steady', 'Movies/1', { ms: 1500 })
  await untilTrue('the run', async () => {
    return (await expertOf(host.url, 'steady')).instances[0]?.in_flight === 1
  })
  const waiting = predict(host.url, 'steady', 'Movies/2')
  await untilTrue('the queue', async () => {
    const { queue, instances } = await expertOf(host.url, 'steady')
    return queue.waiting + (instances[0]?.in_flight ?? 0) === 2
  })
  signalGroup(host, 'SIGTERM')
  await host.line((line) => line.signal === 'SIGTERM')
  const fresh = await predict(host.url, 'steady', 'Movies/3').catch((error: Error) => error)
  if (fresh instanceof Error) t.match(fresh.cause, { code: 'ECONNREFUSED' })
  else t.match(fresh, { status: 503, json: { code: 'HOST_STOPPING' } })

  t.match(await running, { status: 200, json: { result: 'Movies/1' } }, 'what ran is answered')
  t.match(await waiting, { status: 200, json: { result: 'Movies/2' } }, 'and what waited')
  t.strictSame(await within(host.exited, 10_000, 'the end of the host'), { code: 0, signal: null })
  t.strictSame(children.filter(isRunning), [], 'no process is left')
  t.strictSame(await runFolders(host.home), [], 'its run folder is gone')
  t.ok(host.lines.some((line) => line.msg === 'handled its exit' && line.expert === 'steady'))
  const last = host.lines.at(-1)
  t.match(last, { msg: 'stopped' })
})

t.test('SIGINT to the group, with nothing running, ends at once', async (t) => {
  const host = await spawnHost(t, { files: { steady: plugin('steady', runs) } })
  const children = childrenOf(host.child.pid as number)
  await predict(host.url, 'steady', 'Movies/1')
  signalGroup(host, 'SIGINT')
  const { code } = await within(host.exited, 5000, 'the end of the host')
  t.equal(code, 0)
  t.strictSame(children.filter(isRunning), [])
})

t.test('runs that never end are cut off by drain_timeout_ms', async (t) => {
  const host = await spawnHost(t, {
    files: {
      endless: plugin('endless', 'async predict() { await new Promise(() => {}) }'),
      spinning: plugin('spinning', 'async predict() { for (;;); }'),
      steady: plugin('steady', runs)
    },
    config: {
      experts: { endless: { drain_timeout_ms: 700 }, spinning: { drain_timeout_ms: 700 } }
    }
  })
  const children = childrenOf(host.child.pid as number)
  const names = ['endless', 'spinning']
  const cut = names.map((name) => predict(host.url, name, 'Movies/1'))
  const steady = predict(host.url, 'steady', 'Movies/2', { ms: 1000 })
  await untilTrue('the runs', async () => {
    const { instances } = await expertOf(host.url, 'spinning')
    return instances[0]?.in_flight === 1
  })
  await untilTrue('the run', async () => {
    return (await expertOf(host.url, 'steady')).instances[0]?.in_flight === 1
  })
  const signaled = performance.now()
  signalGroup(host, 'SIGTERM')
  t.match(await steady, { status: 200, json: { result: 'Movies/2' } })
  for (const answer of await Promise.all(cut)) {
    t.match(answer, { status: 503, json: { code: 'HOST_EXPERT_DRAINED' } })
  }
  t.match(await within(host.exited, 15_000, 'the end of the host'), { code: 0 })
  const took = performance.now() - signaled
  t.ok(took < 9000, `ended after ${took.toFixed(0)} ms`)
  t.comment(`ended after ${took.toFixed(0)} ms with a drain of 700 ms`)
  t.strictSame(children.filter(isRunning), [])
})

t.test('SIGTERM while experts start, restart or wait for their next try', async (t) => {
  const host = await spawnHost(t, {
    files: {
      'slow-init': plugin('slow-init', 'async init() { await new Promise(() => {}) }'),
      'spinning-init': plugin('spinning-init', 'async init() { for (;;); }'),
      'failing-init': plugin('failing-init', "async init() { throw new Error('not today') }"),
      steady: plugin('steady', runs)
    },
    config: { experts: { 'failing-init': { quarantine: { failures: 100 } } } },
    awaitStart: false
  })
  await untilTrue('steady', async () => (await expertOf(host.url, 'steady')).status === 'ACTIVE')
  await untilTrue('failures', async () => (await expertOf(host.url, 'failing-init')).restarts > 1)
  process.kill(await pidOf(host.url, 'steady'), 'SIGKILL')
  await untilTrue('the restart', async () => {
    return (await expertOf(host.url, 'steady')).status === 'RESTARTING'
  })
  const queued = predict(host.url, 'steady', 'Movies/1')
  await untilTrue('the queue', async () => {
    const { queue, status } = await expertOf(host.url, 'steady')
    return queue.waiting === 1 || status === 'ACTIVE'
  })
  const children = childrenOf(host.child.pid as number)
  t.ok(children.length >= 2)
  signalGroup(host, 'SIGTERM')
  t.match((await queued).status, /^(200|503)$/, 'what waited is answered')
  t.match(await within(host.exited, 8000, 'the end of the host'), { code: 0, signal: null })
  t.strictSame(children.filter(isRunning), [], 'no process is left')
  t.strictSame(await runFolders(host.home), [])
  t.notOk(host.lines.some((line) => line.level === 'fatal'))
})

t.test('SIGTERM right after the host listens', async (t) => {
  const host = await spawnHost(t, {
    files: { steady: plugin('steady', runs), other: plugin('other', runs) },
    awaitStart: false
  })
  t.equal((await call(`${host.url}/health/live`, 'GET')).status, 200)
  signalGroup(host, 'SIGTERM')
  t.match(await within(host.exited, 8000, 'the end of the host'), { code: 0, signal: null })
  t.strictSame(await runFolders(host.home), [])
  t.notOk(host.lines.some((line) => line.level === 'error' || line.level === 'fatal'))
})
