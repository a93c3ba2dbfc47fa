import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { SqliteStore } from '../../host/dist/sqlite/sqlite-store.js'
import { ended, recordOf } from '../support/jobs.ts'
import { acceptRun, makeNotedHome } from '../support/noted-host.ts'
import { call, startHost } from '../support/start-host.ts'

/** What the first host with these stores wrote before it was killed, as SQL, and what it said of it. */
const OLD = fileURLToPath(new URL('../fixtures/version-1/', import.meta.url))

t.test('a data folder of the first version opens, keeps everything, and goes on', async (t) => {
  const kept = JSON.parse(await readFile(join(OLD, 'kept.json'), 'utf8'))
  const { home, latches, starts } = await makeNotedHome(t)
  for (const name of ['jobs', 'documents']) {
    const folder = join(home, 'data', name)
    await mkdir(folder, { recursive: true })
    const store = await SqliteStore.open({
      path: join(folder, `${name}.sqlite`),
      migrations: [await readFile(join(OLD, `${name}.sql`), 'utf8')],
      log: { warn() {}, error() {}, fatal() {} } as never
    })
    await store.close()
  }
  // Its jobs ended when this was written, and shall not be over their time.
  const { url } = await startHost(t, { home, env: { JOBS_EXPIRATION: '1000000000' } })
  const { jobs, records, movies } = kept
  for (const [name, record] of Object.entries(records)) {
    t.same(await recordOf(url, jobs[name]), record, `${name}: as it was`)
  }
  for (const movie of movies) {
    t.same((await call(`${url}/movies/${movie._key}`, 'GET')).json, movie)
  }
  const again = { image_id: 'one', url: '-', is_async: true }
  const key = { 'idempotency-key': 'once' }
  const { json } = await call(`${url}/experts/noted/predict/image`, 'POST', again, key)
  t.equal(json.jobId, jobs.succeeded, 'a request that is sent again finds its job')

  await latches.release('held')
  t.match(await ended(url, jobs.running), { status: 'succeeded', result: 'held', attempts: 2 })
  t.match(await ended(url, jobs.queued), { status: 'succeeded', result: 'Movies/2', attempts: 1 })
  t.equal((await starts('one')).length, 0, 'what had ended does not run again')
  // And what the first version knew nothing of.
  t.match(await ended(url, await acceptRun(url, 'new', '-')), { status: 'succeeded' })
  const pipeline = { _key: 'p', movies: ['Movies/1'], plan: [{ task: 'a', expert: 'noted' }] }
  t.equal((await call(`${url}/pipelines`, 'POST', pipeline)).status, 201)
  t.equal((await call(`${url}/webhooks`, 'GET')).status, 200)
})
