import { cp, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { expertOf, predict, untilTrue } from '../support/experts.ts'
import { notedItems } from '../support/noted-items.js'
import {
  createPipeline,
  endOf,
  itemsOf,
  mostAtOnce,
  movieIds,
  order,
  runPipeline,
  startItems,
  statesOf,
  viewOf
} from '../support/pipelines.ts'
import { call } from '../support/start-host.ts'

t.test('no more items run at once than the expert has slots', async (t) => {
  const { url, notes, latches } = await startItems(t, {
    experts: ['one', 'three'],
    own: { three: { concurrency: 3 } }
  })
  const body = (task: string) => ({
    movies: movieIds(12, task),
    plan: [{ expert: task, extra_params: { how: 'hold slots' } }]
  })
  const tasks = ['one', 'three']
  // Two pipelines share the slots of one expert.
  const keys = await Promise.all([...tasks, ...tasks].map((task) => runPipeline(url, body(task))))
  await untilTrue('the slots are full', async () => {
    const all = await notes()
    return mostAtOnce(all, 'one') >= 1 && mostAtOnce(all, 'three') >= 3
  })
  for (const [place, task] of tasks.entries()) {
    const shown = await Promise.all(
      [keys[place], keys[place + 2]].map(
        async (key) => (await viewOf(url, key as string)).counts[task].running
      )
    )
    const slots = task === 'one' ? 1 : 3
    t.equal(shown[0] + shown[1], slots, `${task}: claims are no more than slots either`)
  }
  await latches.release('slots')
  for (const key of keys) t.equal((await endOf(url, key)).status, 'succeeded')
  const all = await notes()
  t.equal(mostAtOnce(all, 'one'), 1)
  t.equal(mostAtOnce(all, 'three'), 3)
})

t.test('a fast task runs about 1,000 items ahead of a slow one, and no further', async (t) => {
  const { url, notes, latches } = await startItems(t, {
    experts: ['fast', 'slow'],
    settings: { concurrency: 2 }
  })
  const plan = [
    { expert: 'fast' },
    { expert: 'slow', depends_on: ['fast'], extra_params: { how: 'hold slow' } }
  ]
  const key = await runPipeline(url, { movies: movieIds(3000), plan })
  const counts = async () => (await call(`${url}/pipelines/${key}?movies=false`, 'GET')).json.counts
  await untilTrue('it is far ahead', async () => (await counts()).fast?.success >= 1000)
  // Whatever comes after two looks of the runner would come at any time.
  const { started_at } = await viewOf(url, key)
  let [last, same] = [0, 0]
  await untilTrue('it stands', async () => {
    const { fast } = await counts()
    same = fast.success === last ? same + 1 : 0
    last = fast.success
    return same > 30 && Date.now() - Date.parse(started_at) > 2000
  })
  t.ok(last >= 1000 && last <= 1300, `${last} ahead`)
  t.equal((await counts()).slow.running, 2)
  await latches.release('slow')
  t.equal((await endOf(url, key, 60_000)).status, 'succeeded')
  let [ahead, most] = [0, 0]
  for (const { event, task } of await notes()) {
    if (event === 'end' && task === 'fast') ahead += 1
    if (event === 'start' && task === 'slow') ahead -= 1
    most = Math.max(most, ahead)
  }
  t.ok(most <= 1300, `at most ${most} ahead`)
})

t.test("an expert without processMovie saves its predict's records as tokens", async (t) => {
  const { url } = await startItems(t, { experts: { byhand: { byPredict: true } } })
  const of = { 'Movies/m2': 'fail no light' }
  const key = await runPipeline(url, {
    movies: movieIds(3),
    plan: [{ expert: 'byhand', extra_params: { of } }]
  })
  const end = await endOf(url, key)
  t.equal(end.status, 'failed')
  const { tokens } = (await call(`${url}/tokens`, 'GET')).json
  t.match(tokens, [
    { movie_id: 'Movies/m1', label: 'seen by byhand', expert: 'byhand' },
    { movie_id: 'Movies/m3', label: 'seen by byhand', expert: 'byhand' }
  ])
  t.equal(tokens.length, 2)
  t.match(await itemsOf(url, key, 'state=fail'), [{ movie: 'Movies/m2', error: 'no light' }])
})

t.test('extra_params', async (t) => {
  const params = {
    type: 'object',
    required: ['level'],
    properties: {
      level: { type: 'integer', minimum: 1 },
      tone: { type: 'string', default: 'warm' }
    }
  }
  const { url, notes } = await startItems(t, { experts: { strict: { params }, plain: {} } })

  t.test('arrive, with defaults and coercions of the schema, and are recorded', async (t) => {
    const plan = [
      { expert: 'strict', extra_params: { level: '2' } },
      { expert: 'plain', extra_params: { any: [1, { deep: null }] } },
      { expert: 'plain', task: 'bare' }
    ]
    const key = await runPipeline(url, { movies: ['Movies/arrive'], plan })
    t.equal((await endOf(url, key)).status, 'succeeded')
    const got = (task: string) => async () =>
      (await notes()).find(
        (note) => note.event === 'start' && note.pipeline === key && note.task === task
      )?.extraParams
    t.strictSame(await got('strict')(), { level: 2, tone: 'warm' })
    t.strictSame(await got('plain')(), { any: [1, { deep: null }] })
    t.strictSame(await got('bare')(), null)
    const [item] = await itemsOf(url, key, 'task=plain')
    t.strictSame(item?.extra_params, { any: [1, { deep: null }] })
  })

  t.test('that the schema refuses are told, and no item of it runs', async (t) => {
    for (const [extra_params, names] of [
      [{ level: 0 }, /level/],
      [{}, /level/],
      [null, /level/]
    ] as const) {
      const before = (await notes()).length
      const body = { movies: movieIds(3, 'refused'), plan: [{ expert: 'strict', extra_params }] }
      const { status, text, json } = await call(`${url}/pipelines`, 'POST', body)
      if (status === 422) {
        t.match(text, names)
        continue
      }
      await order(url, json._key, 'run')
      t.equal((await endOf(url, json._key)).status, 'failed')
      for (const item of await itemsOf(url, json._key))
        t.match(item, { state: 'fail', error: names })
      t.equal((await notes()).length, before, 'nothing ran')
    }
  })
})

t.test('an expert that is unloaded and loaded again midway', async (t) => {
  const { url, starts, latches } = await startItems(t, { experts: ['away', 'other'] })
  const manage = (name: string, verb: string) =>
    call(`${url}/manage/experts/${name}/${verb}`, 'POST')
  // So long that none is claimed ahead of its turn, which a drain would let end.
  const plan = [
    { expert: 'away', extra_params: { how: 'ms 100', of: { 'Movies/m4': 'hold away' } } },
    { expert: 'other', depends_on: ['away'] }
  ]
  const key = await runPipeline(url, { movies: movieIds(8), plan })
  await untilTrue('the fourth runs', async () => (await starts('away')).includes('Movies/m4'))
  const unloading = manage('away', 'unload')
  await latches.release('away')
  t.equal((await unloading).status, 200)
  await untilTrue('it is away', async () => (await expertOf(url, 'away')).status === 'STOPPED')
  await untilTrue('others go on', async () => {
    const states = await statesOf(url, key)
    return states['other Movies/m3'] === 'success'
  })
  t.equal((await viewOf(url, key)).status, 'running')
  t.ok((await starts('away')).length <= 5, 'nothing runs without it')
  t.equal((await manage('away', 'load')).status, 200)
  t.match(await endOf(url, key), {
    status: 'succeeded',
    tasks: { away: 'success', other: 'success' }
  })
  const attempts = (await itemsOf(url, key, 'task=away')).map((item) => item.attempts)
  t.strictSame(attempts, Array(8).fill(1), 'no attempt was lost')
})

t.test('an expert that is replaced by a new version midway', async (t) => {
  const { url, home, latches, starts, notes } = await startItems(t, { experts: ['changing'] })
  const key = await runPipeline(url, {
    movies: movieIds(40),
    plan: [{ expert: 'changing', extra_params: { of: { 'Movies/m5': 'hold old' } } }]
  })
  await untilTrue('the fifth runs', async () => (await starts('changing')).includes('Movies/m5'))
  // Beside the folder first: the plugin is replaced in one step.
  const next = join(home, 'next')
  await cp(join(home, 'plugins', 'changing'), next, { recursive: true })
  for (const [file, text] of Object.entries(notedItems('changing', { version: '2.0.0' }))) {
    await writeFile(join(next, file), text)
  }
  await rename(join(home, 'plugins', 'changing'), join(home, 'before'))
  await rename(next, join(home, 'plugins', 'changing'))
  await untilTrue('the new version serves', async () => {
    const { json } = await call(`${url}/experts`, 'GET')
    return json[0].version === '2.0.0' && json[0].status === 'ACTIVE'
  })
  await latches.release('old')
  t.equal((await endOf(url, key)).status, 'succeeded')
  const items = await itemsOf(url, key)
  t.strictSame(
    items.map(({ state }) => state),
    Array(40).fill('success')
  )
  const ran = new Map(
    (await notes()).flatMap(({ event, movie, version }) =>
      event === 'end' ? [[movie, version]] : []
    ) as [string, string][]
  )
  t.equal(ran.get('Movies/m40'), '2.0.0')
  for (const { movie, expert_version } of items) {
    if (expert_version !== ran.get(movie))
      t.fail(`${movie} ran with ${ran.get(movie)}, recorded is ${expert_version}`)
  }
  t.equal((await starts('changing')).length, 40, 'none ran twice')
})

t.test('movies that an expert adds to its running pipeline go through it all', async (t) => {
  const { url, latches } = await startItems(t, {
    experts: ['maker', 'user'],
    settings: { concurrency: 2 }
  })
  const of = {
    'Movies/m1': 'add Movies/made1, add Movies/made2',
    'Movies/made1': 'add Movies/made3',
    'Movies/m2': 'hold more'
  }
  const plan = [
    { expert: 'maker', extra_params: { of } },
    { expert: 'user', depends_on: ['maker'] }
  ]
  const key = await runPipeline(url, { movies: movieIds(2), plan })
  await untilTrue(
    'the last one is through',
    async () => (await statesOf(url, key))['user Movies/made3'] === 'success'
  )
  await latches.release('more')
  const end = await endOf(url, key)
  t.equal(end.status, 'succeeded')
  t.strictSame(Object.keys(end.movies), [
    'Movies/m1',
    'Movies/m2',
    'Movies/made1',
    'Movies/made2',
    'Movies/made3'
  ])
  for (const movie of Object.values(end.movies)) {
    t.match((movie as { status: object }).status, { maker: 'success', user: 'success' })
  }
  t.equal(end.movies['Movies/made3'].status.seen, 'by maker')
})

t.test('what its very last item adds is not forgotten', async (t) => {
  const { url } = await startItems(t, { experts: ['maker'] })
  for (let round = 0; round < 10; round++) {
    const [first, second] = movieIds(2, `last${round}-`) as [string, string]
    const of = { [first]: `add ${second}` }
    const key = await runPipeline(url, {
      movies: [first],
      plan: [{ expert: 'maker', extra_params: { of } }]
    })
    const end = await endOf(url, key)
    t.equal(end.movies[second].status.maker, 'success', `round ${round}`)
  }
})

t.test('a short pipeline is not behind the whole of a long one', async (t) => {
  const { url, starts } = await startItems(t, { experts: ['shared'] })
  const plan = [{ expert: 'shared', extra_params: { how: 'ms 5' } }]
  const long = await runPipeline(url, { movies: movieIds(3000, 'long'), plan })
  await untilTrue('it is under way', async () => (await starts('shared')).length > 20)
  const short = await runPipeline(url, { movies: movieIds(3, 'short'), plan })
  const view = await endOf(url, short, 60_000)
  t.equal(view.status, 'succeeded')
  t.equal((await viewOf(url, long)).status, 'running')
  const between = (await starts('shared')).filter((movie) => movie.includes('long')).length
  t.ok(between < 1500, `it had to wait for ${between} items`)
  await order(url, long, 'cancel')
})

t.test('a prediction sent while a pipeline runs is not behind its items', async (t) => {
  const { url, starts } = await startItems(t, { experts: ['busy'] })
  const plan = [{ expert: 'busy', extra_params: { how: 'ms 5' } }]
  const key = await runPipeline(url, { movies: movieIds(3000), plan })
  const short = await createPipeline(url, {
    movies: movieIds(2, 's'),
    plan: [{ expert: 'busy', task: 'short' }]
  })
  await untilTrue('it is under way', async () => (await starts('busy')).length > 20)
  const waits = []
  for (let i = 0; i < 20; i++) {
    const before = (await starts('busy')).length
    const { status } = await predict(url, 'busy', `Movies/now${i}`)
    t.equal(status, 200)
    const ahead = (await starts('busy')).slice(before).indexOf(`Movies/now${i}`)
    waits.push(ahead)
  }
  t.ok(
    waits.every((ahead) => ahead >= 0 && ahead < 20),
    `began behind ${waits.join(', ')} items`
  )
  t.equal((await viewOf(url, key)).status, 'running')
  t.equal((await order(url, short, 'run')).status, 200)
  t.equal((await order(url, key, 'cancel')).status, 200)
  t.equal((await endOf(url, short)).status, 'succeeded')
})

t.test('a prediction sent while a pipeline of very short items runs, too', async (t) => {
  const { url, starts } = await startItems(t, { experts: ['quick'] })
  const key = await runPipeline(url, { movies: movieIds(5000), plan: [{ expert: 'quick' }] })
  await untilTrue('it is under way', async () => (await starts('quick')).length > 500)
  const times = []
  for (let i = 0; i < 20; i++) {
    const from = performance.now()
    t.equal((await predict(url, 'quick', `Movies/now${i}`)).status, 200)
    times.push(performance.now() - from)
  }
  t.ok(Math.max(...times) < 1000, `at most ${Math.round(Math.max(...times))} ms`)
  t.equal((await order(url, key, 'cancel')).status, 200)
})
