// Two hosts on one Redis under load, each killed with kill -9 20 times in turn; then the Redis itself, five times
// (append-only, always). Every job whose id was answered ends, and ends once.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startRedis } from '../../bench/redis.js'
import { notedRuns } from '../support/noted-runs.js'
import { percentile } from './chaos-host.js'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const KILLS_EACH = 20
const REDIS_KILLS = 5
const JOBS_BETWEEN = 40

export default async function redisKills() {
  const redis = await startRedis('always')
  if (redis === null) return [{ what: 'not run here', found: 'needs redis-server', kept: true }]
  const folder = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const storm = { folder, redis, children: new Set(), answered: new Map(), ends: new Map() }
  storm.wrong = []
  storm.isOver = false
  try {
    const homes = await Promise.all(['left', 'right'].map((name) => makeHome(folder, name)))
    storm.hosts = await Promise.all(homes.map((home) => startOn(storm, home)))
    const clients = [0, 1, 0, 1].map((side) => submit(storm, side))
    const notReadyMs = []
    for (let kill = 0; kill < KILLS_EACH * 2; kill++) {
      await answeredMore(storm, JOBS_BETWEEN)
      const side = kill % 2
      storm.hosts[side].child.kill('SIGKILL')
      await once(storm.hosts[side].child, 'close')
      await look(storm, 1 - side)
      storm.hosts[side] = await startOn(storm, homes[side])
    }
    for (let kill = 0; kill < REDIS_KILLS; kill++) {
      await answeredMore(storm, JOBS_BETWEEN)
      await redis.kill()
      const from = performance.now()
      await ready(storm, 503)
      await redis.start()
      await ready(storm, 200)
      notReadyMs.push(performance.now() - from)
    }
    storm.isOver = true
    await Promise.all(clients)
    const from = performance.now()
    for (let unfinished = 1; unfinished > 0 && performance.now() - from < 100_000; ) {
      unfinished = await look(storm, 0)
      await pause(200)
    }
    await look(storm, 1)
    return figures(storm, performance.now() - from, notReadyMs)
  } finally {
    storm.isOver = true
    for (const child of storm.children) child.kill('SIGKILL')
    await redis.stop()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function figures({ answered, ends, wrong, folder }, settleMs, notReadyMs) {
  const lost = [...answered.keys()].filter((id) => !ends.has(id))
  const starts = new Map()
  const marks = new Map()
  for (const line of readFileSync(join(folder, 'events.ndjson'), 'utf8').split('\n')) {
    const { event, jobId, mark } = line === '' ? {} : JSON.parse(line)
    if (event === 'start') starts.set(jobId, (starts.get(jobId) ?? 0) + 1)
    if (event === 'end') marks.set(`${jobId}/${mark}`, true)
  }
  for (const [id, { name, job }] of [...ends].map(([id, job]) => [
    id,
    { name: answered.get(id), job }
  ])) {
    if (name === undefined) continue
    if (job.status === 'failed' && job.code === 'HOST_JOB_LOST' && job.attempts === 3) continue
    const isRight = job.result === name && marks.has(`${id}/${job.mark}`)
    if (job.status !== 'succeeded' || !isRight) wrong.push(JSON.stringify(job))
  }
  const again = [...starts.values()].filter((times) => times > 1).length
  const failed = [...ends.values()].filter(({ status }) => status === 'failed').length
  return [
    {
      what: `jobs answered within ${KILLS_EACH * 2} kills of two hosts and ${REDIS_KILLS} of their Redis`,
      found: `${answered.size}, ${lost.length} lost ${lost[0] ?? ''}`,
      kept: answered.size >= JOBS_BETWEEN * KILLS_EACH * 2 && lost.length === 0
    },
    {
      what: 'ends',
      found: `${ends.size}, ${failed} failed after 3 losses; ${wrong.length} wrong or twice ${wrong[0] ?? ''}`,
      kept: wrong.length === 0
    },
    {
      what: 'runs begun again',
      found: `${again} of ${starts.size}, at most ${Math.max(...starts.values())} times`,
      kept: again > 0 && Math.max(...starts.values()) <= 4
    },
    {
      what: 'Redis killed until both hosts were ready again',
      found: `median ${Math.round(percentile(notReadyMs, 0.5))} ms; all ended ${Math.round(settleMs)} ms after the last job`,
      kept: true
    }
  ]
}

/** Asks one host for jobs until the storm is over; what breaks off was not answered. */
async function submit(storm, side) {
  for (let turn = 0; !storm.isOver; turn++) {
    const expert = turn % 4 === 3 ? 'slow' : 'quick'
    const name = `${side}-${process.hrtime.bigint()}`
    const body = { image_id: name, url: expert === 'slow' ? 'ms 50' : '-', is_async: true }
    const { status, json } = await ask(storm, side, `/experts/${expert}/predict/image`, body)
    if (status === 200) storm.answered.set(json.jobId, name)
    else if (status !== 503 && status !== 0) storm.wrong.push(`answered ${status}`)
    else await pause(20)
  }
}

/** What a host says of all jobs; an end that is not what it was is told. @returns how many have not ended */
async function look(storm, side) {
  const { status, json } = await ask(storm, side, '/jobs')
  if (status !== 200) return 1
  let unfinished = 0
  for (const job of json.jobs) {
    const before = storm.ends.get(job.jobId)
    if (job.state !== 'finish') {
      unfinished += 1
      if (before !== undefined) storm.wrong.push(`had ended: ${JSON.stringify(job)}`)
    } else if (before === undefined) storm.ends.set(job.jobId, job)
    else if (JSON.stringify(before) !== JSON.stringify(job)) {
      storm.wrong.push(`ended twice: ${JSON.stringify([before, job])}`)
    }
  }
  return unfinished
}

async function ask({ hosts }, side, path, body) {
  try {
    const answer = await fetch(`${hosts[side].url}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(20_000)
    })
    return { status: answer.status, json: await answer.json() }
  } catch {
    return { status: 0, json: null }
  }
}

async function answeredMore({ answered }, many) {
  const wanted = answered.size + many
  const end = performance.now() + 60_000
  while (answered.size < wanted) {
    if (performance.now() > end) throw new Error(`waited in vain for ${many} answers`)
    await pause(5)
  }
}

async function ready(storm, status) {
  const end = performance.now() + 30_000
  for (const side of [0, 1]) {
    while ((await ask(storm, side, '/health/ready')).status !== status) {
      if (performance.now() > end) throw new Error(`waited in vain for ${status}`)
      await pause(10)
    }
  }
}

async function makeHome(folder, name) {
  const home = join(folder, name)
  const env = { LATCH_DIR: folder }
  for (const expert of ['quick', 'slow']) {
    const plugin = join(home, 'plugins', expert)
    await mkdir(plugin, { recursive: true })
    for (const [file, text] of Object.entries(notedRuns(expert))) {
      await writeFile(join(plugin, file), text)
    }
  }
  const experts = { quick: { env }, slow: { env, concurrency: 4 } }
  const config = JSON.stringify({ plugins_dir: ['./plugins'], experts })
  await writeFile(join(home, 'experts.config.json'), config)
  return home
}

/** A host that serves what the home has; resolves when its first round of starts has ended. */
async function startOn({ children, redis }, home) {
  const { PATH, HOME } = process.env
  const env = { PATH, HOME, PORT: '0', HOST: '127.0.0.1', JOBS_EXPIRATION: '3600' }
  env.REDIS_URL = `redis://127.0.0.1:${redis.port}`
  const stdio = ['ignore', 'pipe', 'inherit']
  const child = spawn(process.execPath, [MAIN, 'serve'], { cwd: home, env, stdio })
  children.add(child)
  child.once('exit', () => children.delete(child))
  const url = await new Promise((resolve, reject) => {
    let found
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text)
      found ??= line.url
      if (Array.isArray(line.active)) resolve(found)
    })
    child.once('exit', () => reject(new Error('the host ended before it served')))
  })
  return { child, url }
}
