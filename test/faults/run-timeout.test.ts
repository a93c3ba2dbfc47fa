import t from 'tap'
import { expertOf, isRunning, pidOf, predict, untilTrue } from '../support/experts.ts'
import { plugin, startHost } from '../support/start-host.ts'

const runs = `
  async predict(params, context) {
    const { how } = params.extra_params ?? {}
    if (how === 'deaf') await new Promise(() => {})
    if (how === 'spin') for (;;);
    if (how === 'polite') {
      await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
      throw new Error('stopped as asked')
    }
    if (how === 'short') await new Promise((resolve) => setTimeout(resolve, 100))
    return { result: params.movie_id, error: null, pid: process.pid }
  }`

const TIMEOUT_MS = 500

t.test('timeout_ms', async (t) => {
  const { url } = await startHost(t, {
    files: Object.fromEntries(
      ['deaf', 'spinning', 'polite', 'once'].map((name) => [name, plugin(name, runs)])
    ),
    config: {
      experts: {
        deaf: { timeout_ms: TIMEOUT_MS, concurrency: 3, quarantine: { failures: 1 } },
        spinning: { timeout_ms: TIMEOUT_MS, quarantine: { failures: 1 } },
        polite: { timeout_ms: TIMEOUT_MS },
        once: { timeout_ms: TIMEOUT_MS, concurrency: 2, rerun: false }
      }
    }
  })

  const timed = async (name: string, how: string) => {
    const before = performance.now()
    const answer = await predict(url, name, 'Movies/1', { how })
    return { ...answer, ms: performance.now() - before }
  }
  const isTimeout = { status: 504, json: { code: 'HOST_RUN_TIMEOUT', detail: /500/ } }
  const early = (ms: number) => ms >= TIMEOUT_MS - 20 && ms < TIMEOUT_MS + 1000

  await t.test('a run that ignores its signal', async (t) => {
    const pid = await pidOf(url, 'deaf')
    const asked = performance.now()
    const late = timed('deaf', 'deaf')
    const { ms, ...answer } = await late
    t.match(answer, isTimeout)
    t.ok(early(ms), `answered after ${ms.toFixed(0)} ms`)
    t.ok(isRunning(pid), 'within its grace its process lives')

    // Shares the process while it is killed, and runs again in the next.
    await untilTrue('most of the grace', () => performance.now() - asked > TIMEOUT_MS + 1700)
    const sharing = await predict(url, 'deaf', 'Movies/2', { how: 'deaf-not' })
    t.match(sharing, { status: 200, json: { pid } })
    const shared: ReturnType<typeof predict>[] = []
    const killed = untilTrue('the kill', async () => {
      shared.push(predict(url, 'deaf', `Movies/${shared.length}`, { how: 'short' }))
      return !isRunning(pid)
    })
    await killed
    const passed = performance.now() - asked
    t.ok(passed > TIMEOUT_MS + 1900, `killed after ${passed.toFixed(0)} ms`)
    t.ok(passed < TIMEOUT_MS + 4000, 'and not much later')
    const answers = await Promise.all(shared)
    t.strictSame(
      answers.filter((answer) => answer.status !== 200 && answer.status !== 503),
      [],
      'none that shared the process failed'
    )
    t.ok(answers.some((answer) => answer.json.pid !== undefined && answer.json.pid !== pid))
    const row = await expertOf(url, 'deaf')
    t.equal(row.status, 'ACTIVE', "a caller's kill is no failure of the expert")
    t.match(row.last_exit, /did not end within 2000 ms of its signal/)
  })

  await t.test('a run that spins', async (t) => {
    const pid = await pidOf(url, 'spinning')
    const spinning = timed('spinning', 'spin')
    await untilTrue('the run', async () => {
      const { instances } = await expertOf(url, 'spinning')
      return instances[0]?.in_flight === 1
    })
    const behind = predict(url, 'spinning', 'Movies/2')
    const { ms, ...answer } = await spinning
    t.match(answer, isTimeout)
    t.ok(early(ms), `answered after ${ms.toFixed(0)} ms`)
    const after = await behind
    t.match(after, { status: 200, json: { result: 'Movies/2' } }, 'what waited behind it runs')
    t.not(after.json.pid, pid, 'in the next process')
    t.equal((await expertOf(url, 'spinning')).status, 'ACTIVE')
  })

  await t.test('a run that honours its signal', async (t) => {
    const pid = await pidOf(url, 'polite')
    const { ms, ...answer } = await timed('polite', 'polite')
    t.match(answer, isTimeout)
    t.ok(early(ms), `answered after ${ms.toFixed(0)} ms`)
    const ended = performance.now()
    await untilTrue('the end of the run', async () => {
      return (await expertOf(url, 'polite')).instances[0]?.in_flight === 0
    })
    t.match(await predict(url, 'polite', 'Movies/2'), { status: 200, json: { pid } })
    await untilTrue('the grace', () => performance.now() - ended > 2500)
    t.equal(await pidOf(url, 'polite'), pid, 'its process was not killed')
    t.equal((await expertOf(url, 'polite')).restarts, 0)
  })

  await t.test('rerun: false', async (t) => {
    const deaf = predict(url, 'once', 'Movies/1', { how: 'deaf' })
    t.match(await deaf, isTimeout)
    const pid = await pidOf(url, 'once')
    const shared: ReturnType<typeof predict>[] = []
    await untilTrue('the kill', async () => {
      shared.push(predict(url, 'once', 'Movies/2', { how: 'short' }))
      return !isRunning(pid)
    })
    const answers = await Promise.all(shared)
    const lost = answers.filter((answer) => answer.status === 502)
    t.ok(lost.length <= 1, 'at most the one that ran beside it')
    for (const answer of lost) {
      t.match(answer.json, { code: 'HOST_EXPERT_EXITED', detail: /2000 ms of its signal/ })
    }
  })
})
