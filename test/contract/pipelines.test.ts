import t from 'tap'
import {
  createPipeline,
  endOf,
  itemsOf,
  movieIds,
  order,
  runPipeline,
  startItems,
  viewOf
} from '../support/pipelines.ts'
import { call } from '../support/start-host.ts'

const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const MODEL = 'ab'.repeat(32)

t.test('creating pipelines', async (t) => {
  const { url, notes } = await startItems(t, { experts: ['a', 'b', 'c'] })
  const post = (body: unknown, headers?: Record<string, string>) =>
    call(`${url}/pipelines`, 'POST', body, headers)

  t.test('of a list of ids: 201, a key, the document as the system reads it', async (t) => {
    const plan = [{ expert: 'a' }, { task: 'later', expert: 'b', depends_on: ['a'] }]
    const { status, json } = await post({ movies: ['Movies/1', '2'], plan })
    t.equal(status, 201)
    t.match(json._key, UUID4)
    t.match(json, { _id: `pipelines/${json._key}`, id: json._key, tasks: {}, inputs: {} })
    t.match(json, { plan, status: 'created', stop_on_failure: false })
    t.ok(Math.abs(Date.parse(json.created_at) - Date.now()) < 60_000)
    t.strictSame((await viewOf(url, json._key)).movies, {
      'Movies/1': { _key: '1', status: {} },
      'Movies/2': { _key: '2', status: {} }
    })
    t.strictSame(await notes(), [], 'nothing runs before /run')
    t.strictSame(await itemsOf(url, json._key), [])
  })

  t.test("of the seed's object: nothing of it is lost", async (t) => {
    const seed = {
      _key: '45f4739b-146a-4ae3-9d06-16dee5df6ca7',
      id: '45f4739b-146a-4ae3-9d06-16dee5df6ca7',
      movies: {
        'Movies/-3132222071598952047': {
          _key: '-3132222071598952047',
          context: 'kitchen',
          status: { a: 'success', b: 'fail' }
        }
      },
      tasks: { a: 'success', b: 'fail' },
      inputs: { a: { is_async: 'true', output: 'db', movies: [{ movie_id: '', url: 'u' }] } },
      ...{ config_name: 'default', tag: 'exp-7', own: { deep: [1, null, 'é'] } }
    }
    const { status, json } = await post({ ...seed, plan: [{ expert: 'b' }], stop_on_failure: true })
    t.equal(status, 201)
    t.equal(json._key, seed._key)
    const {
      _id,
      _rev,
      created_at,
      status: state,
      plan,
      stop_on_failure,
      ...kept
    } = await viewOf(url, seed._key)
    t.strictSame(kept, seed)
    t.strictSame([stop_on_failure, state], [true, 'created'])

    const again = await post({ ...seed, movies: [] })
    t.equal(again.status, 409)
    t.equal(again.json.code, 'HOST_DOCUMENT_EXISTS')
    t.match(again.json.detail, seed._key)
    t.strictSame((await viewOf(url, seed._key)).movies, seed.movies, 'it is as it was')
  })

  t.test("of a list of entries; the host's own fields are the host's", async (t) => {
    const movies = [{ _id: 'Movies/7', context: 'x' }, { _key: '8' }]
    const taken = { status: 'running', created_at: 'yesterday' }
    const { status, json } = await post({
      _key: 'entries',
      movies,
      plan: [{ expert: 'a' }],
      ...taken
    })
    t.equal(status, 201)
    t.equal(json.status, 'created')
    t.not(json.created_at, 'yesterday')
    t.match((await viewOf(url, 'entries')).movies, {
      'Movies/7': { _key: '7', context: 'x', status: {} },
      'Movies/8': { _key: '8', status: {} }
    })
  })

  t.test('a key by id alone, and without a plan', async (t) => {
    const { status, json } = await post({ id: 'by-id', inputs: { a: { output: 'db' } } })
    t.equal(status, 201)
    t.equal(json._key, 'by-id')
    t.strictSame((await viewOf(url, 'by-id')).movies, {})
  })

  const step = { expert: 'a' }
  const cycle = [
    { expert: 'a', depends_on: ['c'] },
    { expert: 'b', depends_on: ['a'] },
    { expert: 'c', depends_on: ['b'] }
  ]
  const nested = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
  const bad: Record<string, [unknown, RegExp]> = {
    'no body': [undefined, /body/],
    null: ['null', /body/],
    'a list': [[{ movies: [] }], /body/],
    'no JSON': ['{"movies":', /body/],
    'a movie twice': [{ movies: ['Movies/1', '1'], plan: [step] }, /Movies\/1/],
    'movies as a text': [{ movies: 'Movies/1', plan: [step] }, /movies/],
    'movies as a number': [{ movies: 7, plan: [step] }, /movies/],
    'a number among the movies': [{ movies: ['Movies/1', 5], plan: [step] }, /movie 1/],
    'an empty id': [{ movies: [''], plan: [step] }, /movie 0/],
    'an illegal id': [{ movies: ['Movies/a b'], plan: [step] }, /Movies\/a b/],
    'an id of no movie': [{ movies: { 'Movies/1': 5 }, plan: [step] }, /Movies\/1/],
    'a plan that is no list': [{ movies: [], plan: 'a' }, /plan/],
    'an empty plan': [{ movies: [], plan: [] }, /plan/],
    'a step that is no object': [{ movies: [], plan: [step, 'b'] }, /plan.*1/s],
    'no expert': [{ movies: [], plan: [{ task: 'a' }] }, /plan.*0.*expert/s],
    'an unknown expert': [
      { movies: [], plan: [step, { expert: 'nobody' }] },
      /plan.*1.*expert.*nobody/s
    ],
    'an expert like what every object has': [
      { movies: [], plan: [{ expert: 'constructor' }] },
      /plan.*0.*expert/s
    ],
    'one task twice': [{ movies: [], plan: [step, { task: 'a', expert: 'b' }] }, /plan.*1.*task/s],
    'a cycle': [{ movies: [], plan: cycle }, /plan.*0.*depends_on.*a → c → b → a/s],
    'a step that waits for itself': [
      { movies: [], plan: [{ expert: 'a', depends_on: ['a'] }] },
      /plan.*0.*depends_on.*0.*itself/s
    ],
    'a dependency on nothing known': [
      { movies: [], plan: [step, { expert: 'b', depends_on: ['a', 'x'] }] },
      /plan.*1.*depends_on.*1.*'x'/s
    ],
    'depends_on as a text': [
      { movies: [], plan: [{ expert: 'b', depends_on: 'a' }] },
      /plan.*0.*depends_on/s
    ],
    'attempts of nothing': [{ movies: [], plan: [{ ...step, attempts: 0 }] }, /plan.*0.*attempts/s],
    'a timeout that is none': [
      { movies: [], plan: [{ ...step, timeout_ms: 'soon' }] },
      /plan.*0.*timeout_ms/s
    ],
    'extra_params that are no object': [
      { movies: [], plan: [{ ...step, extra_params: [1] }] },
      /plan.*0.*extra_params/s
    ],
    'inputs that are no object': [{ movies: [], plan: [step], inputs: [1] }, /inputs/],
    'stop_on_failure of no kind': [
      { movies: [], plan: [step], stop_on_failure: 'perhaps' },
      /stop_on_failure/
    ],
    'an illegal key': [{ _key: 'a/b', movies: [], plan: [step] }, /_key/],
    'a key that is no text': [{ _key: 5, movies: [], plan: [step] }, /_key/],
    'an illegal id for a key': [{ id: 'a b', movies: [], plan: [step] }, /id/],
    'too much nesting': [
      `{"movies":[],"plan":[{"expert":"a","extra_params":{"nested":${nested}}}]}`,
      /./
    ],
    'a plan of 1001 steps': [
      {
        movies: [],
        plan: Array.from({ length: 1001 }, (_, at) => ({ task: `t${at}`, expert: 'a' }))
      },
      /plan/
    ],
    'a plan of 10 MB': [
      { movies: [], plan: [{ ...step, extra_params: { long: 'x'.repeat(10_000_000) } }] },
      /plan/
    ]
  }
  for (const [what, [body, names]] of Object.entries(bad)) {
    t.test(`refused: ${what}`, async (t) => {
      const before = (await call(`${url}/pipelines?limit=1000`, 'GET')).json.pipelines.length
      const { status, text, json } = await post(body)
      t.ok(status === 422 || status === 400 || status === 413, `${status} ${text.slice(0, 300)}`)
      t.match(text, names)
      t.ok(text.length < 5000, 'the answer is short')
      t.type(json.code, 'string')
      const after = (await call(`${url}/pipelines?limit=1000`, 'GET')).json.pipelines.length
      t.equal(after, before, 'nothing was written')
    })
  }

  t.test('several faults are told at once', async (t) => {
    const plan = [
      { expert: 'nobody' },
      { expert: 'b', depends_on: ['x'] },
      { expert: 'b', task: 'nobody' }
    ]
    const { json } = await post({ movies: [], plan })
    t.strictSame(
      json.detail.map(({ loc }: { loc: unknown }) => loc),
      [
        ['body', 'plan', 0, 'expert'],
        ['body', 'plan', 1, 'depends_on', 0],
        ['body', 'plan', 2, 'task']
      ]
    )
  })

  t.test('a body that is no object, also an empty one', async (t) => {
    for (const body of [[], '""', '"text"', 7, true]) {
      const { status, json } = await post(body as object)
      t.equal(status, 422, JSON.stringify(body))
      t.match(json.detail, [{ loc: ['body'], type: 'type_error.dict' }])
    }
  })

  t.test('a name that no store gives back as it was', async (t) => {
    for (const task of ['a\0b', '\ud800']) {
      const { status, json } = await post({ movies: [], plan: [{ expert: 'a', task }] })
      t.equal(status, 422)
      t.match(json.detail, [{ loc: ['body', 'plan', 0, 'task'], msg: /NUL/ }])
    }
  })

  t.test('booleans may be texts, and experts are found without regard to case', async (t) => {
    const plan = [{ expert: 'A', task: 'upper' }]
    const { status, json } = await post({ movies: ['1'], plan, stop_on_failure: 'true' })
    t.equal(status, 201)
    t.equal(json.stop_on_failure, true)
    await order(url, json._key, 'run')
    await endOf(url, json._key)
    const [item] = await itemsOf(url, json._key)
    t.match(item, { task: 'upper', expert: 'a', state: 'success' })
  })

  t.test('tasks may be called like what every object has', async (t) => {
    const names = ['constructor', 'hasOwnProperty', 'a task/with "signs" é']
    const plan = names.map((task, at) => ({ task, expert: 'a', depends_on: names.slice(0, at) }))
    const key = await runPipeline(url, { movies: ['1', '2'], plan })
    const end = await endOf(url, key)
    t.equal(end.status, 'succeeded')
    t.strictSame(Object.keys(end.tasks).sort(), [...names].sort())
    t.strictSame(
      Object.entries(end.movies['Movies/2'].status).sort(),
      names.map((name) => [name, 'success']).sort()
    )
  })

  t.test('even like what no object shows', async (t) => {
    const task = '__proto__'
    const key = await runPipeline(url, { movies: ['1'], plan: [{ task, expert: 'a' }] })
    t.teardown(() => order(url, key, 'cancel'))
    const end = await endOf(url, key, 5000)
    t.equal(end.status, 'succeeded')
  })

  t.test('a plan as wide and deep as it may be holds nobody up', async (t) => {
    const task = (at: number) => `step ${at}`
    const plan = Array.from({ length: 1000 }, (_, at) => ({
      ...{ expert: 'a', task: task(at) },
      depends_on: Array.from({ length: Math.min(at, 60) }, (_, back) => task(at - 1 - back))
    }))
    const from = performance.now()
    const posted = post({ movies: [], plan })
    const others = []
    for (let i = 0; i < 20; i++) {
      const began = performance.now()
      await call(`${url}/health/live`, 'GET')
      others.push(performance.now() - began)
    }
    const { status } = await posted
    t.equal(status, 201)
    t.comment(
      `${Math.round(performance.now() - from)} ms, others ${Math.round(Math.max(...others))} ms`
    )
    t.ok(Math.max(...others) < 2000, `another waited ${Math.round(Math.max(...others))} ms`)
  })
})

