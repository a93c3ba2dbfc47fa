import t, { type Test } from 'tap'
import { openDocumentStores } from '../dist/documents/document-stores.js'
import { pipelineQuestions } from '../dist/documents/pipeline-questions.js'
import { createSilentLog } from '../dist/observe/log.js'

const MINUTE = 60_000

/** The questions of two hosts to one store, and a clock that stands still. */
async function prepare(t: Test) {
  const stores = await openDocumentStores.sqlite({ dir: t.testdir(), log: createSilentLog() })
  t.teardown(() => stores.close())
  const clock = { now: 1_000_000 }
  const now = () => clock.now
  const hosts = ['one', 'two'].map((hostId) => pipelineQuestions(stores, { hostId, now }))
  const asker =
    (place: number) =>
    async (what: string, ...args: unknown[]): Promise<any> =>
      hosts[place]?.[what]?.('ocr', args)
  const keys: string[] = []
  for (const _key of ['a', 'b']) {
    keys.push((await stores.pipelines.create({ _key, movies: ['Movies/1'] }))._key)
  }
  const claimOf = async (id: string, task = 'x') =>
    ((await stores.pipelines.get(id)) as { claims?: Record<string, unknown> })?.claims?.[task] ??
    null
  return { stores, clock, one: asker(0), two: asker(1), claimOf }
}

t.test('6.6-10 a claim that crashed is given again when its ten minutes are over', async (t) => {
  const { clock, one, two, claimOf } = await prepare(t)
  t.equal((await one('pipelines.claimFirst', 'x'))._key, 'a')
  t.equal((await two('pipelines.claimFirst', 'x'))._key, 'b')
  t.equal(await one('pipelines.claimFirst', 'x'), undefined)
  t.strictSame(await claimOf('b'), {
    owner: 'two/ocr',
    until: clock.now + 10 * MINUTE,
    attempts: 1
  })
  clock.now += 9 * MINUTE
  await two('pipelines.begin', 'b', 'x')
  t.match(await claimOf('b'), { attempts: 1 }, 'renewed by its owner')
  clock.now += MINUTE
  t.equal((await two('pipelines.claimFirst', 'x'))._key, 'a', 'that of the lost host')
  t.strictSame(await claimOf('a'), {
    owner: 'two/ocr',
    until: clock.now + 10 * MINUTE,
    attempts: 2
  })
  t.equal(await one('pipelines.claimFirst', 'x'), undefined, 'the other is renewed')
  clock.now += 9 * MINUTE
  t.equal((await one('pipelines.claimFirst', 'x'))._key, 'b')
})

t.test(
  '6.6-10 what failed is given again, three times in all; what succeeded is not',
  async (t) => {
    const { clock, one, two, claimOf, stores } = await prepare(t)
    await one('pipelines.claimFirst', 'x')
    await one('pipelines.end', 'a', 'x', 'success')
    t.equal(await claimOf('a'), null)
    for (const time of [1, 2, 3]) {
      t.equal((await two('pipelines.claimFirst', 'x'))?._key, 'b', `time ${time}`)
      await two('pipelines.end', 'b', 'x', 'fail')
      t.equal(await one('pipelines.claimFirst', 'x'), undefined, 'not at once')
      t.match((await stores.pipelines.get('b'))?.['tasks'], { x: 'fail' })
      clock.now += 10 * MINUTE
    }
    t.equal(await two('pipelines.claimFirst', 'x'), undefined)
    t.equal(await claimOf('b'), null)
  }
)

t.test('what is given back may be claimed at once, and was no attempt', async (t) => {
  const { one, two, claimOf } = await prepare(t)
  await one('pipelines.claimFirst', 'x')
  await one('pipelines.claimFirst', 'x')
  await one('pipelines.release', 'b', 'x')
  t.match(await claimOf('b'), { attempts: 0 })
  t.equal((await two('pipelines.claimFirst', 'x'))._key, 'b')
  t.equal(await one('pipelines.release', 'none', 'x'), undefined)
})

