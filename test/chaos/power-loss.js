// The power goes 20 times under a host with jobs, uploads and documents, and 6 times under one with webhooks: at a random
// moment the host is killed, and its data folder becomes what the disk would have (`test/support/power-loss.c`): at times only what was
// synced, at times also half of the rest. Everything that was answered is there, and ends once.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { stormJobs } from '../support/job-storm.js'
import { buildLibrary, LosablePower } from '../support/lost-power.js'
import { notedRuns } from '../support/noted-runs.js'
import { randomFrom } from '../support/random-from.js'
import { stormWebhooks } from '../support/webhook-storm.js'
import { childrenOf, percentile } from './chaos-host.js'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const LOSSES = 20
const JOBS_EACH = 60
const WEBHOOK_LOSSES = 6
const WEBHOOK_JOBS = 210
const KINDS = /** @type {const} */ (['synced', 'names', 'torn', 'torn'])

export default async function powerLoss() {
  const top = await realpath(await mkdtemp(join(tmpdir(), 'nebula-chaos-')))
  try {
    const library = await buildLibrary(top)
    if (library === null) return [{ what: 'not run here', found: 'needs Linux and cc', kept: true }]
    const seed = Number(process.env.CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 32))
    return [
      { what: 'CHAOS_SEED', found: `${seed}`, kept: true },
      await notices(join(top, 'notices'), library),
      ...(await underJobs(await makeHome(join(top, 'jobs'), library, seed))),
      ...(await underWebhooks(await makeHome(join(top, 'webhooks'), library, seed)))
    ]
  } finally {
    await rm(top, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** That a loss of power costs what was not synced, and nothing else. */
async function notices(folder, library) {
  const state = join(folder, 'state')
  for (const path of [state, join(folder, 'kept')]) await mkdir(path, { recursive: true })
  await writeFile(join(state, 'old'), 'old')
  const power = new LosablePower(state, join(folder, 'kept'), library)
  const program = `
    import { closeSync, fsyncSync, fdatasyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
    const write = (name, text, sync) => {
      const file = openSync(name, 'a+')
      writeSync(file, text)
      sync?.(file)
      closeSync(file)
    }
    const syncFolder = (name) => {
      const folder = openSync(name)
      fsyncSync(folder)
      closeSync(folder)
    }
    write('synced', 'one', fsyncSync)
    write('synced', ' two', fdatasyncSync)
    write('synced', ' three')
    write('unsynced', 'gone')
    syncFolder('.')
    renameSync('synced', 'renamed')
    rmSync('old')
    write('nameless', 'gone', fsyncSync)
    mkdirSync('folder')
    write('folder/file', 'gone', fsyncSync)`
  const args = ['--input-type=module', '-e', program]
  await promisify(execFile)(process.execPath, args, {
    cwd: state,
    env: { ...process.env, ...power.env }
  })
  power.lose('synced', Math.random)
  const left = readdirSync(state).sort()
  const found = left
    .map((name) => `${name} '${readFileSync(join(state, name), 'utf8')}'`)
    .join(', ')
  return {
    what: 'what a loss of power leaves of a program that syncs half',
    found,
    kept: found === "old 'old', synced 'one two', unsynced ''"
  }
}

async function underJobs(home) {
  const documents = { answered: new Set(), missing: new Set(), isOver: false }
  let host = null
  const saving = saveDocuments(documents, () => host)
  const start = async () => {
    if (host !== null) home.losePower()
    host = await startOn(home)
    await missedOf(documents, host.url)
    return host
  }
  try {
    const storm = await stormJobs({
      ...{ start, latchDir: home.path, kills: LOSSES, jobsEach: JOBS_EACH, childrenOf },
      isRunning
    })
    await missedOf(documents, host.url)
    const { answered, ends, wrong, startMs } = storm
    const lost = [...answered.keys()].filter((id) => !ends.has(id))
    const again = [...storm.runs.values()].filter((times) => times > 1).length
    return [
      {
        what: `jobs answered before one of ${LOSSES} losses of power`,
        found: `${answered.size}, ${lost.length} lost ${lost[0] ?? ''}`,
        kept: answered.size >= LOSSES * JOBS_EACH && lost.length === 0
      },
      {
        what: 'ends that are wrong, changed or recorded twice',
        found: `${wrong.length} of ${ends.size} ${wrong[0] ?? ''}; ${again} items begun again`,
        kept: wrong.length === 0 && again > 0
      },
      {
        what: 'documents answered',
        found: `${documents.answered.size}, ${documents.missing.size} lost ${[...documents.missing][0] ?? ''}`,
        kept: documents.answered.size > LOSSES && documents.missing.size === 0
      },
      home.figures(LOSSES),
      {
        what: 'restarts until all is served',
        found: `median ${Math.round(percentile(startMs, 0.5))} ms, with the making of the disk`,
        kept: true
      }
    ]
  } finally {
    documents.isOver = true
    await saving
    host?.child.kill('SIGKILL')
  }
}

async function underWebhooks(home) {
  let child = null
  const start = async (env) => {
    if (child !== null) home.losePower()
    const host = await startOn(home, env)
    child = host.child
    return { url: host.url, kill: () => host.child.kill('SIGKILL'), exited: host.exited }
  }
  try {
    const storm = await stormWebhooks({ start, jobs: WEBHOOK_JOBS, kills: WEBHOOK_LOSSES })
    const { wanted, missing, disorder, left } = storm
    return [
      {
        what: `webhooks of ${storm.accepted} jobs past ${WEBHOOK_LOSSES} losses of power`,
        found: `${wanted - missing.length} of ${wanted} delivered, ${left} left or given up, ${disorder.length} out of order`,
        kept: missing.length === 0 && left === 0 && disorder.length === 0
      },
      home.figures(WEBHOOK_LOSSES)
    ]
  } finally {
    child?.kill('SIGKILL')
  }
}

/** A folder to serve whose `state` is on a disk that may lose its power; the host makes its data folder in it. */
async function makeHome(path, library, seed) {
  const state = join(path, 'state')
  const kept = join(path, 'kept')
  for (const folder of [state, kept]) await mkdir(folder, { recursive: true })
  for (const name of ['quick', 'slow']) {
    const folder = join(path, 'plugins', name)
    await mkdir(folder, { recursive: true })
    for (const [file, text] of Object.entries(notedRuns(name))) {
      await writeFile(join(folder, file), text)
    }
  }
  const env = { LATCH_DIR: path }
  const experts = { quick: { env, concurrency: 4 }, slow: { env, concurrency: 4 } }
  const config = JSON.stringify({ plugins_dir: ['./plugins'], experts })
  await writeFile(join(path, 'experts.config.json'), config)
  const power = new LosablePower(state, kept, library)
  const random = randomFrom(seed)
  const losses = []
  return {
    path,
    env: { ...power.env, NEBULA_DATA_DIR: join(state, 'data') },
    losePower: () => {
      const kind = KINDS[losses.length % KINDS.length]
      losses.push({ kind, ...power.lose(kind, random) })
    },
    figures: (wanted) => {
      const bytes = losses.reduce((sum, loss) => sum + loss.bytes, 0)
      const costly = losses.filter((loss) => loss.bytes + loss.files > 0).length
      return {
        what: 'losses of power that cost the disk something',
        found: `${costly} of ${losses.length}, ${Math.round(bytes / 1024)} KiB`,
        kept: losses.length === wanted && costly > 0
      }
    }
  }
}

/** A host that serves what the home has; resolves when its first round of starts has ended. */
async function startOn(home, more) {
  const { PATH, HOME } = process.env
  const env = { PATH, HOME, PORT: '0', HOST: '127.0.0.1', JOBS_EXPIRATION: '3600' }
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    cwd: home.path,
    env: { ...env, ...home.env, ...more },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  const url = await new Promise((resolve, reject) => {
    let found
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text)
      if (line.level === 'error' || line.level === 'fatal') console.error(text)
      found ??= line.url
      if (Array.isArray(line.active)) resolve(found)
    })
    child.once('exit', () => reject(new Error('the host ended before it served')))
  })
  return { child, url, pid: child.pid, exited }
}

/** Saves movies, one after the other, for as long as it lasts. */
async function saveDocuments(documents, hostNow) {
  for (let number = 0; !documents.isOver; number++) {
    await pause(2)
    try {
      const answer = await fetch(`${hostNow().url}/movies`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ _key: `${number}`, name: `movie ${number}` })
      })
      if (answer.status === 201) documents.answered.add(`${number}`)
    } catch {
      // The host is away.
    }
  }
}

async function missedOf({ answered, missing }, url) {
  for (const key of [...answered]) {
    const answer = await fetch(`${url}/movies/${key}`)
    const { name } = await answer.json()
    if (name !== `movie ${key}`) missing.add(key)
  }
}

/** True while a process of that id runs; one that has ended and waits to be noticed does not. */
function isRunning(pid) {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
