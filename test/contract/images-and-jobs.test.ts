import { once } from 'node:events'
import { copyFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { makeLatches } from '../support/latches.ts'
import { rawClient } from '../support/raw-request.ts'
import { call, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const PARAMS = [
  'id',
  'scene_element',
  'local',
  'extra_params',
  'output',
  'type',
  'img_url',
  'output_file'
]
/** Beside the seed's record. */
const FACTS = [
  'status',
  'created_at',
  'started_at',
  'finished_at',
  'progress',
  'attempts',
  'expert',
  'expert_version'
]

/** The record of a job, once it has reached its end. */
function finished(url: string, id: string) {
  return until(`end of job ${id}`, async () => {
    const { json } = await call(`${url}/jobs/${id}`, 'GET')
    return json[id]?.state === 'finish' ? json[id] : undefined
  })
}

t.test('a picture that can be had, and one that cannot', async (t) => {
  const latches = await makeLatches(t)
  const there = join(latches.dir, 'red square.png')
  await copyFile(fileURLToPath(new URL('../fixtures/red.png', import.meta.url)), there)
  let requests = 0
  const server = createServer((_request, response) => {
    requests += 1
    response.writeHead(404).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const { url } = await startHost(t, {
    plugins: ['my-expert'],
    env: { EXPERT_FILE_ROOTS: latches.dir, EXPERT_ALLOW_HOSTS: `127.0.0.1:${port}` }
  })
  const predict = (image: string) =>
    call(`${url}/predict/image`, 'POST', { image_id: '1', url: image })

  t.test('A27 a file that is there', async (t) => {
    const { href } = pathToFileURL(there)
    const answer = await predict(href)
    t.equal(answer.status, 200)
    t.equal(
      answer.text,
      JSON.stringify({ result: true, image_id: '1', url: href, extra_params: null }),
      'the answer of the expert, without a jobId'
    )
    const { jobs } = (await call(`${url}/jobs`, 'GET')).json
    t.equal(jobs.length, 1)
    t.match(jobs[0], { jobId: UUID4, state: 'finish', result: true, image_id: '1', url: href })
    t.notOk('params' in jobs[0])
  })

  t.test('A28 a file that is not there', async (t) => {
    const answer = await predict(pathToFileURL(join(latches.dir, 'nothing.png')).href)
    t.equal(answer.status, 200)
    t.match(answer.json, { result: false, image_id: '1' })
  })

  t.test('A28 a file that is there, outside of the allowed roots', async (t) => {
    const answer = await predict(new URL('../fixtures/red.png', import.meta.url).href)
    t.equal(answer.status, 200)
    t.match(answer.json, { result: false })
  })

  t.test('A29 a server that answers 404', async (t) => {
    const answer = await predict(`http://127.0.0.1:${port}/a.jpg`)
    t.equal(answer.status, 200)
    t.match(answer.json, { result: false, url: `http://127.0.0.1:${port}/a.jpg` })
    t.equal(requests, 1, 'it was asked')
  })
})

t.test('an asynchronous image', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, { plugins: ['held-runs'], env: { LATCH_DIR: latches.dir } })
  const extra_params = { sleep: 1 }
  const answer = await call(`${url}/predict/image`, 'POST', {
    image_id: '3',
    url: 'https://h/a.jpg',
    extra_params,
    is_async: true
  })
  const id = answer.json.jobId
  await latches.started('3')

  t.test('A30 is answered with its id at once', async (t) => {
    t.equal(answer.status, 200)
    t.same(Object.keys(answer.json), ['jobId'])
    t.match(id, UUID4)
  })

  t.test('A31 while it runs', async (t) => {
    const { json } = await call(`${url}/jobs/${id}`, 'GET')
    t.same(Object.keys(json), [id])
    const record = json[id]
    t.same(Object.keys(record), ['state', 'params', ...FACTS])
    t.equal(record.state, 'running')
    t.same(Object.keys(record.params), PARAMS)
    t.same(record.params, {
      id: '3',
      scene_element: null,
      local: false,
      extra_params,
      output: 'json',
      type: 'image',
      img_url: 'https://h/a.jpg',
      output_file: null
    })
    t.match(record, {
      status: 'running',
      expert: 'held-runs',
      expert_version: '1.0.0',
      attempts: 1
    })
    t.match(record, { created_at: /^\d{4}-\d\d-\d\dT/, started_at: /Z$/, finished_at: null })
    const list = (await call(`${url}/jobs`, 'GET')).json
    t.same(list, { jobs: [{ jobId: id, ...record }] })
    t.equal(Object.keys(list.jobs[0])[0], 'jobId')
  })

  t.test('A32 after its end', async (t) => {
    await latches.release('3')
    const record = await finished(url, id)
    t.same(Object.keys(record), ['state', 'result', 'error', ...FACTS])
    t.match(record, { result: 'released 3', error: null, status: 'succeeded' })
    t.ok(Date.parse(record.finished_at) >= Date.parse(record.started_at))
    const result = await call(`${url}/jobs/${id}/result`, 'GET')
    t.equal(result.text, '{"result":"released 3","error":null}')
  })
})

t.test('lists of images', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs', 'odd-answers'],
    env: { LATCH_DIR: latches.dir, EXPERT_DEFAULT: 'held-runs' }
  })
  const images = (body: unknown, base = '') => call(`${url}${base}/predict/images`, 'POST', body)
  const item = (image_id: string) => ({ image_id, url: 'u' })

  t.test('A33 wrong lists', async (t) => {
    const issues = async (body: unknown) => {
      const { status, json } = await images(body)
      t.equal(status, 422)
      return json.detail.map(({ loc, type }: Record<string, unknown>) => [loc, type])
    }
    t.same(await issues({}), [[['body', 'images'], 'value_error.missing']])
    t.same(await issues({ images: {} }), [[['body', 'images'], 'type_error.list']])
    t.same(await issues({ images: [{ image_id: '1' }, { url: 'u' }, 5] }), [
      [['body', 'images', 0, 'url'], 'value_error.missing'],
      [['body', 'images', 1, 'image_id'], 'value_error.missing'],
      [['body', 'images', 2], 'type_error.dict']
    ])
  })

  t.test('A34 an empty list', async (t) => {
    const { status, json } = await images({ images: [] })
    t.equal(status, 200)
    t.same(Object.keys(json), ['results', 'jobId'])
    t.same(json.results, [])
    t.match(json.jobId, UUID4)
  })

  t.test('A35 results come in the order of the images, then the jobId', async (t) => {
    await latches.release('a', 'b')
    const { status, json } = await images({ images: [item('b'), item('a'), item('b')] })
    t.equal(status, 200)
    t.same(Object.keys(json), ['results', 'jobId'])
    t.same(
      json.results.map(({ result }: { result: string }) => result),
      ['released b', 'released a', 'released b']
    )
    t.match((await finished(url, json.jobId)).results, json.results)
  })

  t.test('A36 an asynchronous list', async (t) => {
    const { status, json } = await images({
      images: [item('c'), item('d')],
      extra_params: { x: 1 },
      is_async: true
    })
    t.equal(status, 200)
    t.same(Object.keys(json), ['jobId'])
    await latches.started('c')
    const running = (await call(`${url}/jobs/${json.jobId}`, 'GET')).json[json.jobId]
    t.equal(running.state, 'running')
    t.equal(running.params.length, 2)
    for (const params of running.params) t.same(Object.keys(params), PARAMS)
    t.match(running.params, [
      { id: 'c', type: 'image', img_url: 'u', extra_params: { x: 1 } },
      { id: 'd', type: 'image', img_url: 'u', extra_params: { x: 1 } }
    ])
    await latches.release('c', 'd')
    const record = await finished(url, json.jobId)
    t.notOk('params' in record)
    t.same(record.results, [
      { result: 'released c', error: null },
      { result: 'released d', error: null }
    ])
  })

  t.test('A37 one image that throws takes nothing from the others', async (t) => {
    const list = [item('1'), { image_id: '2', url: 'mode:throw' }, item('3')]
    const { status, json } = await images({ images: list }, '/experts/odd-answers')
    t.equal(status, 200)
    t.equal(json.results.length, 3)
    t.same(json.results[0], { result: '1' })
    t.match(json.results[1], { result: null, error: String, code: 'HOST_EXPERT_FAILED' })
    t.same(json.results[2], { result: '3' })
    const record = await finished(url, json.jobId)
    t.same(record.results, json.results)
  })
})

