import t from 'tap'
import { followPipeline } from '../support/event-stream.ts'
import { untilTrue, within } from '../support/experts.ts'
import {
  createPipeline,
  endOf,
  itemsOf,
  movieIds,
  order,
  runPipeline,
  startItems,
  statesOf,
  statusOf,
  viewOf
} from '../support/pipelines.ts'
import { call } from '../support/start-host.ts'

t.test('running, canceling and running again', async (t) => {
  const host = await startItems(t, { experts: ['a', 'b'] })
  const { url, latches, notes, starts } = host

  t.test('/run on a running pipeline changes nothing', async (t) => {
    const body = {
      movies: movieIds(5, 'twice'),
      plan: [{ expert: 'a', extra_params: { how: 'hold twice' } }]
    }
    const key = await runPipeline(url, body)
    await untilTrue('a run', async () => (await starts('a')).length === 1)
    const before = await viewOf(url, key)
    t.match(before, { status: 'running', finished_at: null })
    await untilTrue('the task is active', async () => (await viewOf(url, key)).tasks.a === 'active')
    t.equal(statusOf(await viewOf(url, key), 'a')[0], 'active')
    const again = await Promise.all([1, 2, 3].map(() => order(url, key, 'run')))
    for (const { status, json } of again) {
      t.equal(status, 200)
      t.match(json, { status: 'running', started_at: before.started_at })
    }
    await latches.release('twice')
    t.equal((await endOf(url, key)).status, 'succeeded')
    t.strictSame((await starts('a')).sort(), movieIds(5, 'twice').sort(), 'each once')
  })

  t.test('twenty at once begin it once', async (t) => {
    const key = await createPipeline(url, { movies: movieIds(50, 'race'), plan: [{ expert: 'b' }] })
    const all = await Promise.all(Array.from({ length: 20 }, () => order(url, key, 'run')))
    t.ok(all.every(({ status }) => status === 200))
    t.equal((await endOf(url, key)).status, 'succeeded')
    const runs = (await starts('b')).filter((movie) => movie.startsWith('Movies/race'))
    t.strictSame(runs.sort(), movieIds(50, 'race').sort())
  })

  t.test('/run of one that has ended runs what is new, and nothing again', async (t) => {
    const key = await runPipeline(url, { movies: movieIds(3, 'new'), plan: [{ expert: 'b' }] })
    const first = await endOf(url, key)
    const rerun = await order(url, key, 'run')
    t.match(rerun, { status: 200, json: { status: 'running', finished_at: null } })
    const second = await endOf(url, key)
    t.equal(second.status, 'succeeded')
    t.ok(second.started_at > first.finished_at)
    t.ok(second.finished_at > first.finished_at)
    const runs = (await starts('b')).filter((movie) => movie.startsWith('Movies/new'))
    t.equal(runs.length, 3)
  })

  t.test('/cancel: what runs gets the signal, what waits is untouched', async (t) => {
    const movies = movieIds(4, 'cancel')
    const of = Object.fromEntries(movies.slice(1).map((movie) => [movie, 'hold never']))
    const key = await runPipeline(url, {
      movies,
      plan: [
        { expert: 'a', extra_params: { of } },
        { expert: 'b', depends_on: ['a'] }
      ]
    })
    await untilTrue('the second runs', async () => (await starts('a')).includes('Movies/cancel2'))
    await untilTrue(
      'the first has passed',
      async () => (await statesOf(url, key))['b Movies/cancel1'] === 'success'
    )
    const canceled = await order(url, key, 'cancel')
    t.equal(canceled.status, 200)
    t.equal(canceled.json.status, 'canceled')
    t.ok(Date.parse(canceled.json.finished_at) > 0)
    const ended = (await notes()).filter(({ event }) => event === 'aborted')
    t.match(ended, [{ movie: 'Movies/cancel2' }], 'and /cancel answers when it has ended')
    const states = await statesOf(url, key)
    t.strictSame(states, {
      'a Movies/cancel1': 'success',
      'b Movies/cancel1': 'success',
      ...Object.fromEntries(movies.slice(1).map((movie) => [`a ${movie}`, 'ready'])),
      ...Object.fromEntries(movies.slice(1).map((movie) => [`b ${movie}`, 'blocked']))
    })
    const waiting = (await itemsOf(url, key)).filter(({ state }) => state !== 'success')
    t.ok(
      waiting.every(({ attempts, error }) => attempts === 0 && error === null),
      'no attempt was counted'
    )
    t.strictSame(statusOf(await viewOf(url, key), 'a'), [
      'success',
      undefined,
      undefined,
      undefined
    ])
    const again = await order(url, key, 'cancel')
    t.equal(again.status, 409)
    t.equal(again.json.code, 'HOST_PIPELINE_STATE')
    t.match(again.json.detail, /canceled/)

    t.equal((await order(url, key, 'run')).status, 200)
    await untilTrue('it goes on', async () => {
      return (await starts('a')).filter((movie) => movie === 'Movies/cancel2').length === 2
    })
    await latches.release('never')
    const end = await endOf(url, key)
    t.equal(end.status, 'succeeded')
    t.strictSame(end.tasks, { a: 'success', b: 'success' })
    t.equal((await starts('a')).filter((movie) => movie === 'Movies/cancel1').length, 1)
  })

  t.test(
    'a run that does not heed the signal is ended, and can be run at once again',
    async (t) => {
      const plan = [{ expert: 'a', extra_params: { how: 'stubborn gate' } }]
      const key = await runPipeline(url, { movies: ['Movies/deaf'], plan })
      await untilTrue('it runs', async () => (await starts('a')).includes('Movies/deaf'))
      const canceling = order(url, key, 'cancel')
      await untilTrue('it is canceled', async () => (await viewOf(url, key)).status === 'canceled')
      t.equal((await order(url, key, 'run')).status, 200, 'while the old run still ends')
      t.equal((await within(canceling, 20_000, 'the cancel')).status, 200)
      await latches.release('gate')
      t.match(await endOf(url, key), { status: 'succeeded', tasks: { a: 'success' } })
    }
  )

  t.test('/cancel of one that has not begun, and of ended ones', async (t) => {
    const plan = [{ expert: 'b' }]
    const key = await createPipeline(url, { movies: ['Movies/early'], plan })
    t.match(await order(url, key, 'cancel'), { status: 200, json: { status: 'canceled' } })
    t.equal((await order(url, key, 'run')).status, 200)
    t.equal((await endOf(url, key)).status, 'succeeded')
    t.match(await order(url, key, 'cancel'), { status: 409, json: { detail: /succeeded/ } })
  })

  t.test('/retry: what failed and was skipped, and nothing else, runs again', async (t) => {
    const movies = movieIds(6, 'retry')
    const how = 'kill 9'
    // The gate opens before the retry: then the same movies pass.
    const of = { 'Movies/retry2': 'fail no light', 'Movies/retry4': how }
    const plan = [
      { expert: 'a', extra_params: { of }, attempts: 1 },
      { expert: 'b', depends_on: ['a'] }
    ]
    const key = await runPipeline(url, { movies, plan })
    const running = await order(url, key, 'retry')
    t.match(running, { status: 409, json: { code: 'HOST_PIPELINE_STATE' } })
    const first = await endOf(url, key)
    t.match(first, { status: 'failed', tasks: { a: 'fail', b: 'fail' } })
    const before = await notes()
    t.equal((await order(url, key, 'retry')).status, 200)
    const second = await endOf(url, key)
    t.equal(second.status, 'failed')
    t.ok(second.finished_at > first.finished_at)
    const again = (await notes()).slice(before.length).filter(({ event }) => event === 'start')
    // Those that share a process which is killed are begun once more, whoever is to blame.
    const begun = new Set(again.map(({ task, movie }) => `${task} ${movie}`))
    t.strictSame([...begun].sort(), ['a Movies/retry2', 'a Movies/retry4'])
    for (const item of await itemsOf(url, key, 'state=fail')) t.equal(item.attempts, 1)
  })

  t.test('/retry of what passes then ends well', async (t) => {
    const movies = movieIds(3, 'pass')
    // The process of the first run is gone, and there is no second attempt.
    const plan = [
      { expert: 'a', extra_params: { of: { 'Movies/pass2': 'kill 1' } }, attempts: 1 },
      { expert: 'b', depends_on: ['a'] }
    ]
    const key = await runPipeline(url, { movies, plan })
    t.equal((await endOf(url, key)).status, 'failed')
    const [failed] = await itemsOf(url, key, 'state=fail')
    t.match(failed, { movie: 'Movies/pass2', attempts: 1, error: /1 times.*SIGKILL/s })
    await order(url, key, 'retry')
    const end = await endOf(url, key)
    t.match(end, { status: 'succeeded', tasks: { a: 'success', b: 'success' } })
    t.strictSame(statusOf(end, 'a'), ['success', 'success', 'success'])
    const [item] = (await itemsOf(url, key, 'task=a')).filter(
      ({ movie }) => movie === 'Movies/pass2'
    )
    t.match(item, { state: 'success', attempts: 1, error: null })
  })

  t.test('a pipeline with nothing to run says so', async (t) => {
    const key = await createPipeline(url, { movies: ['1'] })
    for (const verb of ['run', 'retry'] as const) {
      const { status, json } = await order(url, key, verb)
      t.equal(status, 409)
      t.match(json, { code: 'HOST_PIPELINE_STATE', detail: /plan/ })
    }
    const empty = await runPipeline(url, { movies: [], plan: [{ expert: 'a' }] })
    t.match(await endOf(url, empty), { status: 'succeeded', movies: {} })
  })
})

