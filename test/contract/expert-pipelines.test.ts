import t from 'tap'
import { untilTrue } from '../support/experts.ts'
import { startPipelineWorkers } from '../support/pipeline-workers.ts'
import { call } from '../support/start-host.ts'

/** What is a name of a task, however it looks in a language of queries. */
const ODD_TASK = `re_id-task" || 'x`

t.test('what an expert keeps of a pipeline', async (t) => {
  const { ask, make, statusesOf } = await startPipelineWorkers(t)

  t.test('6.6-5 movies that are created as a list are kept as an object', async (t) => {
    const created = await ask('createPipeline', 'pipelines/listed', ['Movies/2', { _key: '1' }])
    t.match(created, { _id: 'pipelines/listed', _key: 'listed', id: 'listed', _rev: String })
    const kept = await ask('getPipeline', 'pipelines/listed')
    t.strictSame(Object.keys(kept.movies), ['Movies/2', 'Movies/1'])
    t.strictSame((await ask('getPipeline', 'listed')).tasks, {})
    await t.rejects(ask('createPipeline', 'listed'), { code: 'HOST_DOCUMENT_EXISTS' })
    await t.rejects(ask('createPipeline', 'a/b'), { code: 'HOST_DOCUMENT_INVALID' })
    t.equal(await ask('getPipeline', 'none'), null)
  })

  t.test('A54 new movies: absent, failed and active ones, not those that succeeded', async (t) => {
    const status = { none: {}, bad: { x: 'fail' }, busy: { x: 'active' }, done: { x: 'success' } }
    const movies = Object.entries(status).map(([key, of]) => [`Movies/${key}`, { status: of }])
    const id = await make(Object.fromEntries(movies))
    const { movies: found, error } = await ask('getNewMovies', id, 'x')
    t.strictSame(Object.keys(found), ['Movies/none', 'Movies/bad', 'Movies/busy'])
    t.equal(error, null)
    const all = await ask('getAllMovies', id)
    t.strictSame(Object.keys(all.movies).length, 4)
    t.strictSame((await ask('getNewMovies', id, 'constructor')).movies, all.movies, 'any name')
  })

  t.test('A54 when all are done there is none, and that is no error', async (t) => {
    const id = await make({ 'Movies/a': { status: { x: 'success' } } })
    t.strictSame(await ask('getNewMovies', id, 'x'), { movies: {}, error: null })
  })

  t.test('6.6-6 a missing pipeline and one without movies are told as such', async (t) => {
    const missing = 'Error: no pipeline for none'
    t.strictSame(await ask('getAllMovies', 'none'), { movies: null, error: missing })
    t.strictSame(await ask('getNewMovies', 'none', 'x'), { movies: null, error: missing })
    const id = await make([])
    const empty = { movies: null, error: `No movies for pipeline for ${id}` }
    t.strictSame(await ask('getNewMovies', id, 'x'), empty)
    t.strictSame(await ask('getAllMovies', id), { movies: {}, error: null })
  })

  t.test(
    'A56, 6.6-3 an update inserts a movie that is not there, and touches nothing else',
    async (t) => {
      const id = await make([], { before: 'success' })
      const entry = {
        _key: 'x',
        context: 'c',
        status: { videoprocessing: 'success', other: 'stale' }
      }
      const { result, error } = await ask(
        'updatePipeline',
        'videoprocessing',
        id,
        { 'Movies/x': entry },
        { videoprocessing: 'success' }
      )
      t.equal(error, null)
      t.match(result, { _id: `pipelines/${id}`, id, tasks: { videoprocessing: 'success' } })
      const kept = await ask('getPipeline', id)
      t.strictSame(kept.movies, {
        'Movies/x': { _key: 'x', context: 'c', status: { videoprocessing: 'success' } }
      })
      t.strictSame(kept.tasks, { before: 'success', videoprocessing: 'success' })
      t.strictSame(kept.inputs, {})
    }
  )

  t.test('an update of a movie that is there writes its status of the task alone', async (t) => {
    const id = await make({ 'Movies/a': { context: 'kept', status: { x: 'success' } } })
    const stale = { context: 'stale', status: { x: 'fail', y: 'success' } }
    await ask('updatePipeline', 'y', id, { 'Movies/a': stale, 'Movies/b': 'fail' }, 'success')
    const { movies } = await ask('getPipeline', id)
    t.strictSame(movies['Movies/a'], {
      _key: 'a',
      context: 'kept',
      status: { x: 'success', y: 'success' }
    })
    t.strictSame(movies['Movies/b'], { _key: 'b', status: { y: 'fail' } })
    t.strictSame(await statusesOf(id, 'y'), [
      'success',
      { 'Movies/a': 'success', 'Movies/b': 'fail' }
    ])
  })

  t.test('6.6-4, 6.6-12 inputs: absent leaves all, {} empties those of the task', async (t) => {
    const id = await make(['a'])
    const inputsAfter = async (task: string, ...inputs: unknown[]) => {
      t.match(await ask('updatePipeline', task, id, {}, {}, ...inputs), { error: null })
      return (await ask('getPipeline', id)).inputs
    }
    t.strictSame(await inputsAfter('x', { x: { a: 1, b: 2 }, y: { c: 3 } }), {
      x: { a: 1, b: 2 },
      y: { c: 3 }
    })
    t.strictSame(await inputsAfter('x', { x: { a: 2 } }), { x: { a: 2 }, y: { c: 3 } })
    t.strictSame(await inputsAfter('x'), { x: { a: 2 }, y: { c: 3 } })
    t.strictSame(await inputsAfter('x', {}), { x: {}, y: { c: 3 } })
  })

  t.test('what goes wrong with an update stands in its error', async (t) => {
    t.strictSame(await ask('updatePipeline', 'x', 'none', {}, {}), {
      result: null,
      error: 'Error: no pipeline for none'
    })
    const id = await make(['a'])
    const { result, error } = await ask('updatePipeline', 'x', id, { 'Movies/é': 'fail' }, {})
    t.equal(result, null)
    t.match(error, /^Error: exception .*Movies\/é.* in update pipeline for /)
    t.match(await ask('updatePipeline', 'x', id, {}, [1]), { error: /tasks is no object/ })
  })

  t.test('A58, 6.6-11 a name is data in every method', async (t) => {
    for (const task of [ODD_TASK, '__proto__', 'constructor']) {
      const id = await make(['a', 'b'])
      await ask('updatePipeline', task, id, { 'Movies/a': 'success' }, task === 'x' ? {} : 'fail')
      t.strictSame(
        await statusesOf(id, task),
        ['fail', { 'Movies/a': 'success', 'Movies/b': undefined }],
        task
      )
      t.strictSame(Object.keys((await ask('getNewMovies', id, task)).movies), ['Movies/b'])
    }
  })
})

