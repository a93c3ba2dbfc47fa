import { randomUUID } from 'node:crypto'
import t from 'tap'
import { type SharedDatabase, shareDatabase } from '../support/arango.ts'
import { untilTrue } from '../support/experts.ts'
import {
  endOf,
  itemsOf,
  makeItemsHome,
  type NotedItemsHome,
  runPipeline,
  startItems
} from '../support/pipelines.ts'
import { call, plugin, spawnHost, startHost } from '../support/start-host.ts'

const EXPERTS = {
  videoprocessing: {},
  re_id_task: { dependency: 'videoprocessing' }
}
const RUNS = { EXPERT_RUN_PIPELINE: 'true' }

/** What the system's web client inserts. */
function seedDocument(more: Record<string, unknown> = {}, urls = ['https://host/video8059.mp4']) {
  const id = randomUUID()
  return {
    ...{ _key: id, id, movies: {}, tasks: {} },
    inputs: {
      videoprocessing: {
        ...{ is_async: 'true', output: 'db', overwrite: 'true', save_movies: 'true' },
        movies: urls.map((url) => ({ movie_id: '', url, type: 'movie' }))
      },
      re_id_task: {}
    },
    ...{ config_name: 'default', tag: 'exp-7', own: { deep: [1, { x: null }], ü: 'é' } },
    ...more
  }
}

/** A document once its readers see that all its tasks have ended. */
function readEnd(shared: SharedDatabase, key: string, tasks: string[]) {
  let found: Record<string, any> | undefined
  return untilTrue(`the tasks of ${key}`, async () => {
    found = await shared.read('pipelines', key)
    return tasks.every((task) => ['success', 'fail'].includes(found?.tasks[task]))
  }).then(() => found as Record<string, any>)
}