t.test('following a pipeline', async (t) => {
  const host = await startItems(t, { experts: ['a'] })
  const { url, latches, starts } = host
  const create = (id: string, how: string) =>
    createPipeline(url, {
      _key: id,
      movies: movieIds(4, id),
      plan: [{ expert: 'a', extra_params: { how } }]
    })

  t.test('progress, then the end; 204 for who has seen it', async (t) => {
    const key = await create('follow', 'hold follow')
    const stream = await followPipeline(t, url, key)
    t.equal(stream.status, 200)
    t.match(stream.type, 'text/event-stream')
    await stream.next('it is there', ({ data }) => data.status === 'created')
    await order(url, key, 'run')
    const running = await stream.next('it runs', ({ data }) => data.counts?.a?.running === 1)
    t.match(running, { id: null, event: 'progress', data: { id: key, status: 'running' } })
    t.equal(running.data.counts.a.ready, 3)
    await latches.release('follow')
    const events = await within(stream.ended, 20_000, 'the end of the stream')
    const last = events.at(-1)
    t.strictSame(
      events.map(({ event }) => event),
      [...events.slice(1).map(() => 'progress'), 'end'],
      'one end, and it is the last'
    )
    t.match(last?.data, {
      id: key,
      status: 'succeeded',
      tasks: { a: 'success' },
      counts: { a: { success: 4 } }
    })
    t.match(last?.id, /^\d+$/)
    const seen = await followPipeline(t, url, key, last?.id)
    t.equal(seen.status, 204)
    const other = await followPipeline(t, url, key)
    t.strictSame(await other.ended, [last], 'who comes late is told the end at once')
    await order(url, key, 'run')
    const again = await followPipeline(t, url, key, last?.id)
    t.equal(again.status, 200, 'the end of a new run has not been seen')
    t.not((await again.ended).at(-1)?.id, last?.id)
  })

  t.test('a cancel is an end', async (t) => {
    const key = await create('cancel', 'hold never')
    await order(url, key, 'run')
    const stream = await followPipeline(t, url, key)
    await untilTrue('it runs', async () => (await starts('a')).includes('Movies/cancel1'))
    await order(url, key, 'cancel')
    const events = await within(stream.ended, 20_000, 'the end of the stream')
    t.match(events.at(-1), { event: 'end', data: { status: 'canceled' } })
    t.equal(events.filter(({ event }) => event === 'end').length, 1)
  })

  t.test('the stop of the host ends it, without an end', async (t) => {
    const key = await create('stop', 'hold stop')
    await order(url, key, 'run')
    const stream = await followPipeline(t, url, key)
    await untilTrue('it runs', async () => (await starts('a')).includes('Movies/stop1'))
    await latches.release('stop')
    await host.host.stop()
    const events = await within(stream.ended, 20_000, 'the end of the stream')
    t.ok(events.length > 0)
    t.ok(events.every(({ event, data }) => event === 'progress' || data.status === 'succeeded'))
  })
})