t.test('reading pipelines', async (t) => {
  const { url } = await startItems(t, {
    experts: { a: { model: MODEL, version: '1.2.3' }, b: {} },
    settings: { concurrency: 3 }
  })
  const movies = movieIds(25)
  const of = { 'Movies/m3': 'fail bad light' }
  const plan = [
    { expert: 'a', extra_params: { of, note: 'é' } },
    { task: 'second', expert: 'b', depends_on: ['a'] }
  ]
  const key = await runPipeline(url, { _key: 'p-main', movies, plan, tag: 'exp-7' })
  const end = await endOf(url, key)

  t.test('the document says what its readers look for', async (t) => {
    t.match(end, { status: 'failed', tag: 'exp-7', tasks: { a: 'fail', second: 'fail' } })
    t.strictSame(Object.keys(end.movies), movies, 'in the order given')
    for (const [id, movie] of Object.entries(end.movies)) {
      const expected =
        id === 'Movies/m3' ? { a: 'fail', second: 'skipped' } : { a: 'success', second: 'success' }
      t.strictSame((movie as { status: unknown }).status, expected, id)
    }
    t.match(end.counts, {
      a: { success: 24, fail: 1, ready: 0 },
      second: { success: 24, skipped: 1 }
    })
    const times = [end.created_at, end.started_at, end.finished_at].map(Date.parse)
    t.strictSame(
      times,
      [...times].sort((x, y) => x - y),
      'created, started, finished'
    )
  })

  t.test('without its movies', async (t) => {
    const { status, json } = await call(`${url}/pipelines/${key}?movies=false`, 'GET')
    t.equal(status, 200)
    const { movies: _, ...rest } = end
    t.strictSame(json, rest)
    const wrong = await call(`${url}/pipelines/${key}?movies=perhaps`, 'GET')
    t.equal(wrong.status, 422)
    t.match(wrong.json.detail, [{ loc: ['query', 'movies'] }])
  })

  t.test('its items, in order, page by page', async (t) => {
    const all = await itemsOf(url, key)
    t.strictSame(
      all.map(({ task, movie }) => [task, movie]),
      ['a', 'second'].flatMap((task) => movies.map((movie) => [task, movie]))
    )
    const paged = []
    let cursor = ''
    for (let page = 0; page < 10; page++) {
      const { json } = await call(`${url}/pipelines/${key}/items?limit=9${cursor}`, 'GET')
      t.ok(json.items.length <= 9)
      paged.push(...json.items)
      if (json.next === null) break
      cursor = `&cursor=${encodeURIComponent(json.next)}`
    }
    t.strictSame(paged, all)
  })

  t.test('what an item records', async (t) => {
    const [good] = await itemsOf(url, key, 'task=a&state=success')
    const ran = { expert: 'a', expert_version: '1.2.3', model_sha256: MODEL }
    const { started_at, finished_at, ...rest } = good as Record<string, unknown>
    t.strictSame(rest, {
      ...{
        pipeline: key,
        task: 'a',
        movie: 'Movies/m1',
        state: 'success',
        attempts: 1,
        error: null
      },
      ...ran,
      extra_params: { of, note: 'é' }
    })
    const times = [end.started_at, started_at, finished_at, end.finished_at].map((at) =>
      Date.parse(at as string)
    )
    t.strictSame(
      times,
      [...times].sort((x, y) => x - y)
    )
    const [bad, ...others] = await itemsOf(url, key, 'state=fail')
    t.strictSame(others, [])
    t.match(bad, { task: 'a', movie: 'Movies/m3', error: 'bad light', attempts: 1, ...ran })
    const [skipped] = await itemsOf(url, key, 'state=skipped')
    t.match(skipped, {
      task: 'second',
      movie: 'Movies/m3',
      attempts: 0,
      started_at: null,
      finished_at: null
    })
    t.match((await itemsOf(url, key, 'task=second'))[0], {
      expert: 'b',
      expert_version: '1.0.0',
      model_sha256: null,
      extra_params: null
    })
  })

  t.test('filters of items', async (t) => {
    t.equal((await itemsOf(url, key, 'task=second')).length, 25)
    t.equal((await itemsOf(url, key, 'state=success')).length, 48)
    t.strictSame(await itemsOf(url, key, 'task=nothing'), [])
    t.strictSame(await itemsOf(url, key, 'state=running'), [])
    for (const [query, name] of [
      ['state=done', 'state'],
      ['limit=0', 'limit'],
      ['limit=1001', 'limit'],
      ['limit=many', 'limit']
    ] as const) {
      const wrong = await call(`${url}/pipelines/${key}/items?${query}`, 'GET')
      t.equal(wrong.status, 422, query)
      t.match(wrong.json.detail[0].loc, ['query', name], query)
    }
    const cursor = await call(`${url}/pipelines/${key}/items?cursor=x`, 'GET')
    t.equal(cursor.status, 422)
    t.match(cursor.text, /cursor/)
  })

  t.test('the list: pages, one status, no movies', async (t) => {
    const keys = Array.from({ length: 7 }, (_, at) => `q-${at}`)
    for (const _key of keys) await createPipeline(url, { _key, movies: ['1'], plan })
    const first = (await call(`${url}/pipelines?limit=3&status=created`, 'GET')).json
    t.equal(first.pipelines.length, 3)
    const found = [...first.pipelines]
    let { next } = first
    for (let page = 0; next !== null && page < 10; page++) {
      const { json } = await call(
        `${url}/pipelines?limit=3&status=created&cursor=${encodeURIComponent(next)}`,
        'GET'
      )
      found.push(...json.pipelines)
      next = json.next
    }
    t.strictSame(
      found.map(({ _key }) => _key),
      keys
    )
    t.ok(found.every((one) => !('movies' in one)))
    const ended = (await call(`${url}/pipelines?status=failed`, 'GET')).json
    t.strictSame(
      ended.pipelines.map(({ _key }: { _key: string }) => _key),
      [key]
    )
    t.strictSame((await call(`${url}/pipelines?status=no such`, 'GET')).json, {
      pipelines: [],
      next: null
    })
    t.equal((await call(`${url}/pipelines`, 'GET')).json.pipelines.length, 8)
    t.match((await call(`${url}/pipelines?limit=x`, 'GET')).json.detail, [
      { loc: ['query', 'limit'] }
    ])
  })

  t.test('what is not there is 404, by any route', async (t) => {
    for (const id of ['none', 'a%20b', 'x'.repeat(254), 'constructor']) {
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/items'],
        ['GET', '/events'],
        ['POST', '/run'],
        ['POST', '/cancel'],
        ['POST', '/retry']
      ] as const) {
        const { status, text, json } = await call(`${url}/pipelines/${id}${path}`, method)
        t.equal(status, 404, `${method} ${id.slice(0, 20)}${path} ${text.slice(0, 200)}`)
        t.equal(json.code, 'HOST_DOCUMENT_UNKNOWN')
        t.ok(text.length < 600)
      }
    }
  })
})