t.test('a pipeline that another tool writes into the shared database', async (t) => {
  const shared = await shareDatabase(t)
  const host = await startItems(t, {
    experts: EXPERTS,
    env: { ...shared.env, ...RUNS }
  })
  const { url, notes, starts, latches } = host

  t.test('is run, and its readers find what they look for', async (t) => {
    const document = seedDocument()
    await shared.insert('pipelines', document)
    const end = await readEnd(shared, document._key, ['videoprocessing', 're_id_task'])
    const id = Object.keys(end.movies)[0] as string
    t.match(id, /^Movies\/-?\d+$/)
    t.equal(end.movies[id].status.videoprocessing, 'success')
    t.strictSame(end.tasks, { videoprocessing: 'success', re_id_task: 'success' })
    t.strictSame(Object.keys(end.movies[id]).sort(), ['_key', 'context', 'status'])
    t.equal(end.movies[id]._key, id.slice('Movies/'.length))
    const { _key, id: same, inputs, config_name, tag, own } = document
    t.match(end, { _key, id: same, config_name, tag })
    t.strictSame([end.inputs, end.own], [inputs, own], 'all else is untouched')
    const movie = await shared.read('Movies', id.slice('Movies/'.length))
    t.match(movie, {
      orig_url: 'https://host/video8059.mp4',
      url_path: 'https://host/video8059.mp4',
      pipeline_id: document._key
    })
    const order = (await notes()).flatMap(({ event, task }) => (event === 'start' ? task : []))
    t.strictSame(order, ['videoprocessing', 're_id_task'], 'the one after that which it needs')
    const [start] = await notes()
    t.strictSame(start?.extraParams, { overwrite: 'true', save_movies: 'true' })
    const [item] = await itemsOf(url, document._key, 'task=videoprocessing')
    t.match(item, { movie: id, state: 'success', expert: 'videoprocessing' })
  })

  t.test('two of one address are one movie', async (t) => {
    const document = seedDocument({}, ['http://h/a.mp4', 'http://h/b.avi', 'http://h/a.mp4'])
    await shared.insert('pipelines', document)
    const end = await readEnd(shared, document._key, ['videoprocessing', 're_id_task'])
    t.equal(Object.keys(end.movies).length, 2)
  })

  t.test('with movies as a list, or already partly done', async (t) => {
    const status = { videoprocessing: 'success' }
    const movies = [{ _id: 'Movies/77', _key: '77', status }]
    const document = seedDocument({
      movies,
      tasks: status,
      inputs: { re_id_task: {}, videoprocessing: {} }
    })
    await shared.insert('pipelines', document)
    const end = await readEnd(shared, document._key, ['re_id_task'])
    const entry = Array.isArray(end.movies) ? end.movies[0] : end.movies['Movies/77']
    t.strictSame(entry.status, { videoprocessing: 'success', re_id_task: 'success' })
    t.notOk(
      (await starts('videoprocessing')).includes('Movies/77'),
      'what was done is not done again'
    )
  })

  t.test('waits for what another tool does, and goes on then', async (t) => {
    const movies = { 'Movies/88': { _key: '88', status: {} } }
    const document = seedDocument({ movies, inputs: { elsewhere: {}, videoprocessing: {} } })
    await shared.insert('pipelines', document)
    await untilTrue('its own part is done', async () => {
      const found = await shared.read('pipelines', document._key)
      return found?.tasks.videoprocessing === 'success'
    })
    t.equal((await call(`${url}/pipelines/${document._key}`, 'GET')).json.status, 'running')
    await shared.patch('pipelines', { _key: document._key, tasks: { elsewhere: 'success' } })
    t.equal((await endOf(url, document._key)).status, 'succeeded')
    const end = (await shared.read('pipelines', document._key)) as Record<string, any>
    t.strictSame(end.tasks, { videoprocessing: 'success', elsewhere: 'success' })
  })

  t.test('movies that it adds while the pipeline runs are run too', async (t) => {
    const document = seedDocument({
      movies: { 'Movies/91': { _key: '91', context: '', status: {} } },
      inputs: { videoprocessing: { how: 'hold more' } }
    })
    await shared.insert('pipelines', document)
    await untilTrue('it runs', async () => (await starts('videoprocessing')).includes('Movies/91'))
    const added = { 'Movies/92': { _key: '92', context: 'late', status: {} } }
    await shared.patch('pipelines', { _key: document._key, movies: added })
    await latches.release('more')
    const { status } = await endOf(url, document._key)
    t.equal(status, 'succeeded')
    const end = (await shared.read('pipelines', document._key)) as Record<string, any>
    t.strictSame(end.movies['Movies/92'], {
      _key: '92',
      context: 'late',
      status: { videoprocessing: 'success' }
    })
  })

  t.test('is shown while it runs, no more than 5 s late', async (t) => {
    const movies = Object.fromEntries(
      [1, 2, 3].map((n) => [`Movies/10${n}`, { _key: `10${n}`, status: {} }])
    )
    const of = { 'Movies/102': 'hold late' }
    const document = seedDocument({ movies, inputs: { videoprocessing: { of } } })
    await shared.insert('pipelines', document)
    await untilTrue('the first has ended', async () => {
      return (await notes()).some(({ event, movie }) => event === 'end' && movie === 'Movies/101')
    })
    const from = Date.now()
    await untilTrue('readers see it', async () => {
      const found = await shared.read('pipelines', document._key)
      return found?.movies['Movies/101']?.status.videoprocessing === 'success'
    })
    t.ok(Date.now() - from < 8000, `${Date.now() - from} ms late`)
    const seen = (await shared.read('pipelines', document._key)) as Record<string, any>
    t.notOk(seen.movies['Movies/103'].status.videoprocessing)
    await untilTrue('the task is active', async () => {
      return (await shared.read('pipelines', document._key))?.tasks.videoprocessing === 'active'
    })
    await latches.release('late')
    t.equal((await endOf(url, document._key)).status, 'succeeded')
  })

  t.test('is left alone when it names experts that are not here', async (t) => {
    const alien = seedDocument({
      inputs: { alien: { movies: [{ movie_id: '', url: 'http://h/x.mp4' }] } }
    })
    const bare = seedDocument({ inputs: {}, movies: { 'Movies/5': { _key: '5', status: {} } } })
    const broken = [
      seedDocument({ inputs: 5, movies: 7, tasks: 'x' }),
      seedDocument({ inputs: { videoprocessing: null }, movies: null }),
      seedDocument({ plan: [{ expert: 5 }, 'x'], inputs: { videoprocessing: 'no object' } })
    ]
    for (const document of [alien, bare, ...broken]) await shared.insert('pipelines', document)
    const witness = seedDocument()
    await shared.insert('pipelines', witness)
    const late = seedDocument()
    await readEnd(shared, witness._key, ['re_id_task'])
    await shared.insert('pipelines', late)
    await readEnd(shared, late._key, ['re_id_task'])
    for (const document of [alien, bare]) {
      const { _id, _rev, ...found } = (await shared.read('pipelines', document._key)) as Record<
        string,
        any
      >
      t.strictSame(found, document)
    }
    t.equal((await call(`${url}/pipelines/${alien._key}`, 'GET')).json.status, undefined)
    t.equal((await call(`${url}/pipelines/${alien._key}/run`, 'POST')).status, 409)
  })
})

