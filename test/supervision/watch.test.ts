import { readFileSync } from 'node:fs'
import t from 'tap'
import { childrenOf, expertOf, isRunning, pidOf, predict, untilTrue } from '../support/experts.ts'
import { plugin, startHost } from '../support/start-host.ts'

const echo = 'async predict(params) { return process.pid }'

t.test('max_memory_mb: an expert that leaks is killed and comes back', async (t) => {
  const leaks = `
    async predict(params) {
      if (params.movie_id !== 'leak') return process.pid
      globalThis.kept = Buffer.alloc(300 * 1024 * 1024, 1)
      await new Promise(() => {})
    }`
  const leaksAtStart =
    'async init() { globalThis.kept = Buffer.alloc(300 * 1024 * 1024, 1); await new Promise(() => {}) }'
  const { url } = await startHost(t, {
    files: {
      leaks: plugin('leaks', leaks),
      'leaks-at-start': plugin('leaks-at-start', leaksAtStart),
      echo: plugin('echo', echo)
    },
    config: {
      experts: {
        leaks: { max_memory_mb: 200, concurrency: 2 },
        'leaks-at-start': { max_memory_mb: 200, quarantine: { failures: 1 } }
      }
    }
  })
  const words = /was killed: its [3-9]\d\d MB of memory are over max_memory_mb \(200\)/
  t.match(await expertOf(url, 'leaks-at-start'), { status: 'QUARANTINED', reason: words })

  const pid = await pidOf(url, 'leaks')
  const other = await pidOf(url, 'echo')
  const adjustment = (of: number | 'self') =>
    Number(readFileSync(`/proc/${of}/oom_score_adj`, 'utf8'))
  t.ok(adjustment(pid) > adjustment('self'), 'the kernel takes a child first')
  t.ok(adjustment(pid) >= 500)
  t.ok(adjustment('self') < 500)

  let leaking = true
  const wrong: unknown[] = []
  let served = 0
  const others = (async () => {
    while (leaking) {
      const answer = await predict(url, 'echo', 'Movies/1')
      served += 1
      if (answer.status !== 200) wrong.push(answer)
    }
  })()
  const lost = await Promise.all(['leak', 'leak'].map((id) => predict(url, 'leaks', id)))
  for (const answer of lost) {
    t.match(answer, { status: 502, json: { code: 'HOST_EXPERT_EXITED', detail: words } })
  }
  const back = await predict(url, 'leaks', 'Movies/1')
  t.equal(back.status, 200)
  t.not(back.json, pid)
  t.ok(adjustment(back.json) >= 500, 'also of a process that was started again')
  t.match(await expertOf(url, 'leaks'), { status: 'ACTIVE', restarts: 1, last_exit: words })
  leaking = false
  await others
  t.ok(served > 10)
  t.strictSame(wrong, [], 'the other did not notice')
  t.equal(await pidOf(url, 'echo'), other)
})

t.test('heartbeat: a hung idle process is replaced, a blocked one is not', async (t) => {
  const blocks = `
    async predict(params) {
      const { how } = params.extra_params ?? {}
      if (how === 'script') for (const end = Date.now() + 3500; Date.now() < end;);
      if (how === 'native') execFileSync('sleep', ['3.5'])
      return process.pid
    }`
  const { url } = await startHost(t, {
    files: {
      stopped: plugin('stopped', echo),
      blocks: plugin('blocks', blocks, "import { execFileSync } from 'node:child_process'")
    },
    config: {
      experts: {
        stopped: { heartbeat_timeout_ms: 500, spare: 1 },
        blocks: { heartbeat_timeout_ms: 500, instances: 2 }
      }
    }
  })
  const before = (await expertOf(url, 'blocks')).instances.map(({ pid }) => pid)
  const blocked = ['script', 'native'].map((how) => predict(url, 'blocks', how, { how }))

  const pid = await pidOf(url, 'stopped')
  const at = performance.now()
  process.kill(pid, 'SIGSTOP')
  await untilTrue('the kill', () => !isRunning(pid), 6000)
  t.comment(`noticed after ${(performance.now() - at).toFixed(0)} ms`)
  await untilTrue('its successor', async () => (await pidOf(url, 'stopped')) !== pid)
  const { json } = await predict(url, 'stopped', 'Movies/1')
  t.not(json, pid)
  t.match(await expertOf(url, 'stopped'), {
    status: 'ACTIVE',
    last_exit: /was killed: it did not answer for 500 ms though nothing ran/
  })
  // A process that hung before its call came is not saved by the call.
  process.kill(json, 'SIGSTOP')
  const sent = performance.now()
  // Its ping is out by then, for it is asked once a second.
  await untilTrue('its ping', () => performance.now() - sent > 1100)
  const caught = predict(url, 'stopped', 'Movies/2')
  t.match(await caught, { status: /^(200|502)$/ })
  await untilTrue('the kill', () => !isRunning(json), 6000)

  for (const answer of await Promise.all(blocked)) t.equal(answer.status, 200)
  const after = (await expertOf(url, 'blocks')).instances.map(({ pid }) => pid)
  t.strictSame(after, before, 'those that were busy live')
  t.equal((await expertOf(url, 'blocks')).restarts, 0)
})

t.test('start_timeout_ms: a start that never ends is killed, and told', async (t) => {
  const { url } = await startHost(t, {
    files: {
      waits: plugin('waits', 'async init() { await new Promise(() => {}) }'),
      spins: plugin('spins', 'async init() { for (;;); }'),
      imports: plugin('imports', echo, 'await new Promise((r) => setTimeout(r, 60_000))')
    },
    config: {
      experts: {
        waits: { start_timeout_ms: 1500, quarantine: { failures: 1 } },
        spins: { start_timeout_ms: 1500, quarantine: { failures: 1 } },
        imports: { start_timeout_ms: 1500 }
      }
    }
  })
  const words = /did not start within 1500 ms/
  t.match(await expertOf(url, 'waits'), { status: 'QUARANTINED', reason: words })
  t.match(await expertOf(url, 'spins'), { status: 'QUARANTINED', reason: words })
  t.match(await expertOf(url, 'imports'), { status: 'FAILED', reason: words })
  t.match(await predict(url, 'spins', 'Movies/1'), {
    status: 503,
    json: { code: 'HOST_EXPERT_NOT_READY', detail: words }
  })
  t.strictSame(childrenOf(process.pid).filter(isRunning), [])
})
