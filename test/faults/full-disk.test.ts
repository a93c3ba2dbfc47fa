import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { expertOf, pidOf, predict, untilTrue, within } from '../support/experts.ts'
import { accept, ended, recordOf } from '../support/jobs.ts'
import { acceptRun, makeNotedHome, spawnNoted, startNoted } from '../support/noted-host.ts'
import { call, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const SMALLEST = { NEBULA_JOB_STORE_MAX_BYTES: '1048576' }
type Answer = Awaited<ReturnType<typeof call>>

/** Has jobs of so many bytes accepted until one is not; adds their ids, gives the refusal. */
async function fill(url: string, ids: string[], bytes: number): Promise<Answer> {
  for (;;) {
    const extra_params = { how: '-', fill: 'x'.repeat(bytes) }
    const body = { image_id: `f${ids.length}`, url: '-', extra_params, is_async: true }
    const answer = await call(`${url}/predict/image`, 'POST', body)
    if (answer.status !== 200) return answer
    ids.push(answer.json.jobId)
    if (ids.length > 5000) throw new Error('the store takes 5000 jobs: it has no limit')
  }
}

t.test('a full store refuses new jobs and ends all that it has', async (t) => {
  const { host, home, url, latches, notes } = await startNoted(t, {
    experts: ['noted', 'other'],
    env: SMALLEST
  })
  const base = `${url}/experts/noted`
  const busy = await acceptRun(base, 'busy', 'hold 1')
  await latches.started('busy')
  const ids: string[] = []
  // The large first, then whatever still fits: nothing is left over.
  for (const bytes of [20_000, 3000, 300, 1]) {
    const refusal = await fill(base, ids, bytes)
    t.match(refusal, { status: 503, json: { code: 'HOST_STORE_FULL' } }, `${bytes} bytes`)
    t.match(refusal.headers.get('retry-after'), /^\d+$/)
  }
  t.ok(ids.length > 20, `${ids.length} jobs fill it`)
  for (const id of ids) t.match(await recordOf(base, id), { status: 'queued', attempts: 0 })
  t.match(await predict(url, 'other', 'waited for'), { status: 200 }, 'calls are answered')
  t.equal((await call(`${url}/health/live`, 'GET')).status, 200)

  await latches.release('busy')
  // Those that ended first may have given way to the ends of the others.
  for (const id of [busy, ...ids]) {
    const record = await until(`the end of ${id}`, async () => {
      const found = await recordOf(base, id)
      return found?.state === 'running' ? undefined : (found ?? 'gone')
    })
    if (record !== 'gone') t.match(record, { status: 'succeeded', error: null, attempts: 1 })
  }
  const began = (await notes()).filter(({ event, id }) => event === 'start' && id.startsWith('f'))
  t.equal(began.length, ids.length, 'each was begun once')
  t.strictSame(new Set(began.map(({ jobId }) => jobId)), new Set(ids))

  // What has ended is kept for its time; after that there is room.
  await host.stop()
  const next = await startHost(t, { home, env: { ...SMALLEST, JOBS_EXPIRATION: '1' } })
  const there = `${next.url}/experts/noted`
  const later: string[] = []
  await untilTrue('room', async () => {
    await fill(there, later, 20_000)
    return later.length > 5
  })
  await untilTrue('the end of all', async () => {
    const { counts } = (await call(`${next.url}/jobs?counts=true`, 'GET')).json
    t.equal(counts.failed, 0)
    return counts.queued + counts.running === 0
  })
})

t.test('for a result that needs room the oldest finished jobs give way', async (t) => {
  const { url } = await startNoted(t, { env: SMALLEST })
  const ids: string[] = []
  for (let i = 0; i < 8; i++) {
    const id = await acceptRun(url, `large ${i}`, 'bytes 300000')
    const { status, result } = await ended(url, id)
    t.strictSame({ status, bytes: result?.length }, { status: 'succeeded', bytes: 300_000 })
    ids.push(id)
  }
  const left = (await call(`${url}/jobs`, 'GET')).json.jobs.map(
    ({ jobId }: { jobId: string }) => jobId
  )
  t.ok(left.length > 0 && left.length < 8, `${left.length} are left`)
  t.strictSame(left, ids.slice(-left.length), 'those that ended last')
})

t.test('an accepted job whose answer is 100 MB fails with the reason', async (t) => {
  const { host } = await spawnNoted(t)
  const { url } = host
  const pid = await pidOf(url, 'noted')
  const id = await acceptRun(url, 'huge', 'bytes 100000000')
  t.match(await ended(url, id), { status: 'failed', code: 'HOST_EXPERT_FAILED', attempts: 1 })
  const { msg } = await host.line((line) => line.level === 'error' && line.job_id === id)
  t.match(msg, /1000000\d\d bytes of JSON; at most \d+/)
  t.match(await ended(url, await acceptRun(url, 'next', '-')), { status: 'succeeded' })
  t.equal(await pidOf(url, 'noted'), pid, 'by the same process')
})

/** Starts a host that is expected to end by itself. */
async function startInVain(t: Test, home: string) {
  const env = { PATH: process.env.PATH, PORT: '0', HOST: '127.0.0.1' }
  const child = spawn(process.execPath, [MAIN, 'serve'], { cwd: home, env })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const [out, err, [code]] = await within(
    Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]),
    20_000,
    'the end of a host that cannot start'
  )
  return { said: out + err, code: code as number | null }
}

