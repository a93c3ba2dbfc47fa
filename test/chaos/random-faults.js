// 200 random faults on three experts under load while a fourth is watched: not one failed request there,
// nothing left behind.
import {
  childrenOf,
  descriptorsOf,
  experts,
  isAlive,
  openLoop,
  percentile,
  predict,
  send,
  startChaosHost,
  until
} from './chaos-host.js'

const FAULTS = 200

const victim = `
  static params = { type: 'object', properties: { fault: { type: 'string' } } }
  kept = []
  async predict (params) {
    switch (params.extra_params.fault) {
      case 'exit': return process.exit(3)
      case 'segfault': process.kill(process.pid, 'SIGSEGV'); break
      case 'hang': for (;;) {}
      case 'leak': for (let i = 0; i < 40; i++) this.kept.push(Buffer.alloc(8 * 1024 * 1024, 1)); break
      case 'reject': setImmediate(() => Promise.reject(new Error('nobody catches me'))); break
    }
    return { result: 'ok', error: null }
  }
`
const watched = "async predict () { return { result: 'watched', error: null } }"
const kinds = ['kill -9', 'exit', 'segfault', 'hang', 'leak', 'reject']

export default async function randomFaults() {
  const settings = {
    timeout_ms: 300,
    max_memory_mb: 250,
    quarantine: { failures: 1_000_000, within_ms: 60_000 }
  }
  const host = await startChaosHost({
    plugins: { one: victim, two: victim, three: victim, watched },
    experts: { one: settings, two: settings, three: { ...settings, spare: 1 } }
  })
  const recoveries = []
  let lost = 0
  try {
    const before = descriptorsOf(host.pid)
    const load = openLoop(150, () => predict(host.url, 'watched'))
    const background = openLoop(60, () =>
      predict(host.url, ['one', 'two', 'three'][Math.floor(Math.random() * 3)])
    )
    for (let i = 0; i < FAULTS; i++) {
      const name = ['one', 'two', 'three'][i % 3]
      const kind = kinds[Math.floor(Math.random() * kinds.length)]
      const pid = (await experts(host.url)).find((expert) => expert.name === name)?.instances[0]
        ?.pid
      if (kind === 'kill -9') {
        if (pid !== undefined && isAlive(pid)) process.kill(pid, 'SIGKILL')
      } else {
        void send(`${host.url}/experts/${name}/predict`, 'POST', {
          movie_id: '1',
          local: false,
          extra_params: { fault: kind }
        })
      }
      if (pid !== undefined) await until(() => !isAlive(pid), 10_000)
      const began = performance.now()
      const back = await until(async () => (await predict(host.url, name)).status === 200)
      if (back === null) lost += 1
      else recoveries.push(performance.now() - began)
    }
    await background.stop()
    await load.stop()
    const failed = [...load.statuses].filter(([status]) => status !== 200)
    // What a kill left to close is closed within moments.
    const after = await until(() => {
      const now = descriptorsOf(host.pid)
      return now <= before + 4 ? now : null
    })
    const children = childrenOf(host.pid)
    await host.stop()
    const left = children.filter(isAlive)
    return [
      {
        what: 'requests of the watched expert',
        found: `${load.statuses.get(200)} × 200, ${failed.map(([status, n]) => `${n} × ${status}`).join(', ') || 'none failed'} ${load.bad[0] ?? ''}`,
        kept: failed.length === 0
      },
      {
        what: `recovery after ${FAULTS} faults`,
        found: `median ${Math.round(percentile(recoveries, 0.5))} ms, p99 ${Math.round(percentile(recoveries, 0.99))} ms, ${lost} never`,
        kept: lost === 0
      },
      {
        what: 'processes left',
        found: `${left.length} of ${children.length}`,
        kept: left.length === 0
      },
      {
        what: 'descriptors of the host',
        found: `${before} before, ${after ?? 'more'} after`,
        kept: after !== null
      }
    ]
  } finally {
    if (isAlive(host.pid)) await host.stop()
  }
}
