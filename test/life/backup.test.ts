import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { versioned } from '../support/packages.ts'
import { call, makeHome, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

t.test('a copy of the data folder is everything', async (t) => {
  const home = await makeHome(t, {
    files: {
      quick: versioned('quick', '1'),
      never: versioned('never', '1', 'async predict() { await new Promise(() => {}) }')
    },
    config: { experts: { never: { drain_timeout_ms: 200 } } }
  })
  const env = { JOBS_EXPIRATION: '3600' }
  const { url, host } = await startHost(t, { home, env })
  const accept = async (expert: string) => {
    const body = { movie_id: 'Movies/1', local: false }
    const prefer = { prefer: 'respond-async' }
    const { json } = await call(`${url}/experts/${expert}/predict`, 'POST', body, prefer)
    return json.jobId as string
  }
  await call(`${url}/movies`, 'POST', { _key: '1', name: 'kept' })
  const done = await accept('quick')
  const record = (base: string, id: string) => call(`${base}/jobs/${id}`, 'GET')
  const ended = await until('the end of a job', async () => {
    const { json } = await record(url, done)
    return json[done].status === 'succeeded' ? json : undefined
  })
  const open = await Promise.all([accept('never'), accept('never')])
  await host.stop()

  const data = join(home, 'data')
  const copy = join(home, 'copy')
  await cp(data, copy, { recursive: true, filter: (path) => path !== join(data, 'run') })
  await rm(data, { recursive: true })
  await cp(copy, data, { recursive: true })

  const { url: again } = await startHost(t, { home, env })
  t.match((await call(`${again}/movies/1`, 'GET')).json, { name: 'kept' })
  t.same((await record(again, done)).json, ended)
  for (const id of open) {
    await until('the job to go on', async () => {
      const { json } = await record(again, id)
      return ['queued', 'running'].includes(json[id].status) || undefined
    })
  }
  const counts = await call(`${again}/jobs?counts=true`, 'GET')
  t.match(counts.json, { counts: { succeeded: 1 } })
})
