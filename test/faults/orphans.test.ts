import t from 'tap'
import {
  childrenOf,
  expertOf,
  isRunning,
  listExperts,
  predict,
  untilTrue
} from '../support/experts.ts'
import { plugin, spawnHost } from '../support/start-host.ts'

const LIMIT_MS = 3000

t.test('kill -9 of the host leaves no process behind, whatever its experts do', async (t) => {
  const body = (work: string) => `async predict(params) { ${work}; return params.movie_id }`
  const host = await spawnHost(t, {
    files: {
      idle: plugin('idle', body('')),
      spinning: plugin('spinning', body('for (;;);')),
      native: plugin(
        'native',
        body("pbkdf2Sync('x', 'y', 2 ** 31 - 1, 64, 'sha512')"),
        "import { pbkdf2Sync } from 'node:crypto'"
      ),
      'native-pool': plugin(
        'native-pool',
        body("await new Promise((r) => pbkdf2('x', 'y', 2 ** 31 - 1, 64, 'sha512', r))"),
        "import { pbkdf2 } from 'node:crypto'"
      ),
      waiting: plugin('waiting', body('await new Promise(() => {})')),
      starting: plugin('starting', 'async init() { for (;;); }')
    },
    awaitStart: false
  })
  const busy = ['spinning', 'native', 'native-pool', 'waiting']
  for (const name of ['idle', ...busy]) {
    await untilTrue(name, async () => (await expertOf(host.url, name)).status === 'ACTIVE', 30_000)
  }
  const cut = busy.map((name) => predict(host.url, name, 'Movies/1').catch(() => 'cut off'))
  await untilTrue('the runs', async () => {
    const rows = await listExperts(host.url)
    return rows.filter((row) => row.instances[0]?.in_flight === 1).length === busy.length
  })
  const hostPid = host.child.pid as number
  const children = childrenOf(hostPid)
  t.equal(children.length, 6, 'the one whose init spins included')
  const known = (await listExperts(host.url)).flatMap((row) => row.instances.map(({ pid }) => pid))
  t.strictSame(
    known.filter((pid) => !children.includes(pid)),
    []
  )
  for (const name of busy) {
    const pid = (await expertOf(host.url, name)).instances[0]?.pid as number
    t.ok(isRunning(pid), `${name} runs`)
  }

  const killedAt = performance.now()
  process.kill(hostPid, 'SIGKILL')
  await untilTrue('the end of every child', () => !children.some(isRunning), LIMIT_MS)
  t.comment(`all gone ${(performance.now() - killedAt).toFixed(0)} ms after the host`)
  t.strictSame(children.filter(isRunning), [])
  t.match(await host.exited, { signal: 'SIGKILL' })
  t.strictSame(
    await Promise.all(cut),
    busy.map(() => 'cut off')
  )
})
