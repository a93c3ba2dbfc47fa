import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { untilTrue } from '../support/experts.ts'
import { ended, recordOf } from '../support/jobs.ts'
import { acceptRun, makeNotedHome, spawnNoted } from '../support/noted-host.ts'
import { call, type HostProcess, spawnHost } from '../support/start-host.ts'

const KEPT_UPLOAD_BYTES = 3_000_000

async function kill(host: HostProcess): Promise<void> {
  process.kill(host.child.pid as number, 'SIGKILL')
  await host.exited
}

/** Has an upload accepted; gives the job's id. */
async function acceptUpload(url: string, id: string, bytes: Buffer): Promise<string> {
  const form = new FormData()
  form.set('id', id)
  form.set('is_async', 'true')
  form.set('file', new Blob([bytes]), 'some file.bin')
  const sent = await fetch(`${url}/weigh`, { method: 'POST', body: form })
  return ((await sent.json()) as { jobId: string }).jobId
}

t.test('an upload survives kill -9 of the host before its run', async (t) => {
  const { host, home, again, latches, starts } = await spawnNoted(t)
  const uploads = join(home, 'data', 'jobs', 'uploads')
  await acceptRun(host.url, 'busy', 'hold 1')
  await latches.started('busy')
  const bytes = randomBytes(KEPT_UPLOAD_BYTES)
  const id = await acceptUpload(host.url, 'uploaded', bytes)
  t.match(await recordOf(host.url, id), { status: 'queued' })
  await kill(host)
  t.strictSame(await readdir(uploads), [id])

  const { url } = await again()
  const result = createHash('sha256').update(bytes).digest('hex')
  t.match(await ended(url, id), { status: 'succeeded', result, attempts: 1 }, 'every byte of it')
  t.equal((await starts('uploaded')).length, 1)
  await untilTrue('its end', async () => (await readdir(uploads)).length === 0)
})

t.test('an upload survives kill -9 of the host in the middle of its run', async (t) => {
  const { host, again, latches, starts } = await spawnNoted(t)
  const form = new FormData()
  for (const [key, text] of Object.entries({ id: 'half', how: 'hold 1', is_async: 'true' })) {
    form.set(key, text)
  }
  form.set('file', new Blob(['the bytes']), 'file')
  const sent = await fetch(`${host.url}/weigh`, { method: 'POST', body: form })
  const { jobId } = (await sent.json()) as { jobId: string }
  await latches.started('half')
  // What is accepted later is on disk later: then that it has begun is too.
  await acceptRun(host.url, 'later', '-')
  await kill(host)
  const { url } = await again()
  const result = createHash('sha256').update('the bytes').digest('hex')
  t.match(await ended(url, jobId), { status: 'succeeded', result, attempts: 2 })
  t.equal((await starts('half')).length, 2)
})

t.test('uploads and results of no job are removed at the start', async (t) => {
  const { home } = await makeNotedHome(t)
  const folders = ['uploads', 'results'].map((name) => join(home, 'data', 'jobs', name))
  const [uploads, results] = folders as [string, string]
  await mkdir(join(uploads, randomUUID()), { recursive: true })
  await mkdir(join(uploads, 'not even an id'))
  await writeFile(join(uploads, 'not even an id', 'file'), 'of nobody')
  await mkdir(results)
  await writeFile(join(results, randomUUID()), 'of nobody')
  const { url } = await spawnHost(t, { home })
  for (const folder of folders) t.strictSame(await readdir(folder), [], folder)
  const id = await acceptUpload(url, 'afterwards', Buffer.from('new'))
  t.match(await ended(url, id), { status: 'succeeded' })
})

t.test('a file that a job answered survives kill -9 and goes when the job expires', async (t) => {
  const { host, home, again } = await spawnNoted(t)
  const results = join(home, 'data', 'jobs', 'results')
  const sent = await call(`${host.url}/file`, 'POST', { id: 'one', is_async: true })
  const { jobId } = sent.json
  t.match(await ended(host.url, jobId), { status: 'succeeded' })
  await kill(host)

  const second = await again()
  const answer = await call(`${second.url}/jobs/${jobId}/result`, 'GET')
  t.match(answer, { status: 200, text: 'the file of one' })
  t.match(answer.headers.get('content-type'), /^text\/plain/)
  t.strictSame(await readdir(results), [jobId])
  await kill(second)

  const third = await again({ JOBS_EXPIRATION: '1' })
  await untilTrue('the end of an old file', async () => (await readdir(results)).length === 0)
  t.equal((await call(`${third.url}/jobs/${jobId}/result`, 'GET')).status, 404)
  // And of one that expires while its host runs.
  const fresh = (await call(`${third.url}/file`, 'POST', { id: 'two', is_async: true })).json.jobId
  await untilTrue('its file', async () => (await readdir(results)).includes(fresh))
  await untilTrue('its end', async () => (await readdir(results)).length === 0)
  t.equal(await recordOf(third.url, fresh), undefined)
})