t.test('without EXPERT_RUN_PIPELINE nothing of others is touched', async (t) => {
  const shared = await shareDatabase(t)
  const settings: Record<string, string>[] = [{}, { EXPERT_RUN_PIPELINE: 'False' }]
  for (const env of settings) {
    const host = await startItems(t, { experts: EXPERTS, env: { ...shared.env, ...env } })
    const document = seedDocument()
    await shared.insert('pipelines', document)
    // Two of the host's own: it has looked for pipelines in between.
    const plan = [{ expert: 'videoprocessing' }]
    for (const movies of [['Movies/1'], ['Movies/2']]) {
      await endOf(host.url, await runPipeline(host.url, { movies, plan }))
    }
    const from = Date.now()
    await untilTrue('more than the time between two looks', () => Date.now() > from + 3500)
    const { _id, _rev, ...found } = (await shared.read('pipelines', document._key)) as Record<
      string,
      any
    >
    t.strictSame(found, document)
    t.strictSame(await host.starts('videoprocessing'), ['Movies/1', 'Movies/2'])
    // By hand it may be run all the same.
    t.equal((await call(`${host.url}/pipelines/${document._key}/run`, 'POST')).status, 200)
    t.match(await endOf(host.url, document._key), {
      tasks: { videoprocessing: 'success', re_id_task: 'success' }
    })
    await host.host.stop()
  }
})

/** Writes documents as another tool's expert does. */
const writer = plugin(
  'writer',
  `async predict({ extra_params: { id, movies, tasks, inputs } }) {
    await this.pipelines.createPipeline(id, movies, tasks)
    return this.pipelines.updatePipeline('writer', id, {}, {}, inputs)
  }`
)

t.test('with SQLite, a pipeline that an expert of this host writes is run', async (t) => {
  const { url, notes } = await startItems(t, { experts: EXPERTS, files: { writer }, env: RUNS })
  const { _key, movies, tasks, inputs } = seedDocument()
  const body = { movie_id: '1', local: false, extra_params: { id: _key, movies, tasks, inputs } }
  const { json } = await call(`${url}/experts/writer/predict`, 'POST', body)
  t.equal(json.error, null)
  await untilTrue('it is taken up', async () => {
    const { json } = await call(`${url}/pipelines/${_key}?movies=false`, 'GET')
    return json.tasks.re_id_task === 'success'
  })
  const end = await endOf(url, _key)
  const id = Object.keys(end.movies)[0] as string
  t.strictSame(end.movies[id].status, { videoprocessing: 'success', re_id_task: 'success' })
  t.strictSame(end.inputs, inputs)
  const order = (await notes()).flatMap(({ event, task }) => (event === 'start' ? task : []))
  t.strictSame(order, ['videoprocessing', 're_id_task'])
})

t.test('what an expert needs holds also while that expert still starts', async (t) => {
  const wrongOrder = async ({ notes }: NotedItemsHome) => {
    const all = await notes()
    const passed = new Set<string>()
    let wrong = 0
    for (const { event, task, movie } of all) {
      if (event === 'end' && task === 'videoprocessing') passed.add(movie)
      if (event === 'start' && task === 're_id_task' && !passed.has(movie)) wrong += 1
    }
    return wrong
  }
  const movies = Object.fromEntries(
    [1, 2, 3, 4].map((n) => [`Movies/${n}`, { _key: `${n}`, status: {} }])
  )
  const document = seedDocument({
    movies,
    inputs: { videoprocessing: { how: 'hold go' }, re_id_task: {} }
  })

  t.test('when the pipeline is taken up', async (t) => {
    const shared = await shareDatabase(t)
    const items = await makeItemsHome(t, {
      experts: { ...EXPERTS, re_id_task: { dependency: 'videoprocessing', waits: true } }
    })
    const env = { ...shared.env, ...RUNS }
    const { url } = await startHost(t, { home: items.home, env, awaitStart: false })
    await shared.insert('pipelines', document)
    await untilTrue(
      'the first task runs',
      async () => (await items.starts('videoprocessing')).length > 0
    )
    await items.latches.release('start')
    await untilTrue('both serve', async () => {
      const { json } = await call(`${url}/experts`, 'GET')
      return json.every(({ status }: { status: string }) => status === 'ACTIVE')
    })
    const from = Date.now()
    await untilTrue('time for whatever comes too early', () => Date.now() > from + 5000)
    await items.latches.release('go')
    t.equal((await endOf(url, document._key)).status, 'succeeded')
    t.equal(await wrongOrder(items), 0)
  })

  t.test('when the host is started again in the middle', async (t) => {
    const shared = await shareDatabase(t)
    const items = await makeItemsHome(t, {
      experts: EXPERTS,
      settings: { concurrency: 2, drain_timeout_ms: 500 }
    })
    const env = { ...shared.env, ...RUNS }
    const first = await spawnHost(t, { home: items.home, env })
    await shared.insert('pipelines', document)
    await untilTrue('it runs', async () => (await items.starts('videoprocessing')).length > 0)
    first.child.kill('SIGTERM')
    await first.exited
    const second = await spawnHost(t, { home: items.home, env })
    const from = Date.now()
    await untilTrue('time for whatever comes too early', () => Date.now() > from + 5000)
    await items.latches.release('go')
    t.equal((await endOf(second.url, document._key, 60_000)).status, 'succeeded')
    t.equal(await wrongOrder(items), 0)
  })
})
