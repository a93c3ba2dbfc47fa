import t from 'tap'
import { call, plugin, startHost } from '../support/start-host.ts'

const body = { movie_id: 'Movies/1', local: false }

t.test('two experts', async (t) => {
  const { url } = await startHost(t, { plugins: ['my-expert', 'odd-answers'] })

  t.test('each is a whole service under its base', async (t) => {
    for (const name of ['MyExpert', 'odd-answers']) {
      const base = `${url}/experts/${name}`
      t.equal((await call(`${base}/`, 'GET')).text, JSON.stringify({ Expert: name }))
      t.equal((await call(base, 'GET')).text, JSON.stringify({ Expert: name }), 'with no slash')
      t.equal((await call(`${base}/status`, 'GET')).text, '{"status":"ACTIVE"}')
      for (const path of [
        '/cfg',
        '/tasks',
        '/jobs',
        '/log-level',
        '/docs',
        '/redoc',
        '/openapi.json'
      ]) {
        t.equal((await call(`${base}${path}`, 'GET')).status, 200, path)
      }
      t.equal((await call(`${base}/predict`, 'POST', body)).status, 200)
    }
    t.equal((await call(`${url}/experts/odd-answers/my-expert`, 'GET')).status, 404)
  })

  t.test('names are matched without case, and shown as written', async (t) => {
    for (const name of ['myexpert', 'MYEXPERT', 'MyExpert']) {
      const answer = await call(`${url}/experts/${name}/`, 'GET')
      t.equal(answer.text, '{"Expert":"MyExpert"}')
    }
  })

  t.test('an unknown expert', async (t) => {
    for (const path of ['/experts/nobody', '/experts/nobody/predict?a=1', '/experts/%3Cb%3E/']) {
      const answer = await call(`${url}${path}`, 'POST', body)
      t.equal(answer.status, 404, path)
      t.match(answer.json, { code: 'HOST_EXPERT_UNKNOWN', detail: /no expert named/ })
    }
  })

  t.test('what needs a base says so at the root, and which there are', async (t) => {
    for (const path of [
      '/predict',
      '/predict/image',
      '/predict/images',
      '/predict/movie',
      '/set'
    ]) {
      const answer = await call(`${url}${path}`, 'POST', body)
      t.equal(answer.status, 404, path)
      t.equal(answer.json.code, 'HOST_NO_DEFAULT_EXPERT')
      t.match(answer.json.detail, '/experts/MyExpert')
      t.match(answer.json.detail, '/experts/odd-answers')
    }
    t.equal((await call(`${url}/status`, 'GET')).status, 404)
  })

  t.test('GET /experts', async (t) => {
    const { status, json } = await call(`${url}/experts`, 'GET')
    t.equal(status, 200)
    t.equal(json.length, 2)
    for (const expert of json) {
      for (const key of [
        'name',
        'version',
        'status',
        'reason',
        'since',
        'required',
        'instances',
        'queue',
        'base'
      ]) {
        t.hasProp(expert, key)
      }
      t.match(expert, { status: 'ACTIVE', reason: null, required: false, version: '1.0.0' })
      t.equal(expert.base, `/experts/${expert.name}`)
      t.equal(expert.instances.length, 1)
      t.match(expert.instances[0], { pid: Number })
    }
    t.equal((await call(`${url}/experts/`, 'GET')).status, 307)
  })

  t.test('the root and its documents are of the host', async (t) => {
    const root = await call(`${url}/`, 'GET')
    t.match(root.json, {
      experts: [{ base: '/experts/MyExpert' }, { base: '/experts/odd-answers' }]
    })
    const docs = await call(`${url}/docs`, 'GET')
    for (const name of ['MyExpert', 'odd-answers']) {
      t.match(docs.text, `./experts/${name}/openapi.json`)
    }
  })
})