t.test('A57, 6.6-1, 6.6-2 processes that update one pipeline at once lose nothing', async (t) => {
  const { send, ask, make } = await startPipelineWorkers(t)
  const id = await make(['a'])
  const places = Array.from({ length: 40 }, (_, place) => place)
  await Promise.all(
    places.map((place) => {
      const expert = place % 2 === 0 ? 'pipeline-worker' : 'other'
      const task = `task ${place}`
      const args = [task, id, { 'Movies/a': 'success', [`Movies/${place}`]: 'fail' }, task]
      return send(expert, '/call', { method: 'updatePipeline', args })
    })
  )
  const { tasks, movies } = await ask('getPipeline', id)
  t.equal(Object.keys(tasks).length, 40)
  t.equal(Object.keys(movies['Movies/a'].status).length, 40)
  t.equal(Object.keys(movies).length, 41)
})

t.test('a task takes its movies', async (t) => {
  const { ask, handle, make, statusesOf, runsOf, latches } = await startPipelineWorkers(t)
  const three = ['a', 'false-null', 'c']

  t.test('A55, 6.6-8 (false, null) is a failure; all others are done', async (t) => {
    const id = await make(three)
    const handled = await handle(id)
    t.match(handled, { processed: 3, failed: 1, status: 'fail', error: /Movies\/false-null: / })
    const ends = { 'Movies/a': 'success', 'Movies/false-null': 'fail', 'Movies/c': 'success' }
    t.strictSame(await statusesOf(id), ['fail', ends])
  })

  t.test(
    'A55, 6.6-7 stop on failure: what is done is kept, what is behind it untouched',
    async (t) => {
      const id = await make([...three, 'd'])
      t.match(await handle(id, { stopOnFailure: true }), {
        processed: 2,
        failed: 1,
        status: 'fail'
      })
      const ends = { 'Movies/a': 'success', 'Movies/false-null': 'fail' }
      t.strictSame(await statusesOf(id), [
        'fail',
        { ...ends, 'Movies/c': undefined, 'Movies/d': undefined }
      ])
    }
  )

  t.test(
    '6.6-8 an error is a failure whatever ok says; what is no answer is one, and a throw',
    async (t) => {
      const bad = ['warns', 'false-1', 'throws', 'text', 'ok-1']
      const id = await make([...bad, 'good'])
      t.match(await handle(id), { processed: 6, failed: 5, status: 'fail', error: /a warning/ })
      const [, ends] = await statusesOf(id)
      t.strictSame(ends, {
        ...Object.fromEntries(bad.map((key) => [`Movies/${key}`, 'fail'])),
        'Movies/good': 'success'
      })
    }
  )

  t.test('active while it runs, each movie written before the next; then success', async (t) => {
    const id = await make(['a', 'held-1', 'c'])
    const handling = handle(id)
    await latches.started('Movies/held-1')
    t.strictSame(await statusesOf(id), [
      'active',
      { 'Movies/a': 'success', 'Movies/held-1': 'active', 'Movies/c': undefined }
    ])
    await latches.release('held-1')
    t.strictSame(await handling, { processed: 3, failed: 0, status: 'success', error: null })
    const [status, movies] = await statusesOf(id)
    t.strictSame(
      [status, Object.values(movies as object)],
      ['success', ['success', 'success', 'success']]
    )
  })

  t.test('6.6-9 nothing to do: the task has succeeded', async (t) => {
    const done = { status: { fusion: 'success' } }
    const id = await make({ 'Movies/a': done, 'Movies/b': done })
    const nothing = { processed: 0, failed: 0, status: 'success', error: null }
    t.strictSame(await handle(id), nothing)
    t.equal((await statusesOf(id))[0], 'success')
    t.strictSame(await handle(id), nothing, 'and again')
  })

  t.test(
    '6.6-6 a missing pipeline and one without movies are errors, and nothing is written',
    async (t) => {
      const refused = { processed: 0, failed: 0, status: 'fail' }
      t.strictSame(await handle('none'), { ...refused, error: 'Error: no pipeline for none' })
      const id = await make([])
      t.strictSame(await handle(id), { ...refused, error: `No movies for pipeline for ${id}` })
      t.strictSame(await statusesOf(id), [undefined, {}])
    }
  )

  t.test(
    'movies that failed are tried again by the next, those that succeeded are not',
    async (t) => {
      const id = await make(['once-good', 'throws'])
      const before = (await runsOf()).length
      t.match(await handle(id), { processed: 2, failed: 1 })
      t.match(await handle(id), { processed: 1, failed: 1, status: 'fail' })
      const again = (await runsOf()).slice(before).map((run) => run.id)
      t.strictSame(again, ['Movies/once-good', 'Movies/throws', 'Movies/throws'])
      await ask('updatePipeline', 'fusion', id, { 'Movies/throws': 'success' }, {})
      t.match(await handle(id), { processed: 0, failed: 0, status: 'success' })
    }
  )

  t.test('movies that are added meanwhile are taken too', async (t) => {
    const id = await make(['held-2'])
    const handling = handle(id)
    await latches.started('Movies/held-2')
    await ask('updatePipeline', 'videoprocessing', id, { 'Movies/late': 'success' }, {})
    await latches.release('held-2')
    t.match(await handling, { processed: 2, status: 'success' })
  })

  t.test('each movie has a folder, a task and the pipeline of its own', async (t) => {
    const id = await make(['one', 'two'])
    const before = (await runsOf()).length
    await handle(id, { task: ODD_TASK })
    const runs = (await runsOf()).slice(before) as unknown as Array<Record<string, unknown>>
    for (const run of runs) t.match(run, { task: ODD_TASK, pipelineId: id, extraParams: null })
    t.equal(new Set(runs.map(({ tmp }) => tmp)).size, 2)
    t.strictSame(await statusesOf(id, ODD_TASK), [
      'success',
      { 'Movies/one': 'success', 'Movies/two': 'success' }
    ])
  })
})

