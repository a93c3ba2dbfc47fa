// Two hosts under load whose Redis (append-only, always) is away for a minute: once not there (kill -9), once stopped in its
// tracks (SIGSTOP), so that it takes connections and never answers. The hosts say that they are not ready and why,
// callers are told so soon, nothing piles up, and both go on by themselves.
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startRedis } from '../../bench/redis.js'
import { JobClients } from '../support/job-clients.js'
import { percentile, startOn } from './chaos-host.js'
import { prepareSharing, stopAll } from './sharing-hosts.js'

const AWAY_MS = 60_000
const HELD = 4
/** An answer of a host whose Redis hangs: its own limit of 10 s for that, and a little. */
const SLOWEST_MS = 11_000
const MOST_GROWTH_MB = 40
/** What is said once and not each second, beside a line for each run that cannot write its end. */
const MOST_LINES = 60

export default async function redisAway() {
  const redis = await startRedis('always')
  if (redis === null) return [{ what: 'not run here', found: 'needs redis-server', kept: true }]
  const folder = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = new Set()
  let hosts = []
  const clients = new JobClients(() => hosts.map(({ url }) => url), { pauseMs: 20 })
  try {
    const homes = await prepareSharing(folder, ['left', 'right'])
    const env = { REDIS_URL: redis.url, JOBS_EXPIRATION: '3600' }
    hosts = await Promise.all(homes.map((home) => startOn(home, { env, children })))
    clients.start(4)
    const absences = [
      { how: 'gone', leave: redis.kill, comeBack: redis.start },
      { how: 'hanging', leave: redis.freeze, comeBack: redis.resume }
    ]
    const seen = []
    for (const absence of absences) {
      await clients.answeredMore(200)
      seen.push(await watch(absence, { clients, hosts, folder }))
    }
    await clients.answeredMore(200)
    await clients.stop()
    const settleMs = await clients.settle()
    const alike = await clients.compare()
    const verdict = clients.judge(folder)
    return [
      ...seen.flatMap(figuresOf),
      {
        what: 'jobs answered before, between and after',
        found: `${clients.answered.size}, ${verdict.lost.length} lost ${verdict.lost[0] ?? ''}; ${alike} are the same at both hosts`,
        kept: verdict.lost.length === 0 && alike === clients.answered.size
      },
      {
        what: 'their ends',
        found: `${clients.ends.size}, ${verdict.wrong.length} wrong or twice ${verdict.wrong[0] ?? ''}; ${verdict.failed} failed; all ended ${Math.round(settleMs)} ms after the last`,
        kept: verdict.wrong.length === 0 && verdict.failed === 0
      }
    ]
  } finally {
    await stopAll(clients, children)
    await redis.stop()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Sees through one absence, in which runs end that had begun before. */
async function watch({ how, leave, comeBack }, { clients, hosts, folder }) {
  const sides = [...hosts.keys()]
  const held = await holdRuns(clients, how, folder)
  const before = hosts.map(({ pid }) => memoryOf(pid))
  const logged = hosts.map((host) => host.logged())
  const answers = []
  const readiness = sides.map(() => new Map())
  const reasons = new Set()
  await leave()
  const from = performance.now()
  const waited = []
  const notReadyMs = sides.map(() => null)
  clients.onAnswer = ({ status, ms, retryAfter }) => {
    answers.push({ status, ms, retryAfter, at: performance.now() - from })
  }
  while (performance.now() - from < AWAY_MS) {
    for (const side of sides) {
      // What somebody waits for needs no Redis.
      waited.push(
        await clients.ask(side, '/experts/quick/predict', { movie_id: 'm', local: false })
      )
      const { status, json, ms } = await clients.ask(side, '/health/ready')
      readiness[side].set(status, Math.max(readiness[side].get(status) ?? 0, ms))
      if (status !== 503) continue
      notReadyMs[side] ??= performance.now() - from
      for (const reason of json.reasons) reasons.add(reason)
    }
    if (performance.now() - from > AWAY_MS / 2) {
      for (const { name } of held) await writeFile(join(folder, name), '')
    }
    await pause(100)
  }
  const after = hosts.map(({ pid }) => memoryOf(pid))
  const lines = Math.max(...hosts.map((host, side) => host.logged() - logged[side]))
  clients.onAnswer = () => {}
  await comeBack()
  const back = performance.now()
  const backMs = []
  for (const side of sides) {
    while ((await clients.ask(side, '/health/ready')).status !== 200) {
      if (performance.now() - back > 30_000) throw new Error('waited in vain for a ready host')
      await pause(10)
    }
    backMs.push(performance.now() - back)
  }
  const ends = []
  for (const { id } of held) ends.push(await endOf(clients, id))
  const grownMb = Math.max(...after.map((bytes, side) => (bytes - before[side]) / 2 ** 20))
  return {
    how,
    answers,
    waited,
    notReadyMs,
    reasons,
    readiness,
    backMs,
    held,
    ends,
    folder,
    grownMb,
    lines
  }
}

function figuresOf(seen) {
  const { how, answers, waited, notReadyMs, reasons, readiness } = seen
  const { backMs, held, ends, folder, grownMb, lines } = seen
  const ran = waited.filter(({ status }) => status === 200).length
  const refused = answers.filter(({ status }) => status === 503)
  const others = answers.filter(({ status }) => status !== 503)
  const late = others.filter(({ at }) => at > SLOWEST_MS)
  const slowest = Math.max(...answers.map(({ ms }) => ms))
  const looks = Math.max(...readiness.flatMap((one) => [...one.values()]))
  const once = held.filter(({ id }, at) => {
    const starts = startsOf(folder, id)
    return starts === 1 && ends[at]?.status === 'succeeded' && ends[at].attempts === 1
  })
  return [
    {
      what: `Redis ${how} for a minute: readiness`,
      found: `503 after ${notReadyMs.map(Math.round).join(' and ')} ms, each look at most ${Math.round(looks)} ms; ${[...reasons].join('; ')}`,
      kept: notReadyMs.every((ms) => ms !== null && ms < SLOWEST_MS) && reasons.size > 0
    },
    {
      what: `Redis ${how}: callers`,
      found: `${refused.length} × 503, ${others.length} others; median ${percentile(
        answers.map(({ ms }) => ms),
        0.5
      ).toFixed(1)} ms, longest ${Math.round(slowest)} ms`,
      kept:
        refused.length > 1000 &&
        refused.every(({ retryAfter }) => Number(retryAfter) > 0) &&
        late.length === 0 &&
        slowest < SLOWEST_MS
    },
    {
      what: `Redis ${how}: predictions that somebody waits for`,
      found: `${ran} of ${waited.length} answered, longest ${Math.round(Math.max(...waited.map(({ ms }) => ms)))} ms`,
      kept: ran === waited.length
    },
    {
      what: `Redis ${how}: runs under way that ended meanwhile`,
      found: `${once.length} of ${held.length} begun and ended once`,
      kept: once.length === HELD
    },
    {
      what: `Redis ${how}: memory and log of a host`,
      found: `${grownMb.toFixed(1)} MB more and ${lines} lines at most`,
      kept: grownMb < MOST_GROWTH_MB && lines < MOST_LINES
    },
    {
      what: `Redis ${how}: ready again`,
      found: `${backMs.map(Math.round).join(' and ')} ms after it was back`,
      kept: true
    }
  ]
}

/** Jobs that run when this resolves, until a file of their name is there. */
async function holdRuns(clients, how, folder) {
  const held = []
  for (let at = 0; at < HELD; at++) {
    const name = `held-${how}-${at}`
    const body = { image_id: name, url: 'hold 1', is_async: true }
    const { json } = await clients.ask(at % 2, '/experts/slow/predict/image', body)
    held.push({ name, id: json.jobId })
  }
  const end = performance.now() + 30_000
  while (held.some(({ id }) => startsOf(folder, id) === 0)) {
    if (performance.now() > end) throw new Error('waited in vain for runs')
    await pause(20)
  }
  return held
}

async function endOf(clients, id) {
  const end = performance.now() + 60_000
  while (performance.now() < end) {
    const { json } = await clients.ask(0, `/jobs/${id}`)
    if (json?.[id]?.state === 'finish') return json[id]
    await pause(50)
  }
  return undefined
}

function startsOf(folder, id) {
  const file = join(folder, 'events.ndjson')
  if (!existsSync(file)) return 0
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.filter((line) => line.includes('"start"') && line.includes(id)).length
}

/** Resident, bytes. */
function memoryOf(pid) {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(kilobytes) * 1024
}
