import t, { type Test } from 'tap'
import { childrenOf, isRunning, untilTrue, within } from '../support/experts.ts'
import { complaint, happened, makeRunsHome, runMode, startMode } from '../support/run-mode.ts'
import { call, makeHome, plugin, spawnHost } from '../support/start-host.ts'

/** Writes a pipeline through a host, which is ended again. */
async function givePipeline(t: Test, home: string, movies: string[], more: object = {}) {
  const host = await spawnHost(t, { home })
  const document = { _key: 'p', movies: movies.map((key) => `Movies/${key}`), ...more }
  const answer = await call(`${host.url}/pipelines`, 'POST', document)
  t.equal(answer.status, 201, answer.text)
  host.child.kill('SIGTERM')
  t.equal((await host.exited).code, 0)
}

const plan = [{ task: 'runs', expert: 'runs' }]

/** What a host finds of the pipeline. */
async function lookAt(t: Test, home: string) {
  const host = await spawnHost(t, { home })
  const { json: document } = await call(`${host.url}/pipelines/p`, 'GET')
  const { json } = await call(`${host.url}/pipelines/p/items`, 'GET')
  host.child.kill('SIGTERM')
  await host.exited
  const movies = document.movies as Record<string, { status?: Record<string, string> }>
  const statuses = Object.fromEntries(
    Object.entries(movies).map(([id, { status }]) => [id.replace('Movies/', ''), status?.runs])
  )
  const items: Array<{ movie: string; state: string; attempts: number; error: string | null }> =
    json.items
  return { task: document.tasks?.runs, statuses, items }
}

t.test('A51 a task takes each movie of its pipeline once, and ends with 0', async (t) => {
  const { home, begun } = await makeRunsHome(t)
  await givePipeline(t, home, ['ok-1', 'ok-2', 'ok-3'], { plan })
  const ran = await runMode(t, home, 'task', { PIPELINE_ID: 'p' })
  t.equal(ran.code, 0, complaint(ran))
  t.strictSame((await begun()).sort(), ['ok-1', 'ok-2', 'ok-3'])
  const progress = ran.lines.filter(({ fraction }) => typeof fraction === 'number')
  t.ok(progress.length >= 1, 'it says how far it is')
  t.match(progress.at(-1), { fraction: 1, note: /^Movies\/ok-\d$/ })
  t.ok(
    progress.every(({ fraction }, i) => Number(fraction) >= Number(progress[i - 1]?.fraction ?? 0))
  )
  const { task, statuses, items } = await lookAt(t, home)
  t.equal(task, 'success')
  t.strictSame(statuses, { 'ok-1': 'success', 'ok-2': 'success', 'ok-3': 'success' })
  t.strictSame(
    items.map(({ state, attempts }) => [state, attempts]),
    [
      ['success', 1],
      ['success', 1],
      ['success', 1]
    ]
  )

  const again = await runMode(t, home, 'task', { PIPELINE_ID: 'pipelines/p' })
  t.equal(again.code, 0, 'nothing to do is a success')
  t.equal((await begun()).length, 3)
})

t.test('A51 a pipeline without a plan is one, too', async (t) => {
  const { home, begun } = await makeRunsHome(t)
  await givePipeline(t, home, ['ok-1', 'ok-2'])
  t.equal((await runMode(t, home, 'task', { PIPELINE_ID: 'p' })).code, 0)
  t.strictSame((await begun()).sort(), ['ok-1', 'ok-2'])
  t.equal((await lookAt(t, home)).task, 'success')
})

t.test('A51 failed movies end a task with 70, and only they are run again', async (t) => {
  const { home, latches, begun } = await makeRunsHome(t)
  await givePipeline(t, home, ['ok-1', 'fail-2', 'throw-3', 'ok-4'], { plan })
  const failed = await runMode(t, home, 'task', { PIPELINE_ID: 'p' })
  t.equal(failed.code, 70)
  t.match(complaint(failed), /task failed/)
  t.match(JSON.stringify(failed.lines), /Movies\/fail-2: it fails|Movies\/throw-3: it broke/)
  const { task, statuses, items } = await lookAt(t, home)
  t.equal(task, 'fail')
  t.strictSame(statuses, {
    'ok-1': 'success',
    'fail-2': 'fail',
    'throw-3': 'fail',
    'ok-4': 'success'
  })
  t.match(items.find(({ movie }) => movie === 'Movies/fail-2')?.error, 'it fails')
  t.match(items.find(({ movie }) => movie === 'Movies/throw-3')?.error, 'it broke in the middle')

  await latches.release('fixed')
  t.equal((await runMode(t, home, 'task', { PIPELINE_ID: 'p' })).code, 70, 'one fails still')
  const last = (await begun()).slice(4).sort()
  t.strictSame(last, ['fail-2', 'throw-3'])
  t.match(await lookAt(t, home), { task: 'fail', statuses: { 'fail-2': 'success' } })
})

