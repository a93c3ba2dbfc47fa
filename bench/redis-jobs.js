// Jobs on a Redis that do nothing: ours, with their records, against BullMQ alone in the same run, both ways to
// write to disk; and our line without records, which says what those cost.
import { inFlight, ofBullmq } from './bullmq-alone.js'
import { startJobs } from './jobs-alone.js'
import { startRedis } from './redis.js'

const JOBS = Number(process.env.BENCH_JOBS ?? 10_000)
const ROUNDS = 3
const IN_FLIGHT = 64
const body = JSON.stringify({ movie_id: 'Movies/92363371', local: false, is_async: true })

export default async function redisJobs() {
  const rows = []
  for (const appendfsync of ['always', 'everysec']) {
    const rounds = []
    for (let round = 0; round < ROUNDS; round++) {
      const found = {}
      for (const [name, measure] of Object.entries({
        ours: ofJobs,
        line: ofLine,
        bullmq: ofTheirs
      })) {
        const redis = await startRedis(appendfsync)
        if (redis === null) {
          console.log('  not run here: redis-jobs (needs redis-server)')
          return []
        }
        found[name] = await measure(redis.port).finally(redis.stop)
      }
      rounds.push(found)
    }
    const row = (what, ours, theirs, goal) => ({
      what: `Redis jobs ${what}/s, appendfsync ${appendfsync}: ${ours} against ${theirs}`,
      ratio: median(rounds.map((round) => round[ours][what] / round[theirs][what])),
      value: `${middle(rounds, ours, what)} against ${middle(rounds, theirs, what)}`,
      ...goal
    })
    rows.push(
      row('finished', 'ours', 'bullmq', { atLeast: 0.8 }),
      row('accepted', 'ours', 'bullmq'),
      row('finished', 'ours', 'line'),
      row('accepted', 'ours', 'line')
    )
  }
  return rows
}

async function ofJobs(port) {
  const jobs = await startJobs({ concurrency: IN_FLIGHT, redisUrl: `redis://127.0.0.1:${port}` })
  try {
    const accepting = await inFlight(JOBS, IN_FLIGHT, () => jobs.submit(body))
    const began = performance.now()
    await jobs.runAll(JOBS)
    return { accepted: JOBS / accepting, finished: (JOBS * 1000) / (performance.now() - began) }
  } finally {
    await jobs.stop()
  }
}

/** A place in line, a claim and its end, and nothing else. */
async function ofLine(port) {
  const jobs = await startJobs({ concurrency: IN_FLIGHT, redisUrl: `redis://127.0.0.1:${port}` })
  const { dispatch } = jobs
  try {
    let id = 0
    const push = () => dispatch.push('noop', `job-${id++}`, { priority: 0 })
    const accepting = await inFlight(JOBS, IN_FLIGHT, push)
    const began = performance.now()
    for (let finished = 0; finished < JOBS; ) {
      const claims = await dispatch.claim('noop', IN_FLIGHT)
      await Promise.all(claims.map((claim) => dispatch.done(claim)))
      finished += claims.length
    }
    return { accepted: JOBS / accepting, finished: (JOBS * 1000) / (performance.now() - began) }
  } finally {
    await jobs.stop()
  }
}

function ofTheirs(port) {
  return ofBullmq({ port, amount: JOBS, atOnce: IN_FLIGHT })
}

function middle(rounds, whose, what) {
  return Math.round(median(rounds.map((round) => round[whose][what])))
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}