t.test('two workers share the movies of one task, and none is run twice', async (t) => {
  const { handle, make, statusesOf, runsOf, latches } = await startPipelineWorkers(t)
  const keys = Array.from({ length: 200 }, (_, place) => `m${place}`)
  const id = await make(['held-1', ...keys, 'held-2'])
  const first = handle(id)
  await latches.started('Movies/held-1')
  const second = handle(id, { by: 'other' })
  await latches.started('Movies/held-2')
  const running = await statusesOf(id)
  t.equal(running[0], 'active')
  await latches.release('held-2')
  await untilTrue('the end of the second', async () => (await runsOf('end')).length === 201)
  t.equal((await statusesOf(id))[0], 'active', 'the first still has one')
  await latches.release('held-1')
  const answers = await Promise.all([first, second])
  t.equal(
    answers.reduce((sum, { processed }) => sum + processed, 0),
    202
  )
  for (const answer of answers) t.match(answer, { failed: 0, status: 'success', error: null })
  const runs = await runsOf()
  t.equal(new Set(runs.map((run) => run.id)).size, runs.length)
  t.strictSame([...new Set(runs.map((run) => run.by))].sort(), ['other', 'pipeline-worker'])
})

t.test('workers that ask for a pipeline', async (t) => {
  const { url, send, ask, make, statusesOf } = await startPipelineWorkers(t)

  t.test('A58, 6.6-10 at once, get different ones', async (t) => {
    const made = await Promise.all(Array.from({ length: 8 }, () => make(['a'])))
    const claimed = await Promise.all(
      made.map(async (_, place) => {
        const expert = place % 2 === 0 ? 'pipeline-worker' : 'other'
        const body = { method: 'getFirstPipelineForTask', args: [ODD_TASK] }
        return (await send(expert, '/call', body)).answer
      })
    )
    t.strictSame(claimed.map(({ _key }) => _key).sort(), made.sort())
    for (const { tasks, claims, movies } of claimed) {
      t.equal(tasks[ODD_TASK], 'active')
      t.match(claims[ODD_TASK].owner, /^[0-9a-f-]{36}\/(pipeline-worker|other)$/)
      const minutes = (claims[ODD_TASK].until - Date.now()) / 60_000
      t.ok(minutes > 9 && minutes <= 10, `${minutes} minutes`)
      t.strictSame(Object.keys(movies), ['Movies/a'])
    }
    t.equal(await ask('getFirstPipelineForTask', ODD_TASK), null)
    t.equal((await ask('getFirstPipelineForTask', 'another'))?._key, made[0], 'the first by key')
    const first = await ask('getPipeline', made[0])
    t.strictSame(Object.keys(first.claims).sort(), ['another', ODD_TASK].sort(), 'both are kept')
  })

  t.test('6.6-10 get those that are for their task', async (t) => {
    const plan = [{ task: 'planned', expert: 'other', extra_params: { every: 3 } }]
    const body = { movies: ['Movies/a'], plan }
    const planned = (await call(`${url}/pipelines`, 'POST', body)).json
    const other = await make(['a'])
    await ask('updatePipeline', 'x', other, {}, {}, { videoprocessing: { output: 'db' } })
    t.equal((await ask('getFirstPipelineForTask', 'videoprocessing'))?._key !== planned._key, true)
    const claimed = await ask('getFirstPipelineForTask', 'planned')
    for (;;) {
      const next = await ask('getFirstPipelineForTask', 'unheard-of')
      if (next === null) break
      t.not(next._key, other, 'its inputs name another task')
      t.not(next._key, planned._key, 'its plan names another task')
    }
    t.ok(claimed, 'one that has neither, or names it')
  })

  t.test('what ended well is not given again', async (t) => {
    const id = await make(['a'])
    await send('pipeline-worker', '/handle', { id, task: 'finished' })
    t.strictSame(await statusesOf(id, 'finished'), ['success', { 'Movies/a': 'success' }])
    t.notOk((await ask('getPipeline', id)).claims.finished)
  })
})

