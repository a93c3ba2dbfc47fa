// Durable jobs accepted and finished: our jobs against BullMQ on a Redis of its own, each alone with a
// run that does nothing; and then the whole host, over HTTP and with a process for its expert.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import autocannon from 'autocannon'
import { inFlight, ofBullmq } from './bullmq-alone.js'
import { startJobs } from './jobs-alone.js'
import { startRedis } from './redis.js'
import { gated, startHost } from './servers.js'

const JOBS = Number(process.env.BENCH_JOBS ?? 10_000)
const ROUNDS = 3
const IN_FLIGHT = 64
const body = { movie_id: 'Movies/92363371', local: false, is_async: true }

export default async function durableJobs() {
  const rounds = { alone: [], host: [], always: [], everysec: [] }
  for (let round = 0; round < ROUNDS; round++) {
    rounds.alone.push(await ofJobsAlone())
    for (const appendfsync of ['always', 'everysec']) {
      const redis = await startRedis(appendfsync)
      if (redis === null) {
        console.log('  not run here: durable-jobs (needs redis-server)')
        return []
      }
      rounds[appendfsync].push(
        await ofBullmq({ port: redis.port, amount: JOBS, atOnce: IN_FLIGHT }).finally(redis.stop)
      )
    }
    rounds.host.push(await ofHost())
  }
  return ['accepted', 'finished'].flatMap((what) => {
    const row = (ours, theirs, goal) => ({
      what: `durable jobs ${what}/s: ${ours}, against BullMQ with appendfsync ${theirs}`,
      ratio: median(rounds[ours].map((round, i) => round[what] / rounds[theirs][i][what])),
      value: `${middle(rounds[ours], what)} against ${middle(rounds[theirs], what)}`,
      ...goal
    })
    return [row('alone', 'always', { atLeast: 1 }), row('alone', 'everysec'), row('host', 'always')]
  })
}

async function ofJobsAlone() {
  const jobs = await startJobs({ concurrency: IN_FLIGHT })
  try {
    const accepting = await inFlight(JOBS, IN_FLIGHT, () => jobs.submit(JSON.stringify(body)))
    const began = performance.now()
    await jobs.runAll(JOBS)
    return { accepted: JOBS / accepting, finished: (JOBS * 1000) / (performance.now() - began) }
  } finally {
    await jobs.stop()
  }
}

async function ofHost() {
  const home = await mkdtemp(join(tmpdir(), 'nebula-bench-gate-'))
  const gate = join(home, 'open')
  const server = await startHost(
    [gated],
    { gated: { concurrency: IN_FLIGHT, env: { GATE: gate } } },
    { JOBS_EXPIRATION: '86400' }
  )
  try {
    await post(server, IN_FLIGHT, { ...body, movie_id: 'hold' })
    await until(server, (counts) => counts.running === IN_FLIGHT)
    const accepting = await post(server, JOBS, body)
    const began = performance.now()
    await writeFile(gate, '')
    await until(server, (counts) => counts.queued + counts.running === 0)
    return { accepted: JOBS / accepting, finished: (JOBS * 1000) / (performance.now() - began) }
  } finally {
    await server.stop()
    await rm(home, { recursive: true, force: true })
  }
}

/** Sends so many; every answer must be 200. @returns seconds */
async function post(server, amount, payload) {
  let last = 0
  const began = performance.now()
  const sending = autocannon({
    url: `${server.url}/predict`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(payload),
    connections: IN_FLIGHT,
    amount
  })
  // Its own clock ticks in whole seconds.
  sending.on('response', () => {
    last = performance.now()
  })
  const result = await sending
  const bad = result.errors + result.non2xx
  if (bad > 0) throw new Error(`${bad} of ${amount} jobs were not accepted`)
  return (last - began) / 1000
}

async function until(server, test) {
  for (;;) {
    const response = await fetch(`${server.url}/jobs?limit=1&counts=true`)
    if (test((await response.json()).counts)) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function middle(rounds, what) {
  return Math.round(median(rounds.map((round) => round[what])))
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}