t.test('a data folder that cannot be written is told, and the host ends', async (t) => {
  for (const place of ['data/jobs', 'data']) {
    const { home } = await makeNotedHome(t)
    if (place === 'data/jobs') await mkdir(join(home, 'data'))
    await writeFile(join(home, place), 'in the way')
    const { said, code } = await startInVain(t, home)
    t.equal(code, 70, place)
    t.match(said, new RegExp(`"level":"fatal".*the host cannot start: .*${join(home, place)}`))
  }
})

t.test('a corrupt store is set aside, and the host serves', async (t) => {
  const damages: Record<string, (path: string) => Promise<void>> = {
    'no database at all': async (path) => writeFile(path, 'not a database '.repeat(1000)),
    'a torn page': async (path) => {
      const bytes = await readFile(path)
      // Behind the header: the file still looks like a database.
      await writeFile(path, bytes.fill(0xa5, 5000, 9000))
    }
  }
  for (const [name, damage] of Object.entries(damages)) {
    await t.test(name, async (t) => {
      const { host, home, again } = await spawnNoted(t)
      await ended(host.url, await acceptRun(host.url, 'before', '-'))
      host.child.kill('SIGTERM')
      await host.exited
      const jobs = join(home, 'data', 'jobs')
      const path = join(jobs, 'jobs.sqlite')
      await damage(path)
      const bad = await readFile(path)
      const { url, line } = await again()
      const { level, msg } = await line(({ msg }) => String(msg).includes('set aside'))
      t.equal(level, 'error')
      t.match(msg, /jobs\.sqlite cannot be used: .+It was set aside as .+a new one is made/)
      const aside = (await readdir(jobs)).filter((file) => /\.corrupt-[^-]+-\S+Z$/.test(file))
      t.equal(aside.length, 1)
      t.ok((await readFile(join(jobs, aside[0] as string))).equals(bad), 'every byte is kept')
      t.match(await ended(url, await acceptRun(url, 'after', '-')), { status: 'succeeded' })
    })
  }
})

t.test('a second host on the same data folder is refused, and the first serves on', async (t) => {
  const { host, home, latches } = await spawnNoted(t)
  const { url } = host
  const running = await acceptRun(url, 'running', 'hold 1')
  await latches.started('running')
  const waiting = await accept(url, 'waiting')
  const { said, code } = await startInVain(t, home)
  t.equal(code, 70)
  t.match(said, new RegExp(`another host uses .*process ${host.child.pid}`))
  t.match(said, /NEBULA_DATA_DIR/, 'and what to set')

  await latches.release('running')
  t.match(await ended(url, running), { status: 'succeeded', attempts: 1 })
  t.match(await ended(url, waiting), { status: 'succeeded', attempts: 1 })
  // What the first has in the folder of its run is still there.
  const form = new FormData()
  form.set('id', 'uploaded')
  form.set('file', new Blob(['bytes']), 'file')
  t.equal((await fetch(`${url}/weigh`, { method: 'POST', body: form })).status, 200)
  t.equal((await call(`${url}/manage/experts/noted/restart`, 'POST')).status, 200)
  t.match(await expertOf(url, 'noted'), { status: 'ACTIVE' })
  t.ok(existsSync(join(home, 'data', 'jobs', 'jobs.sqlite.owner')))
})
