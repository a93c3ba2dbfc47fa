import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { childrenOf, isRunning, untilTrue, within } from '../support/experts.ts'
import { ended } from '../support/jobs.ts'
import { movieRuns } from '../support/movie-runs.ts'
import { writeFiles } from '../support/packages.ts'
import { complaint, happened, makeRunsHome, runMode, startMode } from '../support/run-mode.ts'
import { call, makeHome, plugin, spawnHost } from '../support/start-host.ts'

/** Local addresses at which a process listens. */
function listening(pid: number): string[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
      } catch {
        return undefined
      }
    })
  )
  return ['tcp', 'tcp6'].flatMap((table) => {
    const rows = readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n').slice(1)
    return rows.flatMap((row) => {
      const [, local = '', , state, , , , , , inode] = row.trim().split(/\s+/)
      return state === '0A' && sockets.has(inode) ? [local] : []
    })
  })
}

t.test('A50 a batch runs once, opens no port, and ends with 0', async (t) => {
  const { home, latches } = await makeRunsHome(t)
  // Whoever would listen, however short, cannot: the port is taken.
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await untilTrue('the other server', () => other.listening)
  const PORT = String((other.address() as AddressInfo).port)
  const batch = startMode(t, home, 'batch', { HOW: 'hold', PORT })
  await latches.started('batch')
  t.strictSame(listening(batch.child.pid as number), [], 'nor at another address')
  const [expert] = childrenOf(batch.child.pid as number) as [number]
  t.strictSame(listening(expert), [])
  await latches.release('batch')
  t.strictSame(await batch.ended, { code: 0, signal: null })
  const events = ['start batch', 'end batch', 'stop ']
  t.strictSame(await happened(latches), events, 'once, and its process ends in good order')
  const messages = batch.lines.map(({ msg }) => msg)
  t.ok(messages.indexOf('batch begins') < messages.indexOf('batch has ended'))
  t.ok(messages.includes('batch begins'))
  t.equal(batch.stderr, '')
  t.notOk(isRunning(expert))
  t.strictSame(readdirSync(`${home}/data/run`), [], 'nothing of the run is left')

  const { code } = await runMode(t, home, 'batch', { HOW: 'empty' })
  t.equal(code, 0, 'what gives nothing has succeeded')
})

t.test('A50 a batch that throws ends with 70 and says why', async (t) => {
  const { home } = await makeRunsHome(t)
  const thrown = await runMode(t, home, 'batch', { HOW: 'throw' })
  t.equal(thrown.code, 70)
  t.match(complaint(thrown), /batch failed: .*it broke in the middle/)
  const late = await runMode(t, home, 'batch', { HOW: 'late' })
  t.equal(late.code, 70, 'also where nobody catches it')
  t.match(JSON.stringify(late.lines), /it broke behind its back/)
  const aborted = await runMode(t, home, 'batch', { HOW: 'abort' })
  t.equal(aborted.code, 70, 'also in native code')
  t.match(complaint(aborted), /SIGABRT/)
  const failed = await runMode(t, home, 'batch', { HOW: 'fail' })
  t.equal(failed.code, 70, 'what says of itself that it failed has')
  t.match(complaint(failed), /batch failed/)
})

t.test('a batch that ends its process ends with that code', async (t) => {
  for (const code of [0, 7]) {
    const { home, begun } = await makeRunsHome(t)
    const ran = await runMode(t, home, 'batch', { HOW: `exit ${code}` })
    t.equal(ran.code, code)
    t.strictSame(await begun(), ['batch'], 'and is not begun again')
  }
})

t.test('a batch that cannot be run ends with 70 and the reason', async (t) => {
  const reasons: Record<string, [Record<string, string>, RegExp]> = {
    'no-batch': [plugin('no-batch', 'predict() {}'), /no-batch.* has no batch/],
    'no-model': [
      plugin('no-model', `init() { throw new Error('there is no model') }\nrunBatch() {}`),
      /expert no-model cannot run.*there is no model/
    ],
    'no-code': [plugin('no-code', 'runBatch( { }'), /expert no-code cannot run.*index\.js:\d/],
    'no-package': [
      plugin('no-package', 'runBatch() {}', "import 'not-installed'"),
      /expert no-package cannot run.*npm install not-installed/
    ]
  }
  await Promise.all(
    Object.entries(reasons).map(async ([name, [files, reason]]) => {
      const ran = await runMode(t, await makeHome(t, { files: { [name]: files } }), 'batch')
      t.equal(ran.code, 70, name)
      t.match(complaint(ran), reason, name)
    })
  )
  const { home } = await makeRunsHome(t)
  await spawnHost(t, { home })
  const second = await runMode(t, home, 'batch', { HOW: 'empty' })
  t.equal(second.code, 70, 'its folder belongs to another host')
  t.match(complaint(second), /the host cannot start: .*host/)
})

