import { skipWithout } from '@nebula-experts/sdk/testing'
import t, { type Test } from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { makeLatches } from '../support/latches.ts'
import { notedRuns } from '../support/noted-runs.js'
import { makeHome, spawnHost } from '../support/start-host.ts'
import { stormWebhooks } from '../support/webhook-storm.js'

async function storm(t: Test, more: Record<string, string>): Promise<void> {
  const { dir } = await makeLatches(t)
  const home = await makeHome(t, {
    files: { quick: notedRuns('quick') },
    config: { experts: { quick: { env: { LATCH_DIR: dir }, concurrency: 4 } } }
  })
  const told = await stormWebhooks({
    start: async (env) => {
      const { url, child, exited } = await spawnHost(t, { home, env: { ...env, ...more } })
      return { url, kill: () => child.kill('SIGKILL'), exited }
    },
    jobs: 60,
    kills: 2
  })
  t.strictSame(told.missing.slice(0, 5), [], 'each event of each job came')
  t.strictSame(told.unsigned, [], 'each signature fits')
  t.strictSame(told.disorder, [], 'a job never tells an event after a later one')
  t.equal(told.left, 0, 'nothing is left, nothing was given up')
  t.ok(told.requests > told.wanted, `${told.requests} requests of ${told.wanted} deliveries`)
}

const what = 'kill -9 of the host within its deliveries: each is made, signed and in order'
t.test(what, (t) => storm(t, {}))
t.test(`on a Redis: ${what}`, { skip: skipWithout('redis-server') }, async (t) =>
  storm(t, { REDIS_URL: (await startRedis(t)).url })
)
