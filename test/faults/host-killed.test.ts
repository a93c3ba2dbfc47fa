import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { childrenOf, isRunning, untilTrue } from '../support/experts.ts'
import { stormJobs } from '../support/job-storm.js'
import { makeLatches } from '../support/latches.ts'
import { notedRuns } from '../support/noted-runs.js'
import { makeHome, spawnHost } from '../support/start-host.ts'

const KILLS = 8
const JOBS_EACH = 40

t.test('kill -9 of the host under load: every job whose id was answered ends once', async (t) => {
  const { dir } = await makeLatches(t)
  const home = await makeHome(t, {
    files: { quick: notedRuns('quick'), slow: notedRuns('slow') },
    config: {
      experts: {
        quick: { env: { LATCH_DIR: dir } },
        slow: { env: { LATCH_DIR: dir }, concurrency: 4 }
      }
    }
  })
  const storm = await stormJobs({
    start: async () => {
      const host = await spawnHost(t, { home, env: { JOBS_EXPIRATION: '3600' } })
      return { url: host.url, pid: host.child.pid as number, exited: host.exited }
    },
    latchDir: dir,
    kills: KILLS,
    jobsEach: JOBS_EACH,
    childrenOf,
    isRunning
  })
  t.strictSame(storm.wrong, [], 'no id is lost, no end changes, no answer is of no run')
  t.ok(storm.answered.size >= KILLS * JOBS_EACH, `${storm.answered.size} jobs`)
  t.equal(storm.killsInTick, KILLS / 2, 'kills in the tick in which the id was read')
  t.equal(storm.killsInRun, KILLS / 2, 'kills in the middle of a run')
  const again = [...storm.runs.values()].filter((times) => times > 1)
  t.ok(again.length > 0, `${again.length} runs were lost and begun again`)
  await untilTrue('the end of all uploads', async () => {
    return (await readdir(join(home, 'data', 'jobs', 'uploads'))).length === 0
  })
  const failed = [...storm.ends.values()].filter(({ status }) => status === 'failed')
  const most = (values: number[]) => Math.round(Math.max(...values))
  t.comment(
    `${storm.answered.size} jobs answered, ${failed.length} lost three times, ` +
      `${storm.lostAnswers} answers lost, experts gone after ${most(storm.goneMs)} ms at most, ` +
      `hosts back after ${most(storm.startMs)} ms at most, settled in ${Math.round(storm.settleMs)} ms`
  )
})
