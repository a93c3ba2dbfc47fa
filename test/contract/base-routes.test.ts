import { join } from 'node:path'
import t from 'tap'
import { makeLatches } from '../support/latches.ts'
import { rawClient } from '../support/raw-request.ts'
import { call, plugin, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

t.test('a fresh expert', async (t) => {
  const { url } = await startHost(t, { plugins: ['my-expert'] })
  const send = rawClient(t, url)

  t.test('A01 GET / names the expert', async (t) => {
    const answer = await send('GET', '/')
    t.equal(answer.status, 200)
    t.equal(answer.text, '{"Expert":"MyExpert"}')
    t.equal(answer.headers['content-type'], 'application/json', 'without a charset')
  })

  t.test('A02 GET /status is ACTIVE when init has resolved', async (t) => {
    const answer = await send('GET', '/status')
    t.equal(answer.status, 200)
    t.equal(answer.text, '{"status":"ACTIVE"}')
  })

  t.test('A03 POST /set without a body, and with one that is no JSON', async (t) => {
    const headers = { 'content-type': 'application/json' }
    for (const options of [{}, { headers, body: '{bad' }]) {
      const answer = await send('POST', '/set', options)
      t.equal(answer.status, 200)
      t.equal(answer.text, '{"set":"not supported"}')
    }
  })

  t.test('A04 GET /cfg of an expert without configuration', async (t) => {
    t.equal((await send('GET', '/cfg')).text, '{"cfg":{}}')
  })

  t.test('A05 GET /tasks while nothing runs', async (t) => {
    t.equal((await send('GET', '/tasks')).text, '{"tasks":[]}')
  })

  t.test('A07 GET /jobs of a fresh host', async (t) => {
    t.equal((await send('GET', '/jobs')).text, '{"jobs":[]}')
    t.equal((await send('GET', '/experts/MyExpert/jobs')).text, '{"jobs":[]}')
  })

  t.test('A08 GET /jobs/{id} of an unknown job', async (t) => {
    const answer = await send('GET', '/jobs/nope')
    t.equal(answer.status, 200)
    t.equal(answer.text, '{}')
  })

  t.test('A09 an unknown path and a wrong method', async (t) => {
    const unknown = await send('GET', '/nope')
    t.equal(unknown.status, 404)
    t.match(JSON.parse(unknown.text), { detail: 'Not Found', code: 'HOST_NOT_FOUND' })
    const wrong = await send('GET', '/predict')
    t.equal(wrong.status, 405)
    t.equal(wrong.headers.allow, 'POST')
    t.match(JSON.parse(wrong.text), {
      detail: 'Method Not Allowed',
      code: 'HOST_METHOD_NOT_ALLOWED'
    })
  })

  t.test('A10 a slash at the end is a redirect that keeps method, base and query', async (t) => {
    for (const base of ['', '/experts/MyExpert', '/experts/myexpert']) {
      const jobs = await send('GET', `${base}/jobs/`)
      t.equal(jobs.status, 307)
      t.equal(jobs.headers.location, `${base}/jobs`)
    }
    const predict = await send('POST', '/predict/?a=1&b=?', { body: '{}' })
    t.equal(predict.status, 307)
    t.equal(predict.headers.location, '/predict?a=1&b=?')

    const followed = await fetch(`${url}/experts/MyExpert/predict/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"movie_id":"1","local":false}'
    })
    t.equal(followed.status, 200)
    t.match(await followed.json(), { result: { movie_id: '1' } })
  })

  t.test('A11 an escaped slash is no part of an id', async (t) => {
    for (const base of ['', '/experts/MyExpert']) {
      const answer = await send('GET', `${base}/jobs/a%2Fb`)
      t.equal(answer.status, 404)
      t.equal(JSON.parse(answer.text).detail, 'Not Found')
    }
    const query = await send('GET', '/my-expert?q=a%2Fb')
    t.equal(query.status, 200, 'in a query it is a slash')
  })

  t.test('A12 the documents', async (t) => {
    const document = await call(`${url}/openapi.json`, 'GET')
    t.equal(document.status, 200)
    const operations = Object.values<Record<string, { operationId: string }>>(document.json.paths)
      .flatMap((path) => Object.values(path))
      .map(({ operationId }) => operationId)
    for (const id of [
      'read_root__get',
      'get_status_status_get',
      'post_config_set_post',
      'get_config_cfg_get',
      'get_tasks_tasks_get',
      'get_tasks_jobs_get',
      'get_tasks_jobs__job_id__get',
      'predict_predict_post',
      'predict_predict_movie_post',
      'predict_image_predict_image_post',
      'predict_images_predict_images_post'
    ]) {
      t.ok(operations.includes(id), id)
    }
    t.hasProp(document.json.paths, '/my-expert')
    for (const path of ['/docs', '/redoc', '/experts/MyExpert/docs', '/experts/MyExpert/redoc']) {
      const page = await send('GET', path)
      t.equal(page.status, 200, path)
      t.match(page.headers['content-type'], /^text\/html/)
    }
  })

  t.test('every file that a documentation page asks for is there', async (t) => {
    for (const path of ['/docs', '/redoc', '/experts/MyExpert/docs', '/experts/MyExpert/redoc']) {
      const page = await send('GET', path)
      const linked = [...page.text.matchAll(/(?:src|href|spec-url|"url")(?:=|:)"([^"]+)"/g)]
      t.ok(linked.length >= 2, `${path} links ${linked.length}`)
      for (const [, link = ''] of linked) {
        const { pathname } = new URL(link, `${url}${path}`)
        t.equal((await send('GET', pathname)).status, 200, `${path} → ${pathname}`)
      }
    }
  })
})

t.test('A02 GET /status is STARTING until init has resolved', async (t) => {
  const latches = await makeLatches(t)
  const body = `
    static config = { type: 'object', properties: { LATCH: { type: 'string' } } }
    async init () {
      while (!existsSync(this.config.LATCH)) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    predict () { return 'predicted' }`
  const { url, host } = await startHost(t, {
    files: { slow: plugin('slow', body, "import { existsSync } from 'node:fs'") },
    env: { LATCH: join(latches.dir, 'init') },
    awaitStart: false
  })
  const first = await call(`${url}/status`, 'GET')
  t.equal(first.status, 200, 'even before the routes are known')
  t.equal(first.text, '{"status":"STARTING"}')
  t.equal((await call(`${url}/cfg`, 'GET')).status, 503)

  const predict = { movie_id: '1', local: false }
  const early = await call(`${url}/predict`, 'POST', predict)
  t.equal(early.status, 503)
  t.match(early.json, { code: 'HOST_EXPERT_NOT_READY', detail: /slow/ })
  t.match(early.headers.get('retry-after'), /^\d+$/)

  await latches.release('init')
  await host.started
  t.equal((await call(`${url}/status`, 'GET')).text, '{"status":"ACTIVE"}')
  t.equal((await call(`${url}/predict`, 'POST', predict)).text, '"predicted"')
})

t.test('A06 GET /tasks shows work under way, in the order it began', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    env: { LATCH_DIR: latches.dir, EXPERT_THREAD_POOL_SIZE: '2' }
  })
  const runs = ['Movies-1', 'Movies-2'].map(async (id) => {
    if (id === 'Movies-2') await latches.started('Movies-1')
    return call(`${url}/predict`, 'POST', { movie_id: id, local: false })
  })
  await latches.started('Movies-2')
  const tasks = () => call(`${url}/tasks`, 'GET')
  const both =
    '{"tasks":[{"id":"Movies-1","info":{"id":"Movies-1"}},{"id":"Movies-2","info":{"id":"Movies-2"}}]}'
  t.equal(
    await until('both tasks', async () => ((await tasks()).text === both ? both : undefined)),
    both
  )
  await latches.release('Movies-1')
  await runs[0]
  t.equal((await tasks()).text, '{"tasks":[{"id":"Movies-2","info":{"id":"Movies-2"}}]}')
  await latches.release('Movies-2')
  await runs[1]
  t.equal((await tasks()).text, '{"tasks":[]}')
})