t.test('tasks of one pipeline that are claimed at once keep each their own claim', async (t) => {
  const { one, stores } = await prepare(t)
  const tasks = Array.from({ length: 20 }, (_, place) => `task ${place}`).concat('__proto__')
  await Promise.all(tasks.map((task) => one('pipelines.begin', 'a', task)))
  const { claims } = (await stores.pipelines.get('a')) as unknown as { claims: object }
  t.strictSame(Object.keys(claims).sort(), tasks.sort())
})

t.test('pages of pipelines that are for others are passed', async (t) => {
  const { one, stores } = await prepare(t)
  for (let place = 0; place < 120; place++) {
    await stores.pipelines.create({ _key: `0${place}`, inputs: { other: {} } })
  }
  t.equal((await one('pipelines.claimFirst', 'x'))._key, 'a')
  await stores.pipelines.create({ _key: 'z', plan: [null, { task: 'y' }] })
  t.equal((await one('pipelines.claimFirst', 'y'))._key, 'a')
  t.equal((await one('pipelines.claimFirst', 'y'))._key, 'b')
  t.equal((await one('pipelines.claimFirst', 'y'))._key, 'z')
})

t.test('every argument is checked, and the error names it', async (t) => {
  const { one } = await prepare(t)
  const claim = { pipeline: 'a', task: 'x', movie: 'Movies/1', token: 't', attempts: 1 }
  const ran = { expert_version: null, model_sha256: null }
  const end = { claim, state: 'success', error: null, startedAt: 1, finishedAt: 2, ran }
  const cases: Array<[string, unknown[], RegExp]> = [
    ['pipelines.create', ['a'], /^document is no object$/],
    ['pipelines.get', [null], /^id is/],
    ['pipelines.get', ['a', 1], /^options is/],
    ['pipelines.update', [1, {}], /^id is/],
    ['pipelines.update', ['a'], /^change is/],
    ['pipelines.update', ['a', { tasks: [] }], /^tasks is/],
    ['pipelines.update', ['a', { inputs: 'x' }], /^inputs is/],
    ['pipelines.update', ['a', { movies: 1 }], /^movies is/],
    ['pipelines.update', ['a', { movies: { 'Movies/1': 1 } }], /^movies.Movies\/1 is/],
    ['pipelines.claimFirst', [], /^task is/],
    ['pipelines.begin', ['a', 1], /^task is/],
    ['pipelines.end', ['a', 'x', 'active'], /^status is/],
    ['pipelines.reconcile', ['a'], /^task is/],
    ['pipelines.claim', ['a', 'x', 0], /^limit is/],
    ['pipelines.record', ['x', 1], /^changes is/],
    ['pipelines.record', ['x', [{ ...end, claim: null }]], /^claim is/],
    ['pipelines.record', ['x', [{ ...end, claim: { ...claim, token: 1 } }]], /^claim.token is/],
    ['pipelines.record', ['x', [{ ...end, state: 'skipped' }]], /^state is/],
    ['pipelines.record', ['x', [{ ...end, ran: null }]], /^ran is/],
    ['pipelines.record', ['x', [{ ...end, startedAt: 'now' }]], /^startedAt is/],
    ['pipelines.record', ['x', [{ ...end, error: 5 }]], /^error is/],
    ['pipelines.record', ['x', [{ claim, state: 'ready', attempts: -1 }]], /^attempts is/],
    ['pipelines.isRunning', ['a'], /^task is/],
    ['changes.created', [1], /^step is/],
    ['changes.created', ['x', 5], /^cursor is/]
  ]
  for (const [what, args, message] of cases) {
    const invalid = { code: 'HOST_DOCUMENT_INVALID', message }
    await t.rejects(
      Promise.resolve().then(() => one(what, ...args)),
      invalid,
      `${what} ${message}`
    )
  }
})
