// Three hosts on one Redis (append-only, always) and one database (a double of ArangoDB), killed with kill -9 in turn,
// one at a time, while clients ask them for jobs and one pipeline of 3,000 items runs. Nothing is lost, nothing is
// recorded twice, and in the end each host says the same of all of it.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { startRedis } from '../../bench/redis.js'
import { JobClients } from '../support/job-clients.js'
import { stormPipeline } from '../support/pipeline-storm.js'
import { startArangoDouble } from './arango.js'
import { percentile, startOn } from './chaos-host.js'
import { prepareSharing, stopAll } from './sharing-hosts.js'

const KILLS_EACH = 4
const MOVIES = 1500
const EXPERTS = ['first', 'second']
/** Between two jobs of a client: no more than 10,000 are kept. */
const PAUSE_MS = 100

export default async function sharedKills() {
  const redis = await startRedis('always')
  if (redis === null) return [{ what: 'not run here', found: 'needs redis-server', kept: true }]
  const folder = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = new Set()
  const urls = ['', '', '']
  const clients = new JobClients(() => urls, { pauseMs: PAUSE_MS })
  try {
    const homes = await prepareSharing(folder, ['a', 'b', 'c'], EXPERTS)
    const env = {
      ...(await startArangoDouble(children)),
      ...{ REDIS_URL: redis.url, JOBS_EXPIRATION: '3600' }
    }
    let started = 0
    const kills = KILLS_EACH * homes.length
    const storm = await stormPipeline({
      hosts: homes.map((home, side) => async () => {
        const host = await startOn(home, { env, children })
        urls[side] = host.url
        started += 1
        // From when all are there, through every kill.
        if (started === homes.length) clients.start(2 * homes.length)
        if (started > homes.length) await clients.look((side + 1) % homes.length)
        return host
      }),
      latchDir: folder,
      kills,
      killEvery: 60,
      movies: Array.from({ length: MOVIES }, (_, at) => `Movies/${at + 1}`),
      plan: EXPERTS.map((expert, at) => ({
        expert,
        depends_on: EXPERTS.slice(0, at),
        extra_params: { how: 'ms 300' }
      })),
      limitMs: 200_000
    })
    await clients.stop()
    const settleMs = await clients.settle()
    const alike = await clients.compare()
    const pipelines = await Promise.all(urls.map((_, side) => pipelineAt(clients, side)))
    const verdict = clients.judge(folder)
    return [
      ...figuresOfJobs(clients, verdict, kills, settleMs),
      ...figuresOfItems(storm, kills),
      {
        what: 'answers that are the same at each host',
        found: `${alike} of ${clients.answered.size} jobs; a pipeline of ${pipelines[0].items.length} items`,
        kept:
          alike === clients.answered.size &&
          pipelines[0].items.length === storm.items &&
          pipelines.every((one) => isDeepStrictEqual(one, pipelines[0]))
      }
    ]
  } finally {
    await stopAll(clients, children)
    await redis.stop()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

function figuresOfJobs({ answered, ends }, { lost, wrong, failed, runs }, kills, settleMs) {
  const times = [...runs.values()]
  const again = times.filter((one) => one > 1).length
  return [
    {
      what: `jobs answered within ${kills} kills of three hosts`,
      found: `${answered.size}, ${lost.length} lost ${lost[0] ?? ''}`,
      kept: answered.size >= 1000 && lost.length === 0
    },
    {
      what: 'their ends',
      found: `${ends.size}, ${failed} failed after 3 losses; ${wrong.length} wrong or twice ${wrong[0] ?? ''}; all ended ${Math.round(settleMs)} ms after the last`,
      kept: wrong.length === 0
    },
    {
      what: 'their runs',
      found: `${times.length} items, ${again} begun again, at most ${Math.max(...times)} times`,
      kept: again > 0
    }
  ]
}

function figuresOfItems({ wrong, items, seen, runs, attempts, startMs, settleMs }, kills) {
  const times = [...runs.values()]
  const again = times.filter((one) => one > 1).length
  return [
    {
      what: `items of the pipeline within ${kills} kills`,
      found: `${items}, ${seen} seen finished before the last; ${wrong.length} wrong ${wrong[0] ?? ''}`,
      kept: wrong.length === 0 && seen > 0
    },
    {
      what: 'their runs',
      found: `${times.reduce((sum, one) => sum + one, 0)} of ${times.length}, ${again} begun again, at most ${Math.max(...times)} times, ${attempts} attempts counted`,
      kept: again > 0 && Math.max(...times) <= 1 + kills
    },
    {
      what: 'restarts until all is served',
      found: `median ${Math.round(percentile(startMs, 0.5))} ms, longest ${Math.round(Math.max(...startMs))} ms; ended ${Math.round(settleMs)} ms after the last`,
      kept: true
    }
  ]
}

/** What a host says of the pipeline. */
async function pipelineAt(clients, side) {
  const { json: document } = await clients.ask(side, '/pipelines/storm')
  const items = []
  for (let cursor = ''; cursor !== null; ) {
    const { json } = await clients.ask(side, `/pipelines/storm/items?limit=1000${cursor}`)
    items.push(...json.items)
    cursor = json.next === null ? null : `&cursor=${encodeURIComponent(json.next)}`
  }
  return { document, items }
}
