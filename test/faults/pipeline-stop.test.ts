import t from 'tap'
import { untilTrue, within } from '../support/experts.ts'
import {
  createPipeline,
  endOf,
  itemsOf,
  makeItemsHome,
  movieIds,
  order,
  runPipeline,
  statesOf,
  viewOf
} from '../support/pipelines.ts'
import { spawnHost } from '../support/start-host.ts'

t.test('a stop in good order loses no attempt, and after a start it goes on', async (t) => {
  const { home, latches, starts, notes } = await makeItemsHome(t, {
    experts: ['steady', 'after'],
    own: { steady: { concurrency: 2, drain_timeout_ms: 500 } }
  })
  const first = await spawnHost(t, { home })
  const of = { 'Movies/m4': 'hold never' }
  const plan = [
    { expert: 'steady', extra_params: { how: 'ms 10', of } },
    { expert: 'after', depends_on: ['steady'] }
  ]
  const key = await runPipeline(first.url, { movies: movieIds(60), plan })
  await untilTrue('it is under way', async () => (await starts('steady')).includes('Movies/m12'))
  first.child.kill('SIGTERM')
  const { code } = await within(first.exited, 30_000, 'the end of the host')
  t.equal(code, 0)
  const before = await notes()
  t.ok(before.length < 2 * 2 * 60, 'it was not through')
  await latches.release('never')
  const second = await spawnHost(t, { home })
  const end = await endOf(second.url, key)
  t.match(end, { status: 'succeeded', tasks: { steady: 'success', after: 'success' } })
  for (const item of await itemsOf(second.url, key)) {
    if (item.attempts !== 1) t.fail(`${item.task} ${item.movie} counts ${item.attempts} attempts`)
  }
  const all = (await starts('steady')).filter((movie) => movie !== 'Movies/m4')
  t.equal(all.length, new Set(all).size, 'what had ended did not run again')
})

t.test('what was canceled or had not begun stays so when the host is killed', async (t) => {
  const { home, starts } = await makeItemsHome(t, { experts: ['steady'] })
  const first = await spawnHost(t, { home })
  const plan = [{ expert: 'steady', extra_params: { how: 'hold never' } }]
  const canceled = await runPipeline(first.url, { movies: movieIds(3, 'c'), plan })
  await untilTrue('it runs', async () => (await starts('steady')).length === 1)
  t.equal((await order(first.url, canceled, 'cancel')).status, 200)
  await createPipeline(first.url, { _key: 'created', movies: movieIds(3, 'n'), plan })
  first.child.kill('SIGKILL')
  await first.exited
  const second = await spawnHost(t, { home })
  const witness = await runPipeline(second.url, {
    movies: ['Movies/w'],
    plan: [{ expert: 'steady' }]
  })
  t.equal((await endOf(second.url, witness)).status, 'succeeded')
  const from = Date.now()
  await untilTrue('the host has looked for pipelines again', () => Date.now() > from + 3500)
  t.strictSame(await starts('steady'), ['Movies/c1', 'Movies/w'])
  t.equal((await viewOf(second.url, canceled)).status, 'canceled')
  t.equal((await viewOf(second.url, 'created')).status, 'created')
  t.strictSame([...new Set(Object.values(await statesOf(second.url, canceled)))], ['ready'])
})
