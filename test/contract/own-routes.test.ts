import t from 'tap'
import { makeLatches } from '../support/latches.ts'
import { rawClient } from '../support/raw-request.ts'
import { call, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

t.test('routes as the tracker and the video processor have them', async (t) => {
  const { url } = await startHost(t, { plugins: ['step-routes'] })
  const movies = [
    { url: 'https://h/a.mp4' },
    { movie_id: 'b', url: 'https://h/b.mp4', type: 'movie' }
  ]
  const results = [
    { result: { url: 'https://h/a.mp4', type: 'file' }, error: null },
    { result: { movie_id: 'b', url: 'https://h/b.mp4', type: 'movie' }, error: null }
  ]
  const process = (body: unknown, headers = {}) =>
    call(`${url}/process/movies`, 'POST', body, headers)
  const end = (id: string) =>
    until(`end of ${id}`, async () => {
      const { json } = await call(`${url}/jobs/${id}`, 'GET')
      return json[id]?.state === 'finish' ? json[id] : undefined
    })

  t.test('A45 is_async as a boolean and as the web page sends it', async (t) => {
    for (const is_async of [true, 'true', 'True', 1]) {
      const { status, json } = await process({ is_async, movies })
      t.equal(status, 200)
      t.same(Object.keys(json), ['jobId'])
      t.match(json.jobId, UUID4)
      t.match(await end(json.jobId), { status: 'succeeded', results })
    }
    for (const is_async of [false, 'false']) {
      const { status, json } = await process({ is_async, movies })
      t.equal(status, 200)
      t.same(json, { results })
    }
  })

  t.test('A45 without is_async it is what the schema says: here synchronous', async (t) => {
    t.same((await process({ movies })).json, { results })
  })

  t.test('A45 a wrong is_async is refused', async (t) => {
    const { status, json } = await process({ is_async: 'perhaps', movies })
    t.equal(status, 422)
    t.match(json.detail, [{ loc: ['body', 'is_async'], type: 'type_error.bool' }])
    t.equal(json.detail.length, 1)
  })

  t.test('A45 a job of such a route shows its body while it is known', async (t) => {
    const { headers, status, json } = await process({ movies }, { prefer: 'respond-async' })
    t.equal(status, 202)
    t.equal(headers.get('location'), `/jobs/${json.jobId}`)
    t.match(await end(json.jobId), { expert: 'TrackerExpert', results })
  })

  t.test('A46 defaults are filled in, in the order they are declared', async (t) => {
    const { status, text } = await call(`${url}/depth`, 'POST', { movie_id: 'Movies/1' })
    t.equal(status, 200)
    t.equal(
      text,
      '{"track_params":{"movie_id":"Movies/1","scene_element":0,"mdf":0,"action":"track",' +
        '"detect_every":10,"merge_iou_threshold":0.95,"refresh_on_detect":true,' +
        '"tracker_type":"KCF","batch_size":8,"output":"json"}}'
    )
    const refused = await call(`${url}/detect`, 'POST', {})
    t.equal(refused.status, 422)
    t.same(refused.json.detail, [
      { loc: ['body', 'movie_id'], msg: 'field required', type: 'value_error.missing' }
    ])
  })

  t.test('A47 parameters of path and query', async (t) => {
    const found = await call(`${url}/my-expert?q=1`, 'GET')
    t.equal(found.status, 200)
    t.same(found.json, { expert: 'my-expert', q: '1' })
    const refused = await call(`${url}/predict-on-video/1/x`, 'GET')
    t.equal(refused.status, 422)
    t.same(refused.json.detail, [
      {
        loc: ['path', 'scene_element'],
        msg: 'value is not a valid integer',
        type: 'type_error.integer'
      }
    ])
    const path = await call(`${url}/predict-on-video/a%20b%C3%A9%25/7`, 'GET')
    t.same(path.json, { movie_id: 'a bé%', scene_element: 7 }, 'decoded once')
  })

  t.test('a key given twice in the query: the last counts, a list takes all', async (t) => {
    const { json } = await call(`${url}/my-expert?q=1&q=2%2F3&tag=a&tag=b`, 'GET')
    t.same(json, { expert: 'my-expert', q: '2/3', tag: ['a', 'b'] })
    const one = await call(`${url}/my-expert?tag=a`, 'GET')
    t.same(one.json, { expert: 'my-expert', tag: ['a'] })
  })

  t.test('all that is wrong is said at once', async (t) => {
    const { url: models } = await startHost(t, { plugins: ['model-server'] })
    const { status, json } = await call(`${models}/v1/models/clip:predict`, 'POST', {})
    t.equal(status, 422)
    t.match(json.detail, [{ loc: ['body', 'instances'], type: 'value_error.missing' }])
  })
})

t.test('verbs in the last segment', async (t) => {
  const { url } = await startHost(t, { plugins: ['model-server'] })
  const send = rawClient(t, url)
  const instances = { text: 'a dog' }
  const post = (path: string) => call(`${url}${path}`, 'POST', { instances })
  for (const base of ['', '/experts/model-server']) {
    const model = await call(`${url}${base}/v1/models/clip`, 'GET')
    t.same(model.json, { model: 'clip' })
    const metadata = await call(`${url}${base}/v1/models/clip/metadata`, 'GET')
    t.same(metadata.json, { metadata: 'clip' })
    for (const verb of ['predict', 'encode_text']) {
      const { status, json } = await post(`${base}/v1/models/clip-2.0:${verb}`)
      t.equal(status, 200)
      t.same(json, { verb, model: 'clip-2.0', instances })
      const escaped = await post(`${base}/v1/models/clip%20é%3A${verb}`)
      t.same(escaped.json, { verb, model: 'clip é', instances }, 'an escaped colon is one, too')
    }
    t.same((await call(`${url}${base}/v1/clip:reload`, 'POST')).json, { verb: 'reload' })
    t.equal((await call(`${url}${base}/v1/clip`, 'POST')).status, 404)
    t.same((await call(`${url}${base}/v1/models/a`, 'PUT')).json, { put: 'a' })
    t.same((await call(`${url}${base}/v1/models/a`, 'DELETE')).json, { deleted: 'a' })
  }
  t.equal((await post('/v1/models/clip:forget')).status, 405, 'GET, PUT and DELETE have that path')
  const wrong = await send('GET', '/v1/models/clip/metadata:predict')
  t.equal(wrong.status, 404)
  const patch = await send('PATCH', '/v1/models/clip')
  t.equal(patch.status, 405)
  t.equal(patch.headers.allow, 'DELETE, GET, PUT')
})

t.test('Prefer: respond-async', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, { plugins: ['held-runs'], env: { LATCH_DIR: latches.dir } })
  await latches.release('1')
  const bodies = {
    '/predict/image': { image_id: '1', url: 'u' },
    '/predict/images': { images: [{ image_id: '1', url: 'u' }] },
    '/hold-job': { id: '1' }
  }
  for (const base of ['', '/experts/held-runs', '/experts/Held-Runs']) {
    for (const [path, body] of Object.entries(bodies)) {
      const prefer = { prefer: 'return=minimal, Respond-Async' }
      const answer = await call(`${url}${base}${path}`, 'POST', body, prefer)
      t.equal(answer.status, 202, `${base}${path}`)
      t.same(Object.keys(answer.json), ['jobId'])
      t.equal(answer.headers.get('content-type'), 'application/json')
      t.equal(answer.headers.get('preference-applied'), 'respond-async')
      const location = answer.headers.get('location') as string
      t.equal(location, `${base}/jobs/${answer.json.jobId}`)
      await until('the job has ended', async () => {
        const { json } = await call(`${url}${location}`, 'GET')
        return json[answer.json.jobId].state === 'finish' ? true : undefined
      })
    }
  }
  const other = await call(`${url}/predict/image`, 'POST', bodies['/predict/image'], {
    prefer: 'return=minimal'
  })
  t.equal(other.status, 200, 'another preference changes nothing')
  const plain = await call(`${url}/hold`, 'POST', { id: '1' }, { prefer: 'respond-async' })
  t.equal(plain.status, 200, 'a route that is no job is answered as ever')
  t.equal(plain.json.result, 'released 1')
})
