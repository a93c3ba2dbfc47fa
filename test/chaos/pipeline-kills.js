// 50 × kill -9 of the host within one pipeline of 5,000 items, /run sent once; then two hosts on one
// database (a double of ArangoDB) that are killed in turn. It goes on by itself, each item is recorded once as
// success, and what was seen finished is not begun again.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { notedItems } from '../support/noted-items.js'
import { stormPipeline } from '../support/pipeline-storm.js'
import { startArangoDouble } from './arango.js'
import { percentile, startOn, writeHome } from './chaos-host.js'

const EXPERTS = ['first', 'second']
const KILLS = 50
/** Few: what a killed host held is taken by the other one when its lease of 30 s has run out. */
const KILLS_OF_TWO = 6

export default async function pipelineKills() {
  return [...(await killOne()), ...(await killTwo())]
}

async function killOne() {
  return inFolder(async (home, children) => {
    await prepare(home, home)
    const storm = await stormPipeline({
      hosts: [() => startOn(home, { children })],
      latchDir: home,
      kills: KILLS,
      killEvery: 50,
      movies: moviesOf(2500),
      plan: planOf('ms 60'),
      limitMs: 300_000
    })
    return [...figures('one host', storm, KILLS), idleFigure(storm)]
  })
}

async function killTwo() {
  return inFolder(async (folder, children) => {
    const env = await startArangoDouble(children)
    const homes = [join(folder, 'left'), join(folder, 'right')]
    for (const home of homes) await prepare(home, folder)
    const storm = await stormPipeline({
      hosts: homes.map((home) => () => startOn(home, { env, children })),
      latchDir: folder,
      kills: KILLS_OF_TWO,
      killEvery: 60,
      movies: moviesOf(800),
      plan: planOf('ms 300'),
      limitMs: 300_000
    })
    return figures('two hosts', storm, KILLS_OF_TWO)
  })
}

function figures(who, storm, kills) {
  const { wrong, items, startMs, attempts } = storm
  const runs = [...storm.runs.values()]
  const again = runs.filter((times) => times > 1).length
  return [
    {
      what: `${who}: items within ${kills} kills`,
      found: `${items}, ${storm.seen} seen finished before the last; ${wrong.length} wrong ${wrong[0] ?? ''}`,
      kept: wrong.length === 0 && storm.seen > 0
    },
    {
      what: `${who}: runs`,
      found: `${runs.reduce((sum, one) => sum + one, 0)} of ${runs.length} items, ${again} begun again, at most ${Math.max(...runs)} times, ${attempts} attempts counted`,
      kept: again > 0 && Math.max(...runs) <= 1 + kills
    },
    {
      what: `${who}: restarts until all is served`,
      found: `${timesOf(startMs)}; ended ${Math.round(storm.settleMs)} ms after the last`,
      kept: true
    }
  ]
}

function idleFigure({ idleMs }) {
  return {
    what: 'one host: served until the pipeline went on',
    found: timesOf(idleMs),
    kept: Math.max(...idleMs) < 20_000
  }
}

function timesOf(values) {
  const [median, longest] = [percentile(values, 0.5), Math.max(...values)]
  return `median ${Math.round(median)} ms, longest ${Math.round(longest)} ms`
}

function planOf(how) {
  return EXPERTS.map((expert, at) => ({
    expert,
    depends_on: EXPERTS.slice(0, at),
    extra_params: { how }
  }))
}

function moviesOf(count) {
  return Array.from({ length: count }, (_, at) => `Movies/${at + 1}`)
}

async function inFolder(work) {
  const folder = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  const children = new Set()
  try {
    return await work(folder, children)
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** A home that serves the experts, which write what they do in `latchDir`. */
function prepare(home, latchDir) {
  const settings = { env: { LATCH_DIR: latchDir }, concurrency: 4 }
  const plugins = Object.fromEntries(EXPERTS.map((name) => [name, notedItems(name)]))
  return writeHome(home, plugins, Object.fromEntries(EXPERTS.map((name) => [name, settings])))
}
