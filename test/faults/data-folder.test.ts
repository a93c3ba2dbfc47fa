import { spawnSync } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { SqliteStore } from '../../host/dist/sqlite/sqlite-store.js'
import { expertOf, pidOf, predict } from '../support/experts.ts'
import { becomes, ended, recordOf } from '../support/jobs.ts'
import { acceptRun, makeNotedHome, spawnNoted } from '../support/noted-host.ts'
import { call, type HostProcess, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const STORES = ['jobs/jobs.sqlite', 'documents/documents.sqlite']
const image = { image_id: 'refused', url: '-', is_async: true }

const isReady = (url: string) => call(`${url}/health/ready`, 'GET')
const newStores = ({ lines }: HostProcess) =>
  lines.filter(({ msg }) => /^a new store begins/.test(String(msg))).map(({ path }) => path)

/** That a host without its stores says so, takes nothing that it cannot keep, and answers who waits. */
async function servesWithoutStores(t: Test, url: string, words: RegExp) {
  const { reasons } = await until('not ready', async () => {
    const { status, json } = await isReady(url)
    return status === 503 && json.reasons.length === 2 ? json : undefined
  })
  for (const [n, store] of STORES.entries()) {
    t.match(reasons[n], words)
    t.match(reasons[n], store, 'which file it is')
  }
  const refused = await call(`${url}/experts/noted/predict/image`, 'POST', image)
  t.match(refused, { status: 503, json: { code: 'HOST_STORE_FAILED' } })
  t.match(await call(`${url}/movies`, 'POST', { _key: 'm' }), { status: 503 })
  t.match(await call(`${url}/movies/kept`, 'GET'), { status: 503 }, 'not that there is none')
  t.equal((await call(`${url}/health/live`, 'GET')).status, 200)
  t.match(await predict(url, 'noted', 'waited for'), { status: 200 }, 'calls are answered')
}

t.test('a data folder that is removed under the host', async (t) => {
  const { host, home, latches, again } = await spawnNoted(t, { settings: { concurrency: 2 } })
  const { url } = host
  t.equal(newStores(host).length, 2, 'the first start made it')
  await call(`${url}/movies`, 'POST', { _key: 'kept' })
  const held = await acceptRun(url, 'held', 'hold 1')
  await latches.started('held')
  await rm(join(home, 'data'), { recursive: true })
  await servesWithoutStores(t, url, /its file was removed or replaced/)
  for (const store of STORES) {
    const { path } = await host.line(
      (line) => line.level === 'fatal' && String(line.path).endsWith(store)
    )
    t.equal(path, join(home, 'data', store))
  }
  await latches.release('held')
  await host.line(({ msg }) => /^an end cannot be written yet/.test(String(msg)))
  t.match(await call(`${url}/jobs/${held}`, 'GET'), { status: 503 }, 'not that there is none')
  const form = new FormData()
  form.set('id', 'uploaded')
  form.set('file', new Blob(['bytes']), 'file')
  t.equal((await fetch(`${url}/weigh`, { method: 'POST', body: form })).status, 200)
  process.kill(await pidOf(url, 'noted'), 'SIGKILL')
  await until('the reason', async () => {
    const { reason } = await expertOf(url, 'noted')
    return (
      /its copy in the data folder is gone: start the host again/.test(String(reason)) || undefined
    )
  })
  host.child.kill('SIGTERM')
  t.match(await host.exited, { code: 0 })

  const next = await again()
  t.strictSame(newStores(next), [join(home, 'data/documents'), join(home, 'data/jobs')])
  t.equal((await isReady(next.url)).status, 200)
  t.equal(await recordOf(next.url, held), undefined, 'what was in it is lost')
  t.match(await ended(next.url, await acceptRun(next.url, 'after', '-')), { result: 'after' })
  next.child.kill('SIGTERM')
  await next.exited
  t.strictSame(newStores(await again()), [], 'a folder that is there is not new')
})

t.test('the threads of the stores end', async (t) => {
  const { home, latches } = await makeNotedHome(t, { settings: { concurrency: 2 } })
  const workers: Worker[] = []
  const notice = (message: unknown) => workers.push((message as { worker: Worker }).worker)
  subscribe('worker_threads', notice)
  const { url, host } = await startHost(t, { home })
  unsubscribe('worker_threads', notice)
  t.equal(workers.length, 2)
  await call(`${url}/movies`, 'POST', { _key: 'kept' })
  const done = await acceptRun(url, 'done', '-')
  const record = await ended(url, done)
  const held = await acceptRun(url, 'held', 'hold 1')
  await latches.started('held')
  // What they cannot understand ends them; to terminate one in the middle of native code would end the process.
  for (const worker of workers) worker.postMessage(5)
  await servesWithoutStores(t, url, /cannot be used any more: its thread failed/)
  await latches.release('held')
  await host.stop()

  const next = await startHost(t, { home })
  t.equal((await isReady(next.url)).status, 200)
  t.same(await recordOf(next.url, done), record)
  t.match(await becomes(next.url, held, 'succeeded'), { result: 'held' }, 'nothing is lost')
  t.equal((await call(`${next.url}/movies/kept`, 'GET')).status, 200)
})

t.test('a data folder of a newer host is refused, and left as it is', async (t) => {
  const { host, home, again } = await spawnNoted(t, { settings: { concurrency: 2 } })
  const id = await acceptRun(host.url, 'one', '-')
  await ended(host.url, id)
  host.child.kill('SIGTERM')
  await host.exited
  for (const store of STORES) {
    const path = join(home, 'data', store)
    const version = await versionOf(path, 99)
    const bytes = await readFile(path)
    const env = { PATH: process.env.PATH, PORT: '0', HOST: '127.0.0.1' }
    const options = { cwd: home, env, encoding: 'utf8', timeout: 20_000 } as const
    const { status, stdout } = spawnSync(process.execPath, [MAIN, 'serve'], options)
    t.equal(status, 70)
    t.match(stdout, new RegExp(`"level":"fatal".*${path} has version 99, written by a newer host`))
    t.match(stdout, /Start the newer host, or give this one another file/)
    t.ok((await readFile(path)).equals(bytes), 'not one byte is changed')
    await versionOf(path, version)
  }
  t.match(await ended((await again()).url, id), { status: 'succeeded' }, 'the newer one has it all')
})

/** Gives a store another version; answers what it was. */
async function versionOf(path: string, version: number): Promise<number> {
  const silent = { warn() {}, error() {}, fatal() {} }
  const migrations = Array(100).fill('SELECT 1')
  const was = await readVersion(path)
  const store = await SqliteStore.open({ path, migrations, log: silent as never })
  await store.run({ sql: `PRAGMA user_version = ${version}` })
  await store.close()
  return was
}

/** From its header: https://sqlite.org/fileformat2.html#user_version_number */
async function readVersion(path: string): Promise<number> {
  return (await readFile(path)).readUInt32BE(60)
}

t.test('corrupt documents are set aside, and the jobs are as they were', async (t) => {
  const { host, home, again } = await spawnNoted(t, { settings: { concurrency: 2 } })
  await call(`${host.url}/movies`, 'POST', { _key: 'gone' })
  const id = await acceptRun(host.url, 'one', '-')
  await ended(host.url, id)
  host.child.kill('SIGTERM')
  await host.exited
  const folder = join(home, 'data/documents')
  const path = join(folder, 'documents.sqlite')
  const broken = (await readFile(path)).fill(0xa5, 5000, 9000)
  await writeFile(path, broken)
  const { url, line } = await again()
  const { level, msg } = await line(({ msg }) => String(msg).includes('set aside'))
  t.equal(level, 'error')
  t.match(msg, /documents\.sqlite cannot be used: .+It was set aside as .+a new one is made/)
  const aside = (await readdir(folder)).filter((name) => /\.corrupt-[^-]+-\S+Z$/.test(name))
  t.equal(aside.length, 1)
  t.ok((await readFile(join(folder, aside[0] as string))).equals(broken), 'every byte is kept')
  t.equal((await isReady(url)).status, 200)
  t.equal((await call(`${url}/movies/gone`, 'GET')).status, 404)
  t.equal((await call(`${url}/movies`, 'POST', { _key: 'new' })).status, 201)
  t.match(await ended(url, id), { status: 'succeeded', result: 'one' })
})
