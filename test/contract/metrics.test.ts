import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import perfHooks from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { skipWithout } from '@nebula-experts/sdk/testing'
import t, { type Test } from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { expertOf } from '../support/experts.ts'
import { type Exposition, readExposition, scrape } from '../support/exposition.ts'
import { accept, becomes, ended } from '../support/jobs.ts'
import { makeLatches } from '../support/latches.ts'
import { notedRuns } from '../support/noted-runs.js'
import { versioned, writeFiles } from '../support/packages.ts'
import { endOf, movieIds, runPipeline, startItems } from '../support/pipelines.ts'
import { call, type HostOptions, plugin, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'
import { startReceiver } from '../support/webhook-receiver.js'

const DOCS = fileURLToPath(new URL('../../docs/metrics.md', import.meta.url))

/** What is shown once all of these have their value: what is counted when an answer has left comes a moment after it. */
async function shows(
  url: string,
  wanted: Array<[name: string, labels: Record<string, string>, value: number | undefined]>
): Promise<Exposition> {
  let seen = ''
  return until(
    'the wanted metrics',
    async () => {
      const shown = await scrape(url)
      const found = wanted.map(([name, labels]) => shown.value(name, labels))
      seen = JSON.stringify(found)
      return wanted.every(([, , value], at) => found[at] === value) ? shown : undefined
    },
    10_000
  ).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(wanted)} but ${seen}`)
  })
}

const serves = (url: string, name: string) =>
  until(`${name} serves`, async () => {
    const { status, instances } = await expertOf(url, name)
    return status === 'ACTIVE' && instances.length > 0 ? true : undefined
  })

/** A version that is put in place by the watch: a reload beside that would wait until what is held has ended. */
const servesVersion = (url: string, version: string) =>
  until(`version ${version}`, async () => {
    const { json } = await call(`${url}/experts`, 'GET')
    return json.some((one: { version: string }) => one.version === version) || undefined
  })

async function startNoted(t: Test, options: HostOptions = {}, settings: object = {}) {
  const latches = await makeLatches(t)
  const { config = {}, files = {}, ...others } = options
  const noted = { env: { LATCH_DIR: latches.dir }, ...settings }
  const host = await startHost(t, {
    ...others,
    files: { noted: notedRuns('noted'), ...files },
    config: { ...config, experts: { noted, ...(config.experts as object) } }
  })
  const predict = (id: string, how?: string, more: object = {}) =>
    call(`${host.url}/experts/noted/predict/image`, 'POST', {
      ...{ image_id: id, url: how ?? '-' },
      ...more
    })
  return { ...host, latches, base: `${host.url}/experts/noted`, predict }
}

t.test('calls are counted by how they end, and requests by their route', async (t) => {
  const files = {
    failing: plugin(
      'failing',
      `predict () { throw new Error('out of luck') }
       addExpertApis (api) {
         api.get('/names/:name', {}, ({ params }) => params.name)
       }`
    )
  }
  const { url, base, latches, predict } = await startNoted(t, { files }, { max_queue_size: 0 })
  for (const id of ['1', '2', '3']) t.equal((await predict(id)).status, 200)
  const held = predict('held', 'hold 1')
  await latches.started('held')
  await shows(url, [
    ['nebula_calls_running', { expert: 'noted' }, 1],
    ['nebula_calls_waiting', { expert: 'noted' }, 0],
    // The held one, and the scrape.
    ['nebula_http_requests_in_progress', {}, 2]
  ])
  t.equal((await predict('too-many')).status, 503)
  await latches.release('held')
  t.equal((await held).status, 200)
  t.equal((await predict('killer', 'kill 9')).status, 502)
  await serves(url, 'noted')
  t.equal((await predict('4')).status, 200)
  t.equal((await predict('late', 'hold 1', { timeout_ms: 50 })).status, 504)
  const canceled = await accept(base, 'canceled', { url: 'hold 1' })
  await latches.started('canceled')
  t.equal((await call(`${url}/jobs/${canceled}/cancel`, 'POST')).status, 200)
  for (const name of ['a', 'b%20c']) await call(`${url}/experts/failing/names/${name}`, 'GET')
  const movie = { movie_id: 'm', local: false }
  t.equal((await call(`${url}/experts/failing/predict`, 'POST', movie)).status, 500)
  t.equal((await call(`${url}/experts/failing/predict`, 'POST', {})).status, 422)
  for (const path of ['/no/such/1', '/no/such/2', '/experts/nobody/predict']) {
    t.equal((await call(`${url}${path}`, 'GET')).status, 404)
  }

  const noted = { expert: 'noted' }
  const image = { expert: 'noted', route: '/predict/image', method: 'POST' }
  const shown = await shows(url, [
    ['nebula_calls_total', { ...noted, outcome: 'succeeded' }, 5],
    ['nebula_calls_total', { ...noted, outcome: 'failed' }, 0],
    ['nebula_calls_total', { ...noted, outcome: 'rejected' }, 1],
    ['nebula_calls_total', { ...noted, outcome: 'lost' }, 1],
    ['nebula_calls_total', { ...noted, outcome: 'timed_out' }, 1],
    ['nebula_calls_total', { ...noted, outcome: 'canceled' }, 1],
    ['nebula_calls_total', { ...noted, outcome: 'drained' }, 0],
    // All that had begun.
    ['nebula_call_duration_seconds_count', noted, 8],
    ['nebula_call_wait_seconds_count', noted, 8],
    ['nebula_calls_running', noted, 0],
    ['nebula_calls_total', { expert: 'failing', outcome: 'failed' }, 1],
    ['nebula_calls_total', { expert: 'failing', outcome: 'succeeded' }, 2],
    ['nebula_http_requests_total', { ...image, status: '2xx' }, 6],
    ['nebula_http_requests_total', { ...image, status: '5xx' }, 3],
    ['nebula_http_request_duration_seconds_count', image, 9],
    ['nebula_http_requests_total', { expert: 'failing', route: '/names/:name' }, 2],
    ['nebula_http_requests_total', { expert: 'failing', route: '/predict', status: '4xx' }, 1],
    ['nebula_http_requests_total', { expert: '', route: '/jobs/:job_id/cancel', status: '2xx' }, 1],
    ['nebula_http_requests_total', { route: 'none', method: 'GET', status: '4xx' }, 3]
  ])
  const long = shown.value('nebula_call_duration_seconds_sum', noted) as number
  t.ok(long > 0.05 && long < 60, `${long} s, not milliseconds`)
  t.ok((shown.value('nebula_expert_restarts_total', noted) as number) >= 1)
  t.equal(shown.value('nebula_expert_processes', noted), 1)
  t.equal(shown.value('nebula_expert_slots', noted), 1)
  t.equal(shown.value('nebula_calls_waiting_limit', noted), 0)
  t.equal(shown.value('nebula_expert_state', { ...noted, state: 'ACTIVE' }), 1)
  const states = shown.families.get('nebula_expert_state')?.samples ?? []
  t.equal(
    states.reduce((sum, { value }) => sum + value, 0),
    2,
    'each is in one state'
  )
  t.equal(shown.value('nebula_expert_info', { ...noted, version: '1.0.0' }), 1)
  const routes = shown.having({}).flatMap(({ labels }) => labels.route ?? [])
  t.strictSame(
    routes.filter((route) => /such|nobody|%|\/names\/[^:]/.test(route)),
    [],
    'no path that was asked for is a label'
  )
  const text = (await call(`${url}/metrics`, 'GET')).text
  t.notOk(text.includes(canceled), 'nor is a job')
})

t.test('processes: memory, and CPU time that does not fall with a process', async (t) => {
  const files = {
    busy: plugin(
      'busy',
      `predict ({ id }) {
         if (id === 'die') process.exit(1)
         for (let i = 0; process.cpuUsage().user < 1.5e6; ) for (i = 0; i < 1e7; i++);
         return { result: 'spent', error: null }
       }`
    )
  }
  const { url } = await startHost(t, { files })
  const predict = (id: string) => call(`${url}/predict`, 'POST', { movie_id: id, local: false })
  const busy = { expert: 'busy' }
  t.equal((await predict('spend')).status, 200)
  const first = await scrape(url)
  const memory = first.value('nebula_expert_resident_memory_bytes', busy)
  if (process.platform !== 'linux') {
    t.equal(memory, undefined)
    return
  }
  t.ok(memory !== undefined && memory > 10e6 && memory < 1e9, `${memory} bytes`)
  const spent = first.value('nebula_expert_cpu_seconds_total', busy) as number
  t.ok(spent >= 1.4 && spent < 20, `${spent} s`)
  t.equal((await predict('die')).status, 502)
  const between = (await scrape(url)).value('nebula_expert_cpu_seconds_total', busy) as number
  t.ok(between >= spent, `${between} s without a process`)
  await serves(url, 'busy')
  const after = (await scrape(url)).value('nebula_expert_cpu_seconds_total', busy) as number
  t.ok(after > spent, `${after} s with the new process, ${spent} s before`)
})

t.test('a version that drains is counted until its processes have ended', async (t) => {
  const latches = await makeLatches(t)
  const version = (number: string) =>
    versioned(
      'heavy',
      number,
      `async predict ({ id }, { signal }) {
         if (id !== 'held') return '${number}'
         this.weight = Buffer.alloc(200e6, 1)
         this.#note('start')
         await this.#until('spend')
         const from = process.cpuUsage()
         for (let i = 0; process.cpuUsage(from).user < 7e5; ) for (i = 0; i < 1e7; i++);
         this.#note('end')
         await this.#until('held')
         return '${number}'
       }
       #note (event) {
         const { LATCH_DIR } = this.config
         appendFileSync(LATCH_DIR + '/events.ndjson', JSON.stringify({ event, id: 'held' }) + '\\n')
       }
       async #until (name) {
         while (!existsSync(this.config.LATCH_DIR + '/' + name)) await pause(5)
       }
       static config = { type: 'object', properties: { LATCH_DIR: { type: 'string' } } }`,
      `import { appendFileSync, existsSync } from 'node:fs'
       import { setTimeout as pause } from 'node:timers/promises'`
    )
  const { url, home } = await startHost(t, {
    files: { heavy: version('1.0.0') },
    config: { experts: { heavy: { concurrency: 2 } } },
    env: { LATCH_DIR: latches.dir }
  })
  const predict = (id: string) => call(`${url}/predict`, 'POST', { movie_id: id, local: false })
  const heavy = { expert: 'heavy' }
  const memory = 'nebula_expert_resident_memory_bytes'
  const cpu = 'nebula_expert_cpu_seconds_total'
  const held = predict('held')
  await latches.started('held')
  await writeFiles(join(home, 'plugins/heavy'), version('2.0.0'))
  await servesVersion(url, '2.0.0')
  t.equal((await predict('other')).json, '2.0.0', 'the new version serves')

  const before = await shows(url, [
    ['nebula_calls_running', heavy, 1],
    ['nebula_expert_processes', heavy, 1]
  ])
  await latches.release('spend')
  await until('the end of its work', async () => (await latches.events())[1])
  const after = await scrape(url)
  if (process.platform === 'linux') {
    for (const shown of [before, after]) t.ok((shown.value(memory, heavy) as number) > 200e6)
    const spent = (after.value(cpu, heavy) as number) - (before.value(cpu, heavy) as number)
    t.ok(spent > 0.6, `${spent} s of the version that drains`)
  }
  const unloaded = call(`${url}/manage/experts/heavy/unload`, 'POST')
  await shows(url, [
    ['nebula_expert_state', { ...heavy, state: 'DRAINING' }, 1],
    // The version that served is gone.
    ['nebula_expert_slots', heavy, 1],
    ['nebula_calls_running', heavy, 1]
  ])
  await latches.release('held')
  t.match(await held, { status: 200, json: '1.0.0' })
  t.equal((await unloaded).status, 200)
  t.strictSame((await scrape(url)).having(heavy), [], 'it is stopped when all of it has ended')
})

t.test('calls that were sent ahead to a version that drains still wait', async (t) => {
  const { url, latches, predict } = await startNoted(t)
  const noted = { expert: 'noted' }
  // Runs so short that calls are sent ahead of their turn.
  for (let i = 0; i < 50; i++) t.equal((await predict(`short-${i}`)).status, 200)
  const held = predict('held', 'hold 1')
  await latches.started('held')
  const others = Array.from({ length: 10 }, (_, i) => predict(`other-${i}`))
  await shows(url, [['nebula_calls_waiting', noted, 10]])
  t.equal((await call(`${url}/manage/experts/noted/reload`, 'POST')).status, 200)
  const shown = await scrape(url)
  const parts = [
    shown.value('nebula_calls_running', noted),
    shown.value('nebula_calls_waiting', noted),
    shown.value('nebula_calls_total', { ...noted, outcome: 'succeeded' })
  ] as [number, number, number]
  const [running, waiting, ended] = parts
  t.equal(running + waiting + ended, 61, `${parts} run, wait, have ended`)
  await latches.release('held')
  for (const { status } of await Promise.all([held, ...others])) t.equal(status, 200)
})

t.test('accepted jobs are counted from the line to their end', async (t) => {
  const { url, base, latches } = await startNoted(t)
  const noted = { expert: 'noted' }
  const held = await accept(base, 'held', { url: 'hold 1' })
  await latches.started('held')
  const waiting = await Promise.all(['a', 'b'].map((id) => accept(base, id)))
  const dropped = await accept(base, 'dropped')
  await shows(url, [
    ['nebula_jobs_accepted_total', noted, 4],
    ['nebula_jobs_running', noted, 1],
    ['nebula_jobs_waiting', noted, 3]
  ])
  t.equal((await call(`${url}/jobs/${dropped}/cancel`, 'POST')).status, 200)
  await latches.release('held')
  for (const id of [held, ...waiting]) t.match(await ended(url, id), { status: 'succeeded' })
  const lost = await accept(base, 'lost', { url: 'exit 1' })
  t.match(await ended(url, lost), { status: 'succeeded', attempts: 2 })
  const killer = await accept(base, 'killer', { url: 'exit 9', attempts: 1 })
  t.match(await ended(url, killer), { status: 'failed' })
  const shown = await shows(url, [
    ['nebula_jobs_accepted_total', noted, 6],
    ['nebula_jobs_ended_total', { ...noted, status: 'succeeded' }, 4],
    ['nebula_jobs_ended_total', { ...noted, status: 'failed' }, 1],
    ['nebula_jobs_ended_total', { ...noted, status: 'canceled' }, 1],
    ['nebula_job_runs_lost_total', noted, 2],
    ['nebula_job_duration_seconds_count', noted, 6],
    ['nebula_jobs_running', noted, 0],
    ['nebula_jobs_waiting', noted, 0],
    ['nebula_calls_total', { ...noted, outcome: 'lost' }, 2]
  ])
  // The lost one waited half a second for its second run.
  t.ok((shown.value('nebula_job_duration_seconds_sum', noted) as number) > 0.5)
})

t.test('what a new version takes no more is rejected, wherever it waited', async (t) => {
  const { url, home, latches, base, predict } = await startNoted(t)
  const noted = { expert: 'noted' }
  const held = predict('held', 'hold 1')
  await latches.started('held')
  // Some are taken out of the line ahead of their turn, the others when the new version serves.
  const ids = Array.from({ length: 40 }, (_, i) => `job-${i}`)
  const jobs = await Promise.all(ids.map((id) => accept(base, id)))
  const call409 = predict('call')
  await shows(url, [
    ['nebula_calls_running', noted, 1],
    ['nebula_http_requests_in_progress', {}, 3]
  ])
  const strict = versioned(
    'noted',
    '2.0.0',
    `static params = { type: 'object', required: ['size'], properties: { size: { type: 'integer' } } }
     predictImage () { return 1 }`
  )
  await writeFiles(join(home, 'plugins/noted'), strict)
  await servesVersion(url, '2.0.0')
  t.match(await call409, { status: 409, json: { code: 'HOST_EXPERT_CHANGED' } })
  for (const id of jobs) t.match(await ended(url, id), { status: 'failed', error: /size/ })
  await latches.release('held')
  t.equal((await held).status, 200)
  await shows(url, [
    ['nebula_calls_total', { ...noted, outcome: 'rejected' }, 41],
    ['nebula_calls_total', { ...noted, outcome: 'failed' }, 0],
    ['nebula_calls_total', { ...noted, outcome: 'succeeded' }, 1]
  ])
})

t.test('webhooks: tries, what waits, and what was given up', async (t) => {
  let answers = 503
  const told = await startReceiver({
    answer: (_got, response) => response.writeHead(answers).end()
  })
  t.teardown(() => told.close())
  const env = { EXPERT_ALLOW_HOSTS: '127.0.0.1', NEBULA_WEBHOOK_RETRIES: '0.02,0.02' }
  const { url, base } = await startNoted(t, { env })
  const webhook = { webhook: told.url, webhook_events_filter: ['completed'] }
  await ended(url, await accept(base, 'a', webhook))
  await shows(url, [
    ['nebula_webhooks_given_up_total', {}, 1],
    ['nebula_webhook_tries_total', { outcome: 'failed' }, 3],
    ['nebula_webhook_tries_total', { outcome: 'delivered' }, 0],
    ['nebula_webhooks_waiting', {}, 0]
  ])
  answers = 204
  await ended(url, await accept(base, 'b', webhook))
  await shows(url, [
    ['nebula_webhook_tries_total', { outcome: 'delivered' }, 1],
    ['nebula_webhook_tries_total', { outcome: 'failed' }, 3],
    ['nebula_webhooks_waiting', {}, 0],
    ['nebula_webhooks_waiting_bytes', {}, 0]
  ])
})

t.test('webhooks that wait are shown with their bytes', async (t) => {
  const told = await startReceiver({ answer: (_got, response) => response.writeHead(503).end() })
  t.teardown(() => told.close())
  const env = { EXPERT_ALLOW_HOSTS: '127.0.0.1', NEBULA_WEBHOOK_RETRIES: '3600' }
  const { url, base } = await startNoted(t, { env })
  await ended(
    url,
    await accept(base, 'a', { webhook: told.url, webhook_events_filter: ['completed'] })
  )
  const shown = await shows(url, [
    ['nebula_webhook_tries_total', { outcome: 'failed' }, 1],
    ['nebula_webhooks_waiting', {}, 1]
  ])
  t.ok((shown.value('nebula_webhooks_waiting_bytes') as number) > 0)
})

t.test('items of pipelines: waiting, running, ended', async (t) => {
  const { url, latches } = await startItems(t, { experts: ['held', 'never'] })
  const movies = movieIds(3)
  const plan = [{ expert: 'held', extra_params: { how: 'hold gate' } }]
  const key = await runPipeline(url, { movies, plan })
  await shows(url, [
    ['nebula_pipelines_running', {}, 1],
    ['nebula_pipeline_items_running', { expert: 'held' }, 1],
    ['nebula_pipeline_items_waiting', { expert: 'held' }, 2],
    ['nebula_pipeline_items_waiting', { expert: 'never' }, 0]
  ])
  await latches.release('gate')
  t.match(await endOf(url, key), { status: 'succeeded' })
  await shows(url, [
    ['nebula_pipelines_running', {}, 0],
    ['nebula_pipeline_items_ended_total', { expert: 'held', state: 'success' }, 3],
    ['nebula_pipeline_items_ended_total', { expert: 'held', state: 'fail' }, 0],
    ['nebula_calls_total', { expert: 'held', outcome: 'succeeded' }, 3]
  ])
})

const routed = (path: string, version: string) => {
  const files = plugin(
    'routed',
    `predict () { return { result: 1 } }
     addExpertApis (api) { api.get('${path}', {}, () => 'there') }`
  )
  return { ...files, 'package.json': (files['package.json'] as string).replace('1.0.0', version) }
}

t.test(
  'a new version goes on counting and leaves no labels behind; unloading takes all away',
  async (t) => {
    const { url, home } = await startHost(t, { files: { routed: routed('/old', '1.0.0') } })
    const base = `${url}/experts/routed`
    const manage = (action: string) => call(`${url}/manage/experts/routed/${action}`, 'POST')
    const predict = () => call(`${base}/predict`, 'POST', { movie_id: 'm', local: false })
    const routed1 = { expert: 'routed' }
    t.equal((await predict()).status, 200)
    t.equal((await call(`${base}/old`, 'GET')).status, 200)
    await shows(url, [
      ['nebula_http_requests_total', { route: '/old' }, 1],
      ['nebula_expert_info', { ...routed1, version: '1.0.0' }, 1]
    ])
    const series = (shown: Exposition) =>
      shown.having(routed1).map(({ name, labels }) => JSON.stringify([name, labels]))

    await writeFiles(join(home, 'plugins/routed'), routed('/new', '2.0.0'))
    t.match(await manage('reload'), { status: 200, json: { version: '2.0.0' } })
    t.equal((await predict()).status, 200)
    t.equal((await call(`${base}/new`, 'GET')).status, 200)
    const shown = await shows(url, [
      ['nebula_http_requests_total', { route: '/old' }, undefined],
      ['nebula_http_requests_total', { route: '/new' }, 1],
      ['nebula_http_requests_total', { ...routed1, route: '/predict' }, 2],
      ['nebula_expert_info', { ...routed1, version: '1.0.0' }, undefined],
      ['nebula_expert_info', { ...routed1, version: '2.0.0' }, 1],
      ['nebula_calls_total', { ...routed1, outcome: 'succeeded' }, 4]
    ])
    const seriesBefore = series(shown)
    for (let version = 3; version < 6; version++) {
      await writeFiles(join(home, 'plugins/routed'), routed('/new', `${version}.0.0`))
      t.equal((await manage('reload')).status, 200)
    }
    t.equal(series(await scrape(url)).length, seriesBefore.length, 'as many series as before')

    t.equal((await manage('unload')).status, 200)
    t.strictSame(series(await scrape(url)), [], 'an unloaded expert has none')
    t.equal((await predict()).status, 404)
    t.strictSame(series(await scrape(url)), [], 'also when it is asked for')
    t.equal((await manage('load')).status, 200)
    t.equal((await predict()).status, 200)
    await shows(url, [
      ['nebula_calls_total', { ...routed1, outcome: 'succeeded' }, 1],
      ['nebula_http_requests_total', { ...routed1, route: '/predict' }, 1]
    ])
  }
)

t.test('an expert that is loaded again counts from nothing, its restarts too', async (t) => {
  const { url, predict } = await startNoted(t)
  const noted = { expert: 'noted' }
  t.equal((await predict('killer', 'kill 1')).status, 502)
  await serves(url, 'noted')
  const lost = { ...noted, outcome: 'lost' }
  await shows(url, [
    ['nebula_calls_total', lost, 1],
    ['nebula_expert_restarts_total', noted, 1]
  ])
  for (const action of ['unload', 'load']) {
    t.equal((await call(`${url}/manage/experts/noted/${action}`, 'POST')).status, 200)
  }
  await shows(url, [
    ['nebula_calls_total', lost, 0],
    ['nebula_expert_restarts_total', noted, 0]
  ])
  t.equal((await expertOf(url, 'noted')).restarts, 1, 'what /experts shows goes on')
})

t.test('jobs of an unloaded expert are still seen to wait', async (t) => {
  const { url, base, latches } = await startNoted(t, {}, { drain_timeout_ms: 50 })
  const held = await accept(base, 'held', { url: 'hold 1' })
  await latches.started('held')
  t.equal((await call(`${url}/manage/experts/noted/unload`, 'POST')).status, 200)
  await becomes(url, held, 'queued')
  const shown = await shows(url, [['nebula_jobs_waiting', { expert: 'noted' }, 1]])
  t.equal(shown.value('nebula_calls_total', { expert: 'noted', outcome: 'drained' }), undefined)
})

t.test('two hosts in one process count for themselves, and watch it once', async (t) => {
  const monitors = t.capture(perfHooks, 'monitorEventLoopDelay', perfHooks.monitorEventLoopDelay)
  const files = { one: plugin('one', 'predict () { return 1 }') }
  const [a, b] = await Promise.all([startHost(t, { files }), startHost(t, { files })])
  t.ok(monitors().length <= 1, 'whoever comes first watches the process for all')
  const body = { movie_id: 'm', local: false }
  t.equal((await call(`${a.url}/predict`, 'POST', body)).status, 200)
  const succeeded = { expert: 'one', outcome: 'succeeded' }
  await shows(a.url, [['nebula_calls_total', succeeded, 1]])
  const other = await shows(b.url, [['nebula_calls_total', succeeded, 0]])
  const bytes = 'nodejs_heap_size_used_bytes'
  t.ok((other.value(bytes) as number) > 1e6, 'each shows the process')
  await a.host.stop()
  t.ok(((await scrape(b.url)).value(bytes) as number) > 1e6, 'also when the other is gone')
})

t.test('whoever reaches the host may scrape it, also by HEAD; it is documented', async (t) => {
  const env = { NEBULA_ADMIN_KEY: 'secret' }
  const { url } = await startHost(t, { plugins: ['my-expert'], env })
  const { status, headers, text } = await call(`${url}/metrics`, 'GET')
  t.equal(status, 200)
  t.equal(headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  const version = JSON.parse(
    await readFile(new URL('../../host/package.json', import.meta.url), 'utf8')
  ).version
  const shown = readExposition(text)
  t.equal(shown.value('nebula_build_info', { version, node: process.version }), 1)
  t.equal(shown.value('nebula_host_ready'), 1)
  const head = await call(`${url}/metrics`, 'HEAD')
  t.match(head, { status: 200, text: '' })
  t.equal(head.headers.get('content-type'), headers.get('content-type'))
  t.equal((await call(`${url}/metrics`, 'POST')).status, 405)
  const { paths } = (await call(`${url}/docs/host.json`, 'GET')).json
  t.ok(paths['/metrics'].get.responses['200'].content['text/plain'])
})

t.test('it answers while the host stops, whatever the scraper adds to its path', async (t) => {
  const { url, host, latches, predict } = await startNoted(t)
  const held = predict('held', 'hold 1')
  await latches.started('held')
  const stopped = host.stop()
  await until('the host stops', async () =>
    (await call(`${url}/experts`, 'GET')).json.code === 'HOST_STOPPING' ? true : undefined
  )
  const paths = ['/metrics', '/metrics?collect=all', '/metricsx']
  const [plain, asked, other] = await Promise.all(paths.map((path) => call(url + path, 'GET')))
  await latches.release('held')
  t.equal((await held).status, 200)
  await stopped
  t.match([plain, asked, other], [{ status: 200 }, { status: 200 }, { status: 503 }])
  for (const { text } of [plain, asked] as Array<{ text: string }>) {
    t.equal(readExposition(text).value('nebula_calls_running', { expert: 'noted' }), 1)
  }
})

t.test('a host that is not ready says so, and its experts say why', async (t) => {
  const files = { broken: { ...plugin('broken', ''), 'index.js': 'throw new Error("no")' } }
  const config = { experts: { broken: { required: true } } }
  const { url } = await startHost(t, { files, config })
  const shown = await scrape(url)
  t.equal(shown.value('nebula_host_ready'), 0)
  t.equal(shown.value('nebula_expert_state', { expert: 'broken', state: 'FAILED' }), 1)
})

t.test(
  'a scrape does without a store that is away',
  { skip: skipWithout('redis-server') },
  async (t) => {
    const redis = await startRedis(t)
    const { url } = await startNoted(t, { env: { REDIS_URL: redis.url } })
    const jobs = { store: 'jobs' }
    await shows(url, [
      ['nebula_store_up', jobs, 1],
      ['nebula_jobs_waiting', { expert: 'noted' }, 0]
    ])
    await redis.kill()
    const shown = await shows(url, [
      ['nebula_store_up', jobs, 0],
      ['nebula_store_up', { store: 'documents' }, 1],
      ['nebula_host_ready', {}, 0],
      ['nebula_jobs_waiting', { expert: 'noted' }, undefined]
    ])
    t.ok(shown.families.has('nebula_jobs_waiting'))
    t.equal(shown.value('nebula_jobs_running', { expert: 'noted' }), 0)
  }
)

t.test(
  'a store that keeps its connections and tells nothing is not up',
  { skip: skipWithout('redis-server') },
  async (t) => {
    const redis = await startRedis(t)
    const { url } = await startNoted(t, { env: { REDIS_URL: redis.url } })
    const jobs = { store: 'jobs' }
    await shows(url, [['nebula_store_up', jobs, 1]])
    redis.freeze()
    const frozen = await scrape(url)
    t.equal(frozen.value('nebula_jobs_waiting', { expert: 'noted' }), undefined)
    t.equal(frozen.value('nebula_webhooks_waiting'), undefined)
    t.equal(frozen.value('nebula_store_up', jobs), 0)
    t.equal(frozen.value('nebula_store_up', { store: 'documents' }), 1)
    redis.resume()
    await shows(url, [
      ['nebula_store_up', jobs, 1],
      ['nebula_jobs_waiting', { expert: 'noted' }, 0]
    ])
  }
)

t.test(
  'docs/metrics.md explains every metric with its type and labels, and no other',
  async (t) => {
    const told = await startReceiver()
    t.teardown(() => told.close())
    const { url, base, predict } = await startNoted(t, { env: { EXPERT_ALLOW_HOSTS: '127.0.0.1' } })
    await predict('1')
    await ended(url, await accept(base, '2', { webhook: told.url }))
    const shown = await shows(url, [['nebula_webhook_tries_total', { outcome: 'delivered' }, 2]])
    const rows = new Map<string, string[]>()
    for (const line of (await readFile(DOCS, 'utf8')).split('\n')) {
      const cells = line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim())
      const name = /^`([a-z0-9_]+)`$/.exec(cells[0] ?? '')?.[1]
      if (name === undefined) continue
      t.notOk(rows.has(name), `${name} has one row`)
      t.equal(cells.length, 6, `${name}: metric, type, labels, unit, meaning, what to do`)
      t.ok(
        cells.every((cell) => cell.length > 0),
        `${name}: no cell is empty`
      )
      rows.set(name, cells)
    }
    t.ok(rows.size > 30)
    // Of the process itself some are known on Linux alone.
    const isHere = (name: string) => process.platform === 'linux' || name.startsWith('nebula_')
    t.strictSame(
      [...shown.families.keys()].filter(isHere).sort(),
      [...rows.keys()].filter(isHere).sort()
    )
    for (const { name, type, samples } of shown.families.values()) {
      const [, documented, labels = ''] = rows.get(name) ?? []
      t.equal(documented, type, `type of ${name}`)
      const known = [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label)
      const used = new Set(samples.flatMap((sample) => Object.keys(sample.labels)))
      used.delete('le')
      if (used.size > 0) t.strictSame(known.sort(), [...used].sort(), `labels of ${name}`)
      if (samples.length > 0) t.equal(known.length, used.size, `labels of ${name}`)
      const unit = /_(seconds|bytes)(_total)?$/.exec(name)?.[1]
      if (unit !== undefined) t.equal(rows.get(name)?.[3], unit, `unit of ${name}`)
    }
  }
)