t.test('EXPERT_DEFAULT names the expert of the root', async (t) => {
  const { url } = await startHost(t, {
    plugins: ['my-expert', 'odd-answers'],
    env: { EXPERT_DEFAULT: 'myexpert' }
  })
  t.equal((await call(`${url}/`, 'GET')).text, '{"Expert":"MyExpert"}')
  const image = { image_id: '1', url: 'mode:list' }
  t.equal((await call(`${url}/predict`, 'POST', body)).json.result.movie_id, 'Movies/1')
  t.equal((await call(`${url}/my-expert`, 'GET')).status, 200)
  t.equal((await call(`${url}/experts/odd-answers/predict/image`, 'POST', image)).status, 200)

  t.test('where host and expert share a path, the host answers for all', async (t) => {
    const { jobs } = (await call(`${url}/jobs`, 'GET')).json
    t.match(jobs, [{ expert: 'odd-answers' }])
    t.equal(jobs.length, 1)
    t.match((await call(`${url}/docs`, 'GET')).text, './experts/odd-answers/openapi.json')
    t.equal((await call(`${url}/log-level`, 'POST', { level: 'warn' })).status, 200)
    const other = await call(`${url}/experts/odd-answers/log-level`, 'GET')
    t.equal(other.json.level, 'warn', 'the level of every expert')
    t.match((await call(`${url}/health/ready`, 'GET')).json, { ready: true })
  })
})

t.test('an expert cannot take a path of the host', async (t) => {
  const greedy = `
    addExpertApis (api) {
      api.get('/health/live', {}, () => 'mine')
      api.get('/experts', {}, () => 'mine')
      api.get('/experts/x', {}, () => 'mine')
      api.get('/docs2', {}, () => 'mine')
    }`
  const { url } = await startHost(t, { files: { greedy: plugin('greedy', greedy) } })
  t.equal((await call(`${url}/docs2`, 'GET')).json, 'mine')
  t.same((await call(`${url}/health/live`, 'GET')).json, { live: true })
  t.match((await call(`${url}/experts`, 'GET')).json, [{ name: 'greedy' }])
  t.equal((await call(`${url}/experts/x`, 'GET')).status, 404)
  t.equal(
    (await call(`${url}/experts/greedy/experts/x`, 'GET')).json,
    'mine',
    'under its base it has them'
  )
})

t.test('an expert that shadows an inherited path is refused with the reason', async (t) => {
  const files = {
    good: plugin('good', "predict () { return 'good' }"),
    bad: plugin('bad', "addExpertApis (api) { api.get('/jobs', {}, () => 1) }")
  }
  const { url } = await startHost(t, { files })
  const experts = (await call(`${url}/experts`, 'GET')).json
  const bad = experts.find(({ name }: { name: string }) => name === 'bad')
  t.match(bad, { status: 'FAILED', reason: /GET \/jobs/ })
  const answer = await call(`${url}/experts/bad/predict`, 'POST', body)
  t.equal(answer.status, 503)
  t.match(answer.json, { code: 'HOST_EXPERT_NOT_READY', detail: /GET \/jobs/ })
  t.equal((await call(`${url}/experts/good/predict`, 'POST', body)).json, 'good')
})

t.test('an expert that is not selected, or not there, is 404 with the reason', async (t) => {
  const { url } = await startHost(t, {
    plugins: ['my-expert', 'odd-answers'],
    config: { experts: { later: {} } },
    env: { EXPERT_PLUGINS: 'MyExpert' }
  })
  t.equal((await call(`${url}/`, 'GET')).text, '{"Expert":"MyExpert"}', 'the only one selected')
  const unselected = await call(`${url}/experts/odd-answers/status`, 'GET')
  t.equal(unselected.status, 404)
  t.match(unselected.json, { code: 'HOST_EXPERT_ABSENT', detail: /EXPERT_PLUGINS/ })
  const absent = await call(`${url}/experts/later/status`, 'GET')
  t.equal(absent.status, 404)
  t.equal(absent.json.code, 'HOST_EXPERT_ABSENT')
  const experts = (await call(`${url}/experts`, 'GET')).json
  const required = experts.filter((expert: { required: boolean }) => expert.required)
  t.match(required, [{ name: 'MyExpert' }])
  t.equal(required.length, 1)
})
