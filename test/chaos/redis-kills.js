// Two hosts on one Redis under load, each killed with kill -9 20 times in turn; then the Redis itself, five times
// (append-only, always). Every job whose id was answered ends, and ends once.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startRedis } from '../../bench/redis.js'
import { JobClients } from '../support/job-clients.js'
import { percentile, startOn } from './chaos-host.js'
import { prepareSharing, stopAll } from './sharing-hosts.js'

const KILLS_EACH = 20
const REDIS_KILLS = 5
const JOBS_BETWEEN = 40
/** Between two jobs of a client: no more than 10,000 are kept. */
const PAUSE_MS = 10

export default async function redisKills() {
  const redis = await startRedis('always')
  if (redis === null) return [{ what: 'not run here', found: 'needs redis-server', kept: true }]
  const folder = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = new Set()
  let hosts = []
  const clients = new JobClients(() => hosts.map(({ url }) => url), { pauseMs: PAUSE_MS })
  try {
    const homes = await prepareSharing(folder, ['left', 'right'])
    const env = { REDIS_URL: redis.url, JOBS_EXPIRATION: '3600' }
    const start = (home) => startOn(home, { env, children })
    hosts = await Promise.all(homes.map(start))
    clients.start(4)
    const notReadyMs = []
    for (let kill = 0; kill < KILLS_EACH * 2; kill++) {
      await clients.answeredMore(JOBS_BETWEEN)
      const side = kill % 2
      hosts[side].kill()
      await hosts[side].exited
      await clients.look(1 - side)
      hosts[side] = await start(homes[side])
    }
    for (let kill = 0; kill < REDIS_KILLS; kill++) {
      await clients.answeredMore(JOBS_BETWEEN)
      await redis.kill()
      const from = performance.now()
      await readiness(clients, 503)
      await redis.start()
      await readiness(clients, 200)
      notReadyMs.push(performance.now() - from)
    }
    await clients.stop()
    const settleMs = await clients.settle()
    return figures(clients, clients.judge(folder), settleMs, notReadyMs)
  } finally {
    await stopAll(clients, children)
    await redis.stop()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function figures({ answered, ends }, { lost, wrong, failed, runs }, settleMs, notReadyMs) {
  const times = [...runs.values()]
  const again = times.filter((one) => one > 1).length
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
      found: `${again} of ${times.length}, at most ${Math.max(...times)} times`,
      kept: again > 0 && Math.max(...times) <= 4
    },
    {
      what: 'Redis killed until both hosts were ready again',
      found: `median ${Math.round(percentile(notReadyMs, 0.5))} ms; all ended ${Math.round(settleMs)} ms after the last job`,
      kept: true
    }
  ]
}

/** Resolves when both hosts say so of themselves. */
async function readiness(clients, status) {
  const end = performance.now() + 30_000
  for (const side of [0, 1]) {
    while ((await clients.ask(side, '/health/ready')).status !== status) {
      if (performance.now() > end) throw new Error(`waited in vain for ${status}`)
      await pause(10)
    }
  }
}
