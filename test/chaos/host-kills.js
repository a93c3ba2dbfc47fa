// 50 × kill -9 of the host under load, each restarted on the same home, half of them in the very tick in
// which a client has read the id of a job: every job whose id was answered ends, and ends once.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { stormJobs } from '../support/job-storm.js'
import { notedRuns } from '../support/noted-runs.js'
import { childrenOf, percentile } from './chaos-host.js'

const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const KILLS = 50
const JOBS_EACH = 80

export default async function hostKills() {
  const home = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = []
  try {
    await prepare(home)
    const storm = await stormJobs({
      start: async () => {
        const { child, url } = await startOn(home)
        children.push(child)
        return { url, pid: child.pid, exited: once(child, 'exit') }
      },
      latchDir: home,
      kills: KILLS,
      jobsEach: JOBS_EACH,
      childrenOf,
      isRunning
    })
    const { answered, ends, wrong, killsInTick, killsInRun, startMs, goneMs } = storm
    const of = (status) => [...ends.values()].filter((job) => job.status === status)
    const ended = [...answered.keys()].filter((id) => ends.has(id)).length
    const runs = [...storm.runs.values()]
    const again = runs.filter((times) => times > 1).length
    const times = (values) =>
      `median ${Math.round(percentile(values, 0.5))} ms, longest ${Math.round(Math.max(...values))} ms`
    return [
      {
        what: `jobs answered before one of ${KILLS} kills`,
        found: `${answered.size}, of which ${ended} ended; ${storm.lostAnswers} answers lost`,
        kept: answered.size >= KILLS * JOBS_EACH && ended === answered.size
      },
      {
        what: 'ends',
        found: `${of('succeeded').length} succeeded, ${of('failed').length} failed after 3 losses; ${wrong.length} wrong ${wrong[0] ?? ''}`,
        kept: wrong.length === 0
      },
      {
        what: 'runs',
        found: `${runs.reduce((sum, one) => sum + one, 0)} of ${runs.length} items, ${again} begun again, at most ${Math.max(...runs)} times`,
        kept: again > 0 && Math.max(...runs) <= 1 + KILLS
      },
      {
        what: 'kills',
        found: `${killsInTick} in the tick of an answer, ${killsInRun} in a run`,
        kept: killsInTick === KILLS / 2 && killsInRun === KILLS / 2
      },
      {
        what: 'processes of experts gone after a kill',
        found: times(goneMs),
        kept: goneMs.length === KILLS
      },
      {
        what: 'restarts until all is served',
        found: `${times(startMs)}; settled ${Math.round(storm.settleMs)} ms after the last`,
        kept: startMs.length === KILLS + 1
      }
    ]
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rm(home, { recursive: true, force: true })
  }
}

async function prepare(home) {
  const env = { LATCH_DIR: home }
  for (const name of ['quick', 'slow']) {
    const folder = join(home, 'plugins', name)
    await mkdir(folder, { recursive: true })
    for (const [file, text] of Object.entries(notedRuns(name))) {
      await writeFile(join(folder, file), text)
    }
  }
  const experts = { quick: { env }, slow: { env, concurrency: 4 } }
  const config = JSON.stringify({ plugins_dir: ['./plugins'], experts })
  await writeFile(join(home, 'experts.config.json'), config)
}

/** A host that serves what the home has; resolves when its first round of starts has ended. */
async function startOn(home) {
  const { PATH, HOME } = process.env
  const env = { PATH, HOME, PORT: '0', HOST: '127.0.0.1', JOBS_EXPIRATION: '3600' }
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    cwd: home,
    env,
    stdio: ['ignore', 'pipe', 'inherit']
  })
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

/** True while a process of that id runs; one that has ended and waits to be noticed does not. */
function isRunning(pid) {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