t.test('an expert is a task', async (t) => {
  const { url, send, make, runsOf, ask } = await startPipelineWorkers(t)
  const id = await make(['a', 'odd'])
  const handled = await send('pipeline-worker', '/handle-self', { task: '-', id })
  t.match(handled, { processed: 2, failed: 1, status: 'fail', error: 'Movies/odd: no such film' })
  const predicted = (await runsOf('predict')) as unknown as Array<{ params: object }>
  t.strictSame(predicted[0]?.params, {
    scene_element: null,
    local: false,
    extra_params: { every: 10 },
    output: 'db',
    type: 'movie',
    img_url: null,
    output_file: null,
    movie_id: 'Movies/a'
  })
  const { tokens } = (await call(`${url}/tokens?movie_id=Movies/a`, 'GET')).json
  t.match(tokens, [{ label: 'seen every 10', expert: 'pipeline-worker' }])
  const { items } = (await call(`${url}/pipelines/${id}/items`, 'GET')).json
  t.match(items, [
    {
      movie: 'Movies/a',
      state: 'success',
      expert: 'pipeline-worker',
      expert_version: '1.2.3',
      model_sha256: 'a1'.repeat(32),
      extra_params: { every: 10 }
    },
    { movie: 'Movies/odd', state: 'fail', error: 'no such film' }
  ])
  t.match((await ask('getPipeline', id)).tasks, { 'pipeline-worker': 'fail' })
})

