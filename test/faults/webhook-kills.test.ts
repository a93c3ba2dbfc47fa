import t from 'tap'
import { makeLatches } from '../support/latches.ts'
import { notedRuns } from '../support/noted-runs.js'
import { makeHome, spawnHost } from '../support/start-host.ts'
import { stormWebhooks } from '../support/webhook-storm.js'

t.test(
  'kill -9 of the host within its deliveries: each is made, signed and in order',
  async (t) => {
    const { dir } = await makeLatches(t)
    const home = await makeHome(t, {
      files: { quick: notedRuns('quick') },
      config: { experts: { quick: { env: { LATCH_DIR: dir }, concurrency: 4 } } }
    })
    const storm = await stormWebhooks({
      start: async (env) => {
        const { url, child, exited } = await spawnHost(t, { home, env })
        return { url, kill: () => child.kill('SIGKILL'), exited }
      },
      jobs: 60,
      kills: 2
    })
    t.strictSame(storm.missing.slice(0, 5), [], 'each event of each job came')
    t.strictSame(storm.unsigned, [], 'each signature fits')
    t.strictSame(storm.disorder, [], 'a job never tells an event after a later one')
    t.equal(storm.left, 0, 'nothing is left, nothing was given up')
    t.ok(storm.requests > storm.wanted, `${storm.requests} requests of ${storm.wanted} deliveries`)
  }
)