t.test('odd answers of images', async (t) => {
  const { url } = await startHost(t, { plugins: ['odd-answers'] })
  const image = (mode: string, more = {}) =>
    call(`${url}/predict/image`, 'POST', { image_id: '1', url: `mode:${mode}`, ...more })

  t.test('A38 an asynchronous job that throws ends, and says why', async (t) => {
    const { json } = await image('throw', { is_async: true })
    const record = await finished(url, json.jobId)
    t.match(record, { state: 'finish', result: null, status: 'failed', error: String })
    t.ok(record.error.length > 0)
    const result = await call(`${url}/jobs/${json.jobId}/result`, 'GET')
    t.equal(result.status, 409)
    t.equal(result.json.code, 'HOST_JOB_FAILED')
  })

  t.test('A38 a synchronous one, too', async (t) => {
    const answer = await image('reject')
    t.equal(answer.status, 500)
    const { jobs } = (await call(`${url}/jobs`, 'GET')).json
    t.match(jobs.at(-1), { state: 'finish', status: 'failed', result: null })
  })

  t.test('A39 an answer that is no object', async (t) => {
    const answer = await image('list')
    t.equal(answer.status, 200)
    t.equal(answer.text, '[1,{"two":2}]')
    const { jobs } = (await call(`${url}/jobs`, 'GET')).json
    t.match(jobs.at(-1), { state: 'finish', result: [1, { two: 2 }] })
  })

  t.test('A42 an answer cannot change what the host says of its job', async (t) => {
    const { json } = await image('own keys', { is_async: true })
    const record = await finished(url, json.jobId)
    t.match(record, { state: 'finish', status: 'succeeded', result: 'kept', mine: 1 })
    t.notOk('jobId' in record)
    const { jobs } = (await call(`${url}/jobs`, 'GET')).json
    t.match(jobs.at(-1), { jobId: json.jobId, state: 'finish', status: 'succeeded' })
    const sync = await image('own keys')
    const own = { state: 'running', jobId: 'mine', status: 'queued', result: 'kept', mine: 1 }
    t.equal(sync.text, JSON.stringify(own), 'the body is the answer, unchanged')
    const result = await call(`${url}/jobs/${json.jobId}/result`, 'GET')
    t.equal(result.text, JSON.stringify(own), 'and the result is kept as it was')
  })
})