t.test('a task that is canceled gives its movie back, and can be handled again', async (t) => {
  const { url, handle, make, statusesOf, latches, ask } = await startPipelineWorkers(t)
  const id = await make(['a', 'held-1', 'c'])
  const body = { task: 'fusion', id, is_async: true }
  const { jobId } = (await call(`${url}/experts/pipeline-worker/handle`, 'POST', body)).json
  await latches.started('Movies/held-1')
  await untilTrue('its progress', async () => {
    const job = (await call(`${url}/experts/pipeline-worker/jobs/${jobId}`, 'GET')).json[jobId]
    return job?.progress?.note === 'Movies/a'
  })
  await call(`${url}/experts/pipeline-worker/jobs/${jobId}`, 'DELETE')
  await untilTrue('the movie that waits again', async () => {
    const [, movies] = await statusesOf(id)
    return (movies as Record<string, unknown>)['Movies/held-1'] === undefined
  })
  await untilTrue('the claim that is void', async () => {
    const { claims, tasks } = await ask('getPipeline', id)
    return tasks.fusion === 'active' && claims.fusion.until <= Date.now()
  })
  t.equal((await ask('getFirstPipelineForTask', 'fusion'))._key, id, 'it may be claimed at once')
  await latches.release('held-1')
  t.match(await handle(id), { processed: 2, failed: 0, status: 'success' })
})
