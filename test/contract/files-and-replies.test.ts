import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { rawClient } from '../support/raw-request.ts'
import { call, startHost, type TestHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const LIMIT = 200_000
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

const serve = (t: Test, env: Record<string, string> = {}) =>
  startHost(t, {
    plugins: ['files-and-replies'],
    env: { NEBULA_MAX_UPLOAD_BYTES: String(LIMIT), NEBULA_MAX_BODY_BYTES: '2048', ...env }
  })

/** Waits until no upload is left on the disk. */
async function uploadsGone(t: Test, { home }: TestHost): Promise<void> {
  const run = join(home, 'data', 'run')
  const [name = ''] = await readdir(run)
  const left = () => readdir(join(run, name, 'uploads')).catch(() => [])
  await until('uploads are removed', async () => ((await left()).length === 0 ? true : undefined))
  t.pass('nothing is left of the uploads')
}

t.test('a form with files', async (t) => {
  const host = await serve(t)
  const large = randomBytes(150_000)
  const form = new FormData()
  form.append('label', 'two files')
  form.append('first', new Blob([large], { type: 'image/png' }), '../../é.png')
  form.append('second', new Blob(['hello']), 'b.txt')
  const response = await fetch(`${host.url}/files`, { method: 'POST', body: form })
  t.equal(response.status, 200)
  const { body, files } = (await response.json()) as {
    body: unknown
    files: Array<{ path: string }>
  }
  t.same(body, { label: 'two files' })
  t.match(files, [
    { field: 'first', filename: 'é.png', type: 'image/png', bytes: 150_000, sha256: sha256(large) },
    { field: 'second', filename: 'b.txt', bytes: 5, sha256: sha256(Buffer.from('hello')) }
  ])
  t.equal(files.length, 2)
  await uploadsGone(t, host)
  for (const { path } of files) {
    t.ok(path.startsWith(join(host.home, 'data', 'run')), 'it lay in a folder of the host')
    const gone = await call(`${host.url}/exists?path=${encodeURIComponent(path)}`, 'GET')
    t.equal(gone.text, 'false')
  }
})

t.test('a raw body is one file', async (t) => {
  const host = await serve(t)
  const bytes = randomBytes(100_000)
  const response = await fetch(`${host.url}/files`, {
    method: 'POST',
    headers: { 'content-type': 'image/jpeg' },
    body: bytes
  })
  t.equal(response.status, 200)
  const { body, files } = (await response.json()) as { body: unknown; files: unknown[] }
  t.same(body, {})
  t.equal(files.length, 1)
  t.match(files, [
    { field: 'file', filename: null, type: 'image/jpeg', bytes: 100_000, sha256: sha256(bytes) }
  ])
  await uploadsGone(t, host)
})

t.test('JSON is the fields where fields are declared, and elsewhere a file', async (t) => {
  const host = await serve(t)
  const fields = await call(`${host.url}/files`, 'POST', '{"label":1}')
  t.same(fields.json, { body: { label: '1' }, files: [] })
  const broken = await call(`${host.url}/files`, 'POST', '{"label":1')
  t.equal(broken.status, 422)
  t.match(broken.json.detail, [{ type: 'value_error.jsondecode' }])
  const wrong = await call(`${host.url}/files/checked`, 'POST', '{"scale":"x"}')
  t.match(wrong.json.detail, [{ loc: ['body', 'scale'], type: 'type_error.integer' }])
  const job = await call(`${host.url}/files/job`, 'POST', '{"is_async":true}')
  t.match(job.json, { jobId: String })
  const plain = await call(`${host.url}/files/plain`, 'POST', '{"label":1')
  t.equal(plain.status, 200)
  t.match(plain.json.files, [{ type: 'application/json', bytes: 10 }])
  const none = await rawClient(t, host.url)('POST', '/files')
  t.equal(none.status, 200)
  t.same(JSON.parse(none.text), { body: {}, files: [] })
  const documented = await call(`${host.url}/openapi.json`, 'GET')
  const takes = (path: string) => Object.keys(documented.json.paths[path].post.requestBody.content)
  t.same(takes('/files'), ['multipart/form-data', 'application/json'])
  t.same(takes('/files/plain'), ['multipart/form-data'])
  await uploadsGone(t, host)
})

t.test('files over the limit', async (t) => {
  const host = await serve(t)
  const bytes = randomBytes(LIMIT + 1)
  const raw = (body: Uint8Array, headers: Record<string, string> = {}) =>
    rawClient(t, host.url)('POST', '/files', {
      headers: { 'content-type': 'image/png', ...headers },
      body: Buffer.from(body)
    })
  const exact = await raw(bytes.subarray(1))
  t.equal(exact.status, 200, 'exactly the limit is taken')
  const framings: Array<Record<string, string>> = [{}, { 'transfer-encoding': 'chunked' }]
  for (const headers of framings) {
    const over = await raw(bytes, headers)
    t.equal(over.status, 413)
    t.match(JSON.parse(over.text), { code: 'HOST_BODY_TOO_LARGE', detail: /200000/ })
  }
  const form = new FormData()
  form.append('a', new Blob([bytes.subarray(0, 150_000)]), 'a')
  form.append('b', new Blob([bytes.subarray(0, 150_000)]), 'b')
  const both = await fetch(`${host.url}/files`, { method: 'POST', body: form })
  t.equal(both.status, 413, 'all files of a form together')
  await uploadsGone(t, host)
})

t.test('a client that says it sends too much is told before it does', async (t) => {
  const host = await serve(t)
  const { hostname, port } = new URL(host.url)
  const headers = { 'content-type': 'image/png', 'content-length': 100 * 1024 * 1024 }
  const sent = request({ hostname, port, method: 'POST', path: '/files', headers })
  t.teardown(() => sent.destroy())
  const status = await new Promise((resolve, reject) => {
    sent.on('response', (answer) => resolve(answer.statusCode)).on('error', reject)
    sent.flushHeaders()
  })
  t.equal(status, 413)
})

t.test('broken forms', async (t) => {
  const host = await serve(t)
  const send = rawClient(t, host.url)
  const part = '--x\r\ncontent-disposition: form-data; name="f"; filename="a"\r\n\r\nhalf a fi'
  const broken: Array<[string, string, string]> = [
    ['without a boundary', 'multipart/form-data', part],
    ['that breaks off', 'multipart/form-data; boundary=x', part],
    ['without one part', 'multipart/form-data; boundary=x', 'no part at all']
  ]
  for (const [what, type, body] of broken) {
    const answer = await send('POST', '/files', { headers: { 'content-type': type }, body })
    t.equal(answer.status, 400, what)
    t.match(JSON.parse(answer.text), { code: 'HOST_BAD_REQUEST', detail: /form/ })
  }
  await uploadsGone(t, host)
})

t.test('nothing is left of an upload whose run fails, or that is refused', async (t) => {
  const host = await serve(t)
  const upload = (path: string, fields: Record<string, string>) => {
    const form = new FormData()
    for (const [name, value] of Object.entries(fields)) form.append(name, value)
    form.append('file', new Blob(['hello']), 'a.txt')
    return fetch(`${host.url}${path}`, { method: 'POST', body: form })
  }
  const failed = await upload('/files/refused', {})
  t.equal(failed.status, 500)
  await uploadsGone(t, host)
  const refused = await upload('/files/checked', { scale: 'x' })
  t.equal(refused.status, 422)
  t.match(await refused.json(), {
    detail: [{ loc: ['body', 'scale'], type: 'type_error.integer' }]
  })
  await uploadsGone(t, host)
  const checked = await upload('/files/checked', { scale: '3' })
  t.same(await checked.json(), { scale: 3 }, 'fields of a form are coerced')
  await uploadsGone(t, host)
})

t.test('an upload lives as long as its job', async (t) => {
  const host = await serve(t)
  const response = await fetch(`${host.url}/files/job`, {
    method: 'POST',
    headers: { 'content-type': 'image/png', prefer: 'respond-async' },
    body: 'hello'
  })
  t.equal(response.status, 202)
  const { jobId } = (await response.json()) as { jobId: string }
  const record = await until('end of the job', async () => {
    const { json } = await call(`${host.url}/jobs/${jobId}`, 'GET')
    return json[jobId].state === 'finish' ? json[jobId] : undefined
  })
  t.match(record, {
    status: 'succeeded',
    files: [{ bytes: 5, sha256: sha256(Buffer.from('hello')) }]
  })
  await uploadsGone(t, host)
})

t.test('nothing is left of an upload whose client goes away', async (t) => {
  const host = await serve(t)
  const { hostname, port } = new URL(host.url)
  const headers = { 'content-type': 'image/png', 'content-length': 1000 }
  const sent = request({ hostname, port, method: 'POST', path: '/files', headers })
  sent.on('error', () => {})
  sent.write('half')
  const run = join(host.home, 'data', 'run')
  const [name = ''] = await readdir(run)
  await until('the upload has begun', async () => {
    const found = await readdir(join(run, name, 'uploads')).catch(() => [])
    return found.length === 1 ? true : undefined
  })
  sent.destroy()
  await uploadsGone(t, host)
})

t.test('a JSON body over the limit', async (t) => {
  const { url } = await serve(t)
  const predict = (size: number) => {
    const body = `{"movie_id":"${'x'.repeat(size - 29)}","local":false}`
    return call(`${url}/predict`, 'POST', body)
  }
  t.equal((await predict(2048)).status, 200)
  for (const size of [2049, 1_000_000]) {
    const answer = await predict(size)
    t.equal(answer.status, 413, `${size} bytes`)
    t.equal(answer.headers.get('content-type'), 'application/json')
    t.match(answer.json, { code: 'HOST_BODY_TOO_LARGE', detail: /2048/, request_id: String })
  }
  t.equal((await predict(100)).status, 200, 'and the host goes on')
})

t.test('replies', async (t) => {
  const host = await serve(t)
  const send = rawClient(t, host.url)
  const get = (path: string) => send('GET', `/reply/${path}`)

  const status = await get('status')
  t.equal(status.status, 201)
  t.equal(status.text, '{"made":true}')
  t.equal(status.headers['content-type'], 'application/json')

  const type = await get('type')
  t.equal(type.status, 422)
  t.equal(type.text, '{"title":"odd"}')
  t.equal(type.headers['content-type'], 'application/problem+json')

  const bytes = await get('bytes')
  t.equal(bytes.status, 200)
  t.same([...bytes.bytes], [0, 1, 254, 255])
  t.equal(bytes.headers['content-type'], 'image/x-test')

  const file = await get('file')
  t.equal(file.status, 200)
  t.equal(file.text, 'a file of the job')
  t.equal(file.headers['content-type'], 'text/plain')

  const missing = await get('missing')
  t.equal(missing.status, 500)
  t.match(JSON.parse(missing.text), { detail: 'Internal Server Error' })

  const nowhere = await get('nowhere')
  t.equal(nowhere.status, 500, 'a file that is not there is an error, not a broken connection')
  t.match(JSON.parse(nowhere.text), { detail: 'Internal Server Error' })

  const run = join(host.home, 'data', 'run')
  const [name = ''] = await readdir(run)
  const left = async (): Promise<string[]> => {
    const found = await readdir(join(run, name, 'tmp'), { recursive: true, withFileTypes: true })
    return found.filter((entry) => entry.isFile()).map((entry) => entry.name)
  }
  await until('files of the runs are removed', async () =>
    (await left()).length === 0 ? true : undefined
  )
})

t.test('bytes as the answer of a job', async (t) => {
  const { url } = await serve(t)
  const sync = await rawClient(t, url)('POST', '/reply/job')
  t.same([...sync.bytes], [1, 2, 3])
  const { json } = await call(`${url}/reply/job`, 'POST', undefined, { prefer: 'respond-async' })
  const ended = await until('end of the job', async () => {
    const jobs = await call(`${url}/jobs`, 'GET')
    t.equal(jobs.status, 200, 'they do not harm /jobs')
    const job = jobs.json.jobs.find(({ jobId }: { jobId: string }) => jobId === json.jobId)
    return job?.state === 'finish' ? job : undefined
  })
  t.match(ended, { status: 'succeeded', result: null })
})

t.test('nothing of a form is cut without a word', async (t) => {
  const host = await serve(t, { NEBULA_MAX_UPLOAD_BYTES: '4000000' })
  const send = async (form: FormData) => {
    const response = await fetch(`${host.url}/files`, { method: 'POST', body: form })
    return { status: response.status, json: (await response.json()) as { detail: string } }
  }
  const long = new FormData()
  long.append('label', 'x'.repeat(1024 * 1024 + 1))
  t.match(await send(long), { status: 400, json: { detail: /field of more than 1048576 bytes/ } })
  const many = new FormData()
  for (let i = 0; i < 101; i++) many.append(`file${i}`, new Blob(['x']), `${i}.txt`)
  t.match(await send(many), { status: 400, json: { detail: /more than 100 files/ } })
  const fields = new FormData()
  for (let i = 0; i < 6; i++) fields.append(`label${i}`, 'x'.repeat(1_000_000))
  t.match(await send(fields), { status: 413, json: { code: 'HOST_BODY_TOO_LARGE' } })
  await uploadsGone(t, host)
})
