import t from 'tap'
import { rawClient } from '../support/raw-request.ts'
import { call, startHost } from '../support/start-host.ts'

type Issue = { loc: unknown[]; msg: string; type: string }

const where = (detail: Issue[]) => detail.map(({ loc, type }) => [loc.join('.'), type])

t.test('bodies of /predict', async (t) => {
  const { url } = await startHost(t, { plugins: ['echo-params'] })
  const predict = (body?: unknown) => call(`${url}/predict`, 'POST', body)
  const refused = async (body: unknown) => {
    const answer = await predict(body)
    t.equal(answer.status, 422)
    t.equal(answer.headers.get('content-type'), 'application/json')
    return answer.json.detail as Issue[]
  }

  t.test('A13 no body', async (t) => {
    t.same(await refused(undefined), [
      { loc: ['body'], msg: 'field required', type: 'value_error.missing' }
    ])
  })

  t.test('A14 an empty object', async (t) => {
    t.same(where(await refused({})), [
      ['body.movie_id', 'value_error.missing'],
      ['body.local', 'value_error.missing']
    ])
  })

  t.test('A15 one field missing', async (t) => {
    t.same(where(await refused({ movie_id: '1' })), [['body.local', 'value_error.missing']])
  })

  t.test('A16 four wrong fields, in the order they are declared', async (t) => {
    const body = { extra_params: 's', local: 'maybe', scene_element: 'x', movie_id: null }
    t.same(where(await refused(body)), [
      ['body.movie_id', 'type_error.none.not_allowed'],
      ['body.scene_element', 'type_error.integer'],
      ['body.local', 'type_error.bool'],
      ['body.extra_params', 'type_error.dict']
    ])
  })

  t.test('A17 values are coerced before the expert sees them', async (t) => {
    const answer = await predict({ movie_id: 123, local: 'yes', scene_element: '3', extra: 1 })
    t.equal(answer.status, 200)
    t.same(answer.json.result, {
      id: '123',
      scene_element: 3,
      local: true,
      extra_params: null,
      output: 'json',
      type: 'movie',
      img_url: null,
      output_file: null
    })
  })

  t.test('A18 2 is no boolean', async (t) => {
    t.same(where(await refused({ movie_id: '1', local: 2 })), [['body.local', 'type_error.bool']])
  })

  t.test('A19 null for a field with another default, and for one without', async (t) => {
    const body = { movie_id: '1', local: false }
    t.same(where(await refused({ ...body, output: null })), [
      ['body.output', 'type_error.none.not_allowed']
    ])
    const accepted = await predict({ ...body, scene_element: null })
    t.equal(accepted.status, 200)
    t.equal(accepted.json.result.scene_element, null)
  })

  t.test('A20 a body that breaks off', async (t) => {
    const [issue, ...others] = await refused('{"a":')
    t.same(others, [])
    t.match(issue, { loc: ['body', 5], type: 'value_error.jsondecode', ctx: { pos: 5 } })
  })

  t.test('A21 a body counts as JSON by its type', async (t) => {
    const send = rawClient(t, url)
    const body = '{"movie_id":"1","local":false}'
    const text = await send('POST', '/predict', { headers: { 'content-type': 'text/plain' }, body })
    t.equal(text.status, 422)
    t.same(where(JSON.parse(text.text).detail), [['body', 'type_error.dict']])
    const without = await send('POST', '/predict', { body })
    t.equal(without.status, 200)
    for (const type of ['application/vnd.api+json', 'Application/JSON; charset=utf-8; a="b;c"']) {
      const typed = await send('POST', '/predict', { headers: { 'content-type': type }, body })
      t.equal(typed.status, 200, type)
    }
  })

  t.test('A22 a body of bytes that are no text', async (t) => {
    const answer = await rawClient(t, url)('POST', '/predict', {
      headers: { 'content-type': 'application/json' },
      body: Buffer.from('7b22c328227d', 'hex')
    })
    t.equal(answer.status, 400)
    t.equal(JSON.parse(answer.text).detail, 'There was an error parsing the body')
  })
})

t.test('the test expert of the seed', async (t) => {
  const { url } = await startHost(t, { plugins: ['my-expert'] })
  const body = { movie_id: 'Movies/1', local: false }

  t.test('A23 POST /predict of an unknown movie', async (t) => {
    const answer = await call(`${url}/predict`, 'POST', body)
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('content-type'), 'application/json')
    t.equal(answer.text, '{"result":{"movie_id":"Movies/1","info":{},"extra_params":null}}')
  })

  t.test('A24 /predict/movie answers the same bytes, and neither makes a job', async (t) => {
    const short = await call(`${url}/predict`, 'POST', body)
    const long = await call(`${url}/predict/movie`, 'POST', body)
    t.equal(long.status, 200)
    t.equal(long.text, short.text)
    t.equal((await call(`${url}/jobs`, 'GET')).text, '{"jobs":[]}')
  })
})

t.test('odd answers', async (t) => {
  const { url } = await startHost(t, { plugins: ['odd-answers'] })
  const predict = (mode: string) =>
    call(`${url}/predict`, 'POST', { movie_id: '1', local: false, extra_params: { mode } })

  t.test('A25 any JSON value is an answer', async (t) => {
    for (const [mode, text] of [
      ['null', 'null'],
      ['nothing', 'null'],
      ['text', '"plain \\"é\\" / <x>"'],
      ['list', '[1,{"two":2}]']
    ] as const) {
      const answer = await predict(mode)
      t.equal(answer.status, 200)
      t.equal(answer.text, text, mode)
    }
  })

  t.test('A26 an expert that throws costs its caller alone', async (t) => {
    for (const mode of ['throw', 'reject', 'loop']) {
      const answer = await predict(mode)
      t.equal(answer.status, 500, mode)
      t.equal(answer.headers.get('content-type'), 'application/json')
      t.match(answer.json, { detail: 'Internal Server Error', code: 'HOST_EXPERT_FAILED' })
      t.same(Object.keys(answer.json), ['detail', 'code', 'request_id'])
      t.notMatch(answer.text, /secret|\.js/, 'nothing of the error is shown')
    }
    t.equal((await call(`${url}/`, 'GET')).text, '{"Expert":"odd-answers"}')
    t.equal((await predict('list')).status, 200, 'the same process goes on')
    const [expert] = (await call(`${url}/experts`, 'GET')).json
    t.equal(expert.restarts, 0)
  })

  t.test('A26 an ExpertError is meant for the caller', async (t) => {
    const answer = await predict('expert error')
    t.equal(answer.status, 422)
    t.match(answer.json, { detail: 'the caption is missing', code: 'EXP_BAD_INPUT' })
  })

  t.test('A48 NaN becomes null, and /jobs is not harmed', async (t) => {
    const movie = await predict('nan')
    t.equal(movie.status, 200)
    t.equal(movie.text, '{"result":null,"list":[null,1]}')
    const image = await call(`${url}/predict/image`, 'POST', { image_id: '1', url: 'mode:nan' })
    t.equal(image.text, '{"result":null,"list":[null,1]}')
    const { status, json } = await call(`${url}/jobs`, 'GET')
    t.equal(status, 200)
    t.match(json.jobs, [{ state: 'finish', result: null, list: [null, 1] }])
  })
})