t.test('A51 a task without its pipeline says so', async (t) => {
  const { home, begun } = await makeRunsHome(t)
  for (const env of [{}, { PIPELINE_ID: '' }] as Array<Record<string, string>>) {
    const ran = await runMode(t, home, 'task', env)
    t.equal(ran.code, 78, JSON.stringify(env))
    t.match(complaint(ran), /task failed: .*PIPELINE_ID/)
  }
  const ran = await runMode(t, home, 'task', { PIPELINE_ID: 'no-such-pipeline' })
  t.equal(ran.code, 70)
  t.match(JSON.stringify(ran.lines), /no pipeline.*no-such-pipeline/)
  t.strictSame(await begun(), [])
})

t.test('a task of the expert’s own is told its pipeline, and ends as it says', async (t) => {
  const own = (body: string) => plugin('own', `async runPipelineTask(context) { ${body} }`)
  const cases: Array<[string, number, RegExp?]> = [
    ["if (context.pipelineId !== 'the one') throw new Error('which?')", 0],
    ["throw new Error('it broke')", 70, /task failed: .*it broke/],
    ['process.exit(9)', 9],
    ['process.exit(0)', 0],
    ["return { processed: 3, failed: 1, status: 'fail' }", 70, /task failed/],
    ["return { processed: 3, failed: 0, status: 'success', error: null }", 0],
    ["if (context.pipelineId === null) return 'idle'", 0]
  ]
  await Promise.all(
    cases.map(async ([body, code, why], i) => {
      const home = await makeHome(t, { files: { own: own(body) } })
      const env: Record<string, string> = i === cases.length - 1 ? {} : { PIPELINE_ID: 'the one' }
      const ran = await runMode(t, home, 'task', env)
      t.equal(ran.code, code, body)
      if (why !== undefined) t.match(complaint(ran), why, body)
    })
  )
})

t.test('kill -9 in a task: what had ended does not run again', async (t) => {
  const { home, latches, begun } = await makeRunsHome(t)
  await givePipeline(t, home, ['ok-1', 'ok-2', 'hold-3', 'ok-4'], { plan })
  const killed = startMode(t, home, 'task', { PIPELINE_ID: 'p' })
  await latches.started('hold-3')
  const [expert] = childrenOf(killed.child.pid as number)
  killed.child.kill('SIGKILL')
  await killed.ended
  await untilTrue('the end of its expert', () => !isRunning(expert as number))
  const before = await begun()
  await latches.release('hold-3')
  const next = startMode(t, home, 'task', { PIPELINE_ID: 'p' })
  // The store belongs to one host at a time: what a dead one had is free at once.
  const { code } = await within(next.ended, 15_000, 'the task that goes on')
  t.equal(code, 0)
  t.strictSame(before, ['ok-1', 'ok-2', 'hold-3'])
  t.strictSame((await begun()).slice(3), ['hold-3', 'ok-4'])
  const { task, statuses, items } = await lookAt(t, home)
  t.equal(task, 'success')
  t.strictSame(new Set(Object.values(statuses)), new Set(['success']))
  t.equal(items.find(({ movie }) => movie === 'Movies/hold-3')?.attempts, 2)
})

t.test('SIGTERM in a task gives the movie back', async (t) => {
  const { home, latches, begun } = await makeRunsHome(t)
  await givePipeline(t, home, ['ok-1', 'hold-2', 'ok-3'], { plan })
  const stopped = startMode(t, home, 'task', { PIPELINE_ID: 'p' })
  await latches.started('hold-2')
  stopped.child.kill('SIGTERM')
  t.strictSame(await stopped.ended, { code: 70, signal: null })
  t.ok((await happened(latches)).includes('signal hold-2'))
  const { statuses, items } = await lookAt(t, home)
  t.equal(statuses['ok-1'], 'success')
  t.notOk(['success', 'fail'].includes(statuses['hold-2'] as string), 'it has not ended')
  const given = items.find(({ movie }) => movie === 'Movies/hold-2')
  t.match(given, { state: 'ready', attempts: 0 }, 'it was no attempt')

  await latches.release('hold-2')
  const next = startMode(t, home, 'task', { PIPELINE_ID: 'p' })
  t.equal((await within(next.ended, 15_000, 'the task that goes on')).code, 0)
  t.strictSame(await begun(), ['ok-1', 'hold-2', 'hold-2', 'ok-3'])
  t.equal((await lookAt(t, home)).task, 'success')
})