t.test('with NEBULA_ADMIN_KEY, changes need it, and reading does not', async (t) => {
  const KEY = 'the key of the house'
  const { url, notes } = await startItems(t, { experts: ['a'], env: { NEBULA_ADMIN_KEY: KEY } })
  const bearer = { authorization: `Bearer ${KEY}` }
  const body = { _key: 'mine', movies: ['1'], plan: [{ expert: 'a' }] }
  for (const headers of [{}, { authorization: KEY }, { authorization: 'Bearer another' }]) {
    for (const given of [body, '{', undefined]) {
      const refused = await call(
        `${url}/pipelines`,
        'POST',
        given,
        headers as Record<string, string>
      )
      t.match(refused, { status: 403, json: { code: 'HOST_FORBIDDEN' } })
    }
  }
  t.equal((await call(`${url}/pipelines`, 'POST', body, bearer)).status, 201)
  for (const verb of ['run', 'cancel', 'retry']) {
    for (const id of ['mine', 'none']) {
      const refused = await call(`${url}/pipelines/${id}/${verb}`, 'POST')
      t.match(refused, { status: 403, json: { code: 'HOST_FORBIDDEN' } }, `${verb} ${id}`)
    }
  }
  t.equal((await viewOf(url, 'mine')).status, 'created')
  t.strictSame(await notes(), [])
  t.equal((await call(`${url}/pipelines/mine/run`, 'POST', undefined, bearer)).status, 200)
  t.equal((await endOf(url, 'mine')).status, 'succeeded')
  for (const path of ['', '/mine', '/mine/items', '/mine/events']) {
    t.equal((await call(`${url}/pipelines${path}`, 'GET')).status, 200, path)
  }
})

t.test('without a key, nobody but this machine changes anything', async (t) => {
  const { url } = await startItems(t, { experts: ['a'] })
  const body = { _key: 'mine', movies: ['1'], plan: [{ expert: 'a' }] }
  await createPipeline(url, body)
  const foreign: Record<string, string>[] = [
    { 'x-forwarded-for': '127.0.0.1' },
    { origin: 'http://nebula.example' }
  ]
  for (const from of foreign) {
    t.equal((await call(`${url}/pipelines`, 'POST', { ...body, _key: 'b' }, from)).status, 403)
    for (const verb of ['run', 'cancel', 'retry']) {
      t.equal((await call(`${url}/pipelines/mine/${verb}`, 'POST', undefined, from)).status, 403)
    }
    t.equal((await call(`${url}/pipelines/mine`, 'GET', undefined, from)).json.status, 'created')
  }
})
