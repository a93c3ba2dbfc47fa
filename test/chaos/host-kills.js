// 50 × kill -9 of the host under load, each restarted on the same home, half of them in the very tick in
// which a client has read the id of a job: every job whose id was answered ends, and ends once.
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stormJobs } from '../support/job-storm.js'
import { notedRuns } from '../support/noted-runs.js'
import { childrenOf, percentile, startOn, writeHome } from './chaos-host.js'

const KILLS = 50
const JOBS_EACH = 80

export default async function hostKills() {
  const home = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = new Set()
  try {
    const env = { LATCH_DIR: home }
    await writeHome(
      home,
      { quick: notedRuns('quick'), slow: notedRuns('slow') },
      { quick: { env }, slow: { env, concurrency: 4 } }
    )
    const storm = await stormJobs({
      start: () => startOn(home, { env: { JOBS_EXPIRATION: '3600' }, children }),
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

/** True while a process of that id runs; one that has ended and waits to be noticed does not. */
function isRunning(pid) {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
