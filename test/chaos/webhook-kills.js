// 1,000 deliveries of webhooks to a receiver that fails a third of all requests, and 5 × kill -9 of the host in the
// middle of them: each is delivered at least once, signed, and those of one job in order.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { notedRuns } from '../support/noted-runs.js'
import { stormWebhooks } from '../support/webhook-storm.js'
import { startOn, writeHome } from './chaos-host.js'

const DELIVERIES = 1000
const KILLS = 5

export default async function webhookKills() {
  const home = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = new Set()
  try {
    const experts = { quick: { env: { LATCH_DIR: home }, concurrency: 4 } }
    await writeHome(home, { quick: notedRuns('quick') }, experts)
    const storm = await stormWebhooks({
      start: (env) => startOn(home, { env, children }),
      jobs: DELIVERIES / 2,
      kills: KILLS
    })
    const { requests, deliveries, wanted, missing, unsigned, disorder, left, ms } = storm
    return [
      {
        what: `deliveries of ${storm.accepted} jobs past ${KILLS} kills`,
        found: `${wanted - missing.length} of ${wanted}; ${missing.length} missing, ${left} left or given up`,
        kept: wanted === DELIVERIES && missing.length === 0 && left === 0
      },
      {
        what: 'requests',
        found: `${requests}, of which a third was failed; ${deliveries} different webhook-ids`,
        kept: requests > wanted && deliveries >= wanted
      },
      {
        what: 'signatures that do not fit',
        found: `${unsigned.length} ${unsigned[0] ?? ''}`,
        kept: unsigned.length === 0
      },
      {
        what: 'events of a job after a later one',
        found: `${disorder.length} ${disorder[0] ?? ''}`,
        kept: disorder.length === 0
      },
      { what: 'all told', found: `after ${Math.round(ms)} ms`, kept: true }
    ]
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rm(home, { recursive: true, force: true })
  }
}
