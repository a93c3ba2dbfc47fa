import t from 'tap'
import { expertOf, pidOf, predict, untilTrue } from '../support/experts.ts'
import { endOf, itemsOf, movieIds, runPipeline, startItems } from '../support/pipelines.ts'

t.test(
  'a process that is killed under an item: the item runs again, others are unharmed',
  async (t) => {
    const { url, starts } = await startItems(t, {
      experts: ['frail', 'other'],
      settings: { concurrency: 2 }
    })
    const of = { 'Movies/m3': 'kill 1', 'Movies/m5': 'exit 2', 'Movies/m7': 'kill 99' }
    const plan = [
      { expert: 'frail', extra_params: { how: 'ms 5', of } },
      { expert: 'other', depends_on: ['frail'] }
    ]
    const key = await runPipeline(url, { movies: movieIds(12), plan })
    const end = await endOf(url, key, 60_000)
    t.match(end, { status: 'failed', tasks: { frail: 'fail', other: 'fail' } })
    const items = await itemsOf(url, key)
    const item = (task: string, movie: string) =>
      items.find((one) => one.task === task && one.movie === movie)
    t.match(item('frail', 'Movies/m3'), { state: 'success', attempts: 2, error: null })
    t.match(item('frail', 'Movies/m5'), { state: 'success', attempts: 3, error: null })
    t.match(item('frail', 'Movies/m7'), { state: 'fail', attempts: 3, error: /3 times.*SIGKILL/s })
    t.match(item('other', 'Movies/m7'), { state: 'skipped' })
    for (const one of items) {
      if (/m[357]$/.test(one.movie)) continue
      t.equal(one.state, 'success', `${one.task} ${one.movie}`)
    }
    const runs = (movie: string) =>
      starts('frail').then((all) => all.filter((one) => one === movie).length)
    t.strictSame(await Promise.all(['m3', 'm5', 'm7'].map((id) => runs(`Movies/${id}`))), [2, 3, 3])
    t.equal((await predict(url, 'frail', 'Movies/after')).status, 200, 'it serves')
  }
)

t.test('a process killed from outside costs its items one attempt', async (t) => {
  const { url, starts, latches } = await startItems(t, {
    experts: ['frail'],
    settings: { concurrency: 3 }
  })
  const of = Object.fromEntries(movieIds(3).map((movie) => [movie, 'hold gate']))
  const key = await runPipeline(url, {
    movies: movieIds(20),
    plan: [{ expert: 'frail', extra_params: { of } }]
  })
  await untilTrue('three run', async () => (await starts('frail')).length === 3)
  process.kill(await pidOf(url, 'frail'), 'SIGKILL')
  await latches.release('gate')
  t.equal((await endOf(url, key)).status, 'succeeded')
  const attempts = (await itemsOf(url, key)).map((item) => item.attempts)
  t.ok(
    attempts.every((times) => times <= 2),
    attempts.join(' ')
  )
  const all = await starts('frail')
  for (const movie of movieIds(20).slice(3))
    t.equal(all.filter((one) => one === movie).length, 1, movie)
})

t.test('`attempts` of the step count, and one that hangs ends with timeout_ms', async (t) => {
  const { url, starts } = await startItems(t, { experts: ['frail', 'hanging'] })
  const movies = movieIds(4)
  const plan = [
    { expert: 'frail', attempts: 1, extra_params: { of: { 'Movies/m2': 'kill 1' } } },
    {
      expert: 'hanging',
      timeout_ms: 300,
      extra_params: { of: { 'Movies/m1': 'hold nothing', 'Movies/m3': 'spin 9' } }
    }
  ]
  const key = await runPipeline(url, { movies, plan })
  t.equal((await endOf(url, key, 60_000)).status, 'failed')
  const failed = await itemsOf(url, key, 'state=fail')
  t.match(failed, [
    { task: 'frail', movie: 'Movies/m2', attempts: 1 },
    { task: 'hanging', movie: 'Movies/m1', attempts: 1, error: /300/ },
    { task: 'hanging', movie: 'Movies/m3', attempts: 1, error: /300/ }
  ])
  t.equal(failed.length, 3, 'the others went through')
  t.equal((await starts('hanging')).length, 4, 'what took too long is not tried again')
  t.equal((await expertOf(url, 'hanging')).status, 'ACTIVE')
})