t.test('A43 a finished job is kept for JOBS_EXPIRATION from its end', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    env: { LATCH_DIR: latches.dir, JOBS_EXPIRATION: '1' }
  })
  const { json } = await call(`${url}/predict/image`, 'POST', {
    image_id: 'long',
    url: 'u',
    is_async: true
  })
  const { jobId } = json
  await latches.started('long')
  const live = async () => (await call(`${url}/jobs/${jobId}`, 'GET')).json[jobId]
  const { created_at } = await live()
  await until('the job is older than its time', async () =>
    Date.now() > Date.parse(created_at) + 1200 ? true : undefined
  )
  t.match(await live(), { state: 'running' }, 'what runs does not expire')
  await latches.release('long')
  const record = await finished(url, jobId)
  t.match(record, { result: 'released long' }, 'it is there right after its end')
  await until('the record is gone', async () => ((await live()) === undefined ? true : undefined))
  t.ok(Date.now() >= Date.parse(record.finished_at) + 1000, 'not before its time')
  t.equal((await call(`${url}/jobs/${jobId}`, 'GET')).text, '{}')
  t.equal((await call(`${url}/jobs`, 'GET')).text, '{"jobs":[]}')
})

t.test('A44 twelve jobs at once are all resolvable', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, { plugins: ['held-runs'], env: { LATCH_DIR: latches.dir } })
  const names = Array.from({ length: 12 }, (_, i) => `job-${i}`)
  const ids: string[] = []
  for (const image_id of names) {
    const body = { image_id, url: 'u', is_async: true }
    ids.push((await call(`${url}/predict/image`, 'POST', body)).json.jobId)
  }
  await latches.started('job-0')
  for (const id of ids) {
    const { json } = await call(`${url}/jobs/${id}`, 'GET')
    t.equal(json[id].state, 'running')
  }
  const running = (await call(`${url}/jobs`, 'GET')).json.jobs
  t.same(listed(running), ids)
  await latches.release(...names)
  for (const id of ids) await finished(url, id)
  t.same(listed((await call(`${url}/jobs`, 'GET')).json.jobs), ids, 'oldest first')
})

t.test('A44 finished jobs are bounded: the oldest go', async (t) => {
  const { url } = await startHost(t, { plugins: ['odd-answers'] })
  const send = rawClient(t, url)
  const headers = { 'content-type': 'application/json' }
  const total = 10_050
  const ended: number[] = []
  let next = 0
  const work = async () => {
    while (next < total) {
      const body = `{"image_id":"${next++}","url":"u"}`
      const answer = await send('POST', '/predict/image', { headers, body })
      ended.push(Number(JSON.parse(answer.text).result))
    }
  }
  await Promise.all(Array.from({ length: 4 }, work))
  const { jobs } = (await call(`${url}/jobs`, 'GET')).json
  t.equal(jobs.length, 10_000)
  const kept = new Set(jobs.map(({ result }: { result: string }) => Number(result)))
  const gone = ended.filter((id) => !kept.has(id))
  t.equal(gone.length, 50)
  t.ok(Math.max(...gone) < 60, `those gone are of the first: ${Math.max(...gone)}`)
})

t.test('jobs are listed by the expert whose they are', async (t: Test) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs', 'odd-answers'],
    env: { LATCH_DIR: latches.dir }
  })
  await latches.release('1')
  const body = { image_id: '1', url: 'u' }
  for (const name of ['held-runs', 'odd-answers']) {
    t.equal((await call(`${url}/experts/${name}/predict/image`, 'POST', body)).status, 200)
  }
  const jobs = async (base: string) => (await call(`${url}${base}/jobs`, 'GET')).json.jobs
  const all = await jobs('')
  t.match(all, [{ expert: 'held-runs' }, { expert: 'odd-answers' }])
  t.same(listed(await jobs('/experts/held-runs')), [all[0].jobId])
  const others = await call(`${url}/experts/held-runs/jobs/${all[1].jobId}`, 'GET')
  t.equal(others.text, '{}')
})

function listed(jobs: Array<{ jobId: string }>): string[] {
  return jobs.map(({ jobId }) => jobId)
}
