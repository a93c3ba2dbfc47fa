import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { expertOf, predict, untilTrue } from '../support/experts.ts'
import { makeLatches } from '../support/latches.ts'
import { versioned, writeFiles } from '../support/packages.ts'
import { call, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const heldRuns = fileURLToPath(new URL('../fixtures/plugins/held-runs/index.js', import.meta.url))

const movie = (id: string, extra: object) => ({ movie_id: id, local: false, extra_params: extra })

/** Sends an asynchronous job. @returns its id */
async function submitJob(base: string, id: string, extra: object): Promise<string> {
  const body = { image_id: id, url: 'u', extra_params: extra, is_async: true }
  return (await call(`${base}/predict/image`, 'POST', body)).json.jobId
}

/** The record of a job once it has ended. */
function ended(url: string, jobId: string) {
  return until(`the end of job ${jobId}`, async () => {
    const record = (await call(`${url}/jobs/${jobId}`, 'GET')).json[jobId]
    return record.state === 'finish' ? record : undefined
  })
}

t.test('calls that wait meet the version that takes over', async (t) => {
  const latches = await makeLatches(t)
  const { url, home } = await startHost(t, {
    plugins: ['held-runs'],
    config: { experts: { 'held-runs': { concurrency: 1 } } },
    env: { LATCH_DIR: latches.dir }
  })
  const base = `${url}/experts/held-runs`
  const running = predict(url, 'held-runs', 'running')
  await latches.started('running')
  // The first of them is claimed and waits like a call; the others wait in their line.
  const jobs = {
    claimed: await submitJob(base, 'job-0', { size: 'large' }),
    misfit: await submitJob(base, 'job-1', { size: 'large' }),
    fits: await submitJob(base, 'job-2', { size: 7 })
  }
  const fits = call(`${base}/predict`, 'POST', movie('fits', { size: 3 }))
  const misfit = call(`${base}/predict`, 'POST', movie('misfit', { size: 'large' }))
  const gone = call(`${base}/hold`, 'POST', { id: 'gone' })
  const kept = call(`${base}/hold-job`, 'POST', { id: 'kept' })
  await untilTrue('all to wait', async () => {
    const { queue, instances } = await expertOf(url, 'held-runs')
    return queue.waiting === 5 && instances[0]?.in_flight === 1
  })

  const next = versioned(
    'held-runs',
    '2.0.0',
    `static params = { type: 'object', required: ['size'], properties: { size: { type: 'integer' } } }
    addExpertApis(api) {
      const body = { type: 'object', required: ['id'], properties: { id: { type: 'string' } } }
      api.post('/hold-job', { body, job: true }, ({ body }) => 'new ' + body.id)
    }
    async predict(params) { return 'new ' + params.id }
    async predictImage(params) { return { result: 'new ' + params.id, error: null } }`
  )
  await writeFiles(join(home, 'plugins', 'held-runs'), next)
  t.match(await fits, { status: 200, json: 'new fits' }, 'the new version answers what fits')
  t.match(await kept, { status: 200, json: 'new kept' })
  t.match(await misfit, {
    status: 409,
    json: { code: 'HOST_EXPERT_CHANGED', detail: /extra_params\.size/ }
  })
  t.match(await gone, {
    status: 409,
    json: { code: 'HOST_EXPERT_CHANGED', detail: /no route POST \/hold$/ }
  })
  for (const id of [jobs.claimed, jobs.misfit]) {
    t.match(await ended(url, id), { status: 'failed', error: /extra_params\.size/ })
  }
  t.match(await ended(url, jobs.fits), { status: 'succeeded', result: 'new job-2' })
  await latches.release('running')
  t.match(await running, { status: 200, json: { result: 'released running' } }, 'the old one ends')
  const begun = (await latches.events()).filter(({ event }) => event === 'start')
  t.strictSame(
    begun.map(({ id }) => id),
    ['running'],
    'the old one began nothing else'
  )
})

t.test('runs that outlast drain_timeout_ms on replacement', async (t) => {
  const latches = await makeLatches(t)
  const { url, home } = await startHost(t, {
    plugins: ['held-runs'],
    config: { experts: { 'held-runs': { concurrency: 3, drain_timeout_ms: 700 } } },
    env: { LATCH_DIR: latches.dir }
  })
  const base = `${url}/experts/held-runs`
  const sync = predict(url, 'held-runs', 'sync')
  const own = call(`${base}/hold`, 'POST', { id: 'own' })
  const jobId = await submitJob(base, 'job', {})
  for (const id of ['sync', 'own', 'job']) await latches.started(id)
  const text = await readFile(heldRuns, 'utf8')
  const next = { 'index.js': text.replaceAll('released ', 'new ') }
  await writeFiles(join(home, 'plugins', 'held-runs'), next)
  for (const answer of [sync, own]) {
    t.match(await answer, { status: 503, json: { code: 'HOST_EXPERT_DRAINED' } })
  }
  await until('its second start', async () => {
    const starts = (await latches.events()).filter(({ event, id }) => {
      return event === 'start' && id === 'job'
    })
    return starts.length === 2 ? starts : undefined
  })
  await latches.release('job')
  t.match(await ended(url, jobId), {
    status: 'succeeded',
    result: 'new job',
    error: null
  })
})