t.test('a mode that not one expert is selected for ends with 78 and the names', async (t) => {
  const { home, latches, begun } = await makeRunsHome(t)
  await writeFiles(`${home}/plugins/other`, movieRuns('other'))
  const environments: Array<[Record<string, string>, RegExp]> = [
    [{}, /EXPERT_PLUGINS.*\bruns, other\b/],
    [{ EXPERT_PLUGINS: 'runs,other' }, /EXPERT_PLUGINS.*\bruns, other\b/],
    [{ EXPERT_PLUGINS: 'nobody' }, /EXPERT_PLUGINS/],
    [{ EXPERT_DEFAULT: 'nobody' }, /EXPERT_PLUGINS/]
  ]
  const env = { LATCH_DIR: latches.dir, PIPELINE_ID: 'p' }
  const cases = ['batch', 'task'].flatMap((mode) =>
    environments.map(([selection, reason]) => ({ mode, selection, reason }))
  )
  await Promise.all(
    cases.map(async ({ mode, selection, reason }, i) => {
      // A data folder belongs to one host at a time.
      const own = { ...env, ...selection, NEBULA_DATA_DIR: join(home, `data-${i}`) }
      const ran = await runMode(t, home, mode, own)
      t.equal(ran.code, 78, `${mode} ${JSON.stringify(selection)}`)
      t.match(complaint(ran), reason)
      t.match(complaint(ran), `EXPERT_RUN_MODE=${mode}`)
    })
  )
  const none = await runMode(t, await makeHome(t), 'batch')
  t.equal(none.code, 78)
  t.match(complaint(none), /EXPERT_PLUGINS.*none/)
  t.strictSame(await begun(), [])
  t.equal((await runMode(t, home, 'batch', { ...env, EXPERT_PLUGINS: 'other' })).code, 0)
  t.strictSame(await begun(), ['batch'])
})

t.test('A52 what is no mode in so many words serves', async (t) => {
  const { home, begun } = await makeRunsHome(t)
  await Promise.all(
    ['Batch', 'TASK', 'junk', ' ', 'service'].map(async (EXPERT_RUN_MODE, i) => {
      const env = { EXPERT_RUN_MODE, NEBULA_DATA_DIR: join(home, `data-${i}`) }
      const host = await spawnHost(t, { home, env })
      t.equal((await call(`${host.url}/status`, 'GET')).text, '{"status":"ACTIVE"}')
      host.child.kill('SIGTERM')
      t.equal((await host.exited).code, 0, JSON.stringify(EXPERT_RUN_MODE))
    })
  )
  t.strictSame(await begun(), [])
})

t.test('a signal reaches the batch, and ends it with 70', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { home, latches } = await makeRunsHome(t)
    const batch = startMode(t, home, 'batch', { HOW: 'hold' })
    await latches.started('batch')
    batch.child.kill(signal)
    t.strictSame(await batch.ended, { code: 70, signal: null })
    t.strictSame(await happened(latches), ['start batch', 'signal batch', 'stop '], signal)
    t.strictSame(readdirSync(`${home}/data/run`), [])
  }
  const { home, latches } = await makeRunsHome(t)
  const deaf = startMode(t, home, 'batch', { HOW: 'deaf' })
  const [expert] = await latches.started('batch').then(() => childrenOf(deaf.child.pid as number))
  deaf.child.kill('SIGTERM')
  const { code } = await within(deaf.ended, 15_000, 'the end of a batch that hears nothing')
  t.equal(code, 70)
  t.notOk(isRunning(expert as number))
})

t.test('a batch leaves accepted jobs and running pipelines to the next host', async (t) => {
  const { home, latches, begun } = await makeRunsHome(t, { concurrency: 4 })
  const host = await spawnHost(t, { home })
  const body = { movie_id: 'job', local: false, is_async: true, extra_params: { how: 'hold' } }
  const { json } = await call(`${host.url}/experts/runs/predict`, 'POST', body)
  const document = { _key: 'p', movies: ['Movies/hold-1'], plan: [{ expert: 'runs' }] }
  t.equal((await call(`${host.url}/pipelines`, 'POST', document)).status, 201)
  t.equal((await call(`${host.url}/pipelines/p/run`, 'POST')).status, 200)
  await Promise.all([latches.started('job'), latches.started('hold-1')])
  host.child.kill('SIGKILL')
  await host.exited

  await latches.release('job', 'hold-1')
  const before = await begun()
  t.equal((await runMode(t, home, 'batch', { HOW: 'ask' })).code, 0)
  t.strictSame((await begun()).slice(before.length), ['batch'])

  const next = await spawnHost(t, { home })
  t.match(await ended(next.url, json.jobId), { status: 'succeeded', attempts: 2 })
  await untilTrue('the end of the pipeline', async () => {
    return (await call(`${next.url}/pipelines/p`, 'GET')).json.status === 'succeeded'
  })
})
