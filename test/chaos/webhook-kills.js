// 1,000 deliveries of webhooks to a receiver that fails a third of all requests, and 5 × kill -9 of the host in the
// middle of them: each is delivered at least once, signed, and those of one job in order. Then the same on a Redis, with a
// second host beside it.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedis } from '../../bench/redis.js'
import { notedRuns } from '../support/noted-runs.js'
import { stormWebhooks } from '../support/webhook-storm.js'
import { startOn, writeHome } from './chaos-host.js'

const DELIVERIES = 1000
const KILLS = 5

export default async function webhookKills() {
  const rows = await killOn('one host', ['left'], {})
  const redis = await startRedis('always')
  if (redis === null) {
    return [...rows, { what: 'two hosts', found: 'not run here: needs redis-server', kept: true }]
  }
  try {
    const env = { REDIS_URL: `redis://127.0.0.1:${redis.port}` }
    return [...rows, ...(await killOn('two hosts', ['left', 'right'], env))]
  } finally {
    await redis.stop()
  }
}

/** Hosts with these homes, of which the first is killed. */
async function killOn(who, names, more) {
  const folder = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = new Set()
  const [killed, ...others] = names.map((name) => join(folder, name))
  try {
    const experts = { quick: { env: { LATCH_DIR: folder }, concurrency: 4 } }
    for (const home of [killed, ...others]) {
      await writeHome(home, { quick: notedRuns('quick') }, experts)
    }
    const storm = await stormWebhooks({
      start: async (env) => {
        const options = { env: { ...env, ...more }, children }
        for (const home of others.splice(0)) await startOn(home, options)
        return startOn(killed, options)
      },
      jobs: DELIVERIES / 2,
      kills: KILLS
    })
    return figures(who, storm)
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function figures(who, storm) {
  const { requests, deliveries, wanted, missing, unsigned, disorder, left, ms } = storm
  return [
    {
      what: `${who}: deliveries of ${storm.accepted} jobs past ${KILLS} kills`,
      found: `${wanted - missing.length} of ${wanted}; ${missing.length} missing, ${left} left or given up`,
      kept: wanted === DELIVERIES && missing.length === 0 && left === 0
    },
    {
      what: `${who}: requests`,
      found: `${requests}, of which a third was failed; ${deliveries} different webhook-ids`,
      kept: requests > wanted && deliveries >= wanted
    },
    {
      what: `${who}: signatures that do not fit`,
      found: `${unsigned.length} ${unsigned[0] ?? ''}`,
      kept: unsigned.length === 0
    },
    {
      what: `${who}: events of a job after a later one`,
      found: `${disorder.length} ${disorder[0] ?? ''}`,
      kept: disorder.length === 0
    },
    { what: `${who}: all told`, found: `after ${Math.round(ms)} ms`, kept: true }
  ]
}
