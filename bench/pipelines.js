// What one item of a pipeline costs, and whether that grows with the pipeline: a task that does nothing, through a real
// host with a process for its expert; and what it sends to ArangoDB, counted by the double that the tests use.
import { readFileSync } from 'node:fs'
import { startDouble } from './arango-double.js'
import { cpuOf, movies, startHost } from './servers.js'

const FEW = 1000
const MORE = 10_000
const MANY = 100_000
const ROUNDS = 3
/** Pipelines of each size in a round: a short one alone says little. */
const TIMES = { [FEW]: 10, [MORE]: 2, [MANY]: 1 }

export default async function pipelines() {
  return [...(await costs()), ...(await traffic())]
}

/** Each size has a host of its own, so that one's store is not another's; rounds go over all of them in turn. */
async function costs() {
  const sizes = [FEW, MORE, MANY]
  const hosts = await Promise.all(sizes.map(() => startHost([movies], {})))
  const rounds = []
  const peaks = {}
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const cost = {}
      for (const [place, size] of sizes.entries()) cost[size] = await costOf(hosts[place], size)
      rounds.push(cost)
    }
    for (const [place, size] of sizes.entries()) peaks[size] = peakMemory(hosts[place].pid)
  } finally {
    await Promise.all(hosts.map((host) => host.stop()))
  }
  const middle = (size, what) => median(rounds.map((cost) => cost[size][what]))
  const shown = (size) =>
    `${Math.round(middle(size, 'cpuMs') * 1000)} µs and ${Math.round(1000 / middle(size, 'ms'))} items/s`
  const against = (size, other) => ({
    what: `the host's CPU time for an item of ${size} movies, against ${other}`,
    ratio: median(rounds.map((cost) => cost[size].cpuMs / cost[other].cpuMs)),
    value: `${shown(size)} against ${shown(other)}`,
    atMost: 1.3
  })
  return [
    against(MORE, FEW),
    against(MANY, FEW),
    // A short pipeline is mostly its beginning and its end: between long ones only the items count.
    against(MANY, MORE),
    {
      what: `most memory of the host with pipelines of ${MANY} movies, against ${FEW}`,
      ratio: peaks[MANY] / peaks[FEW],
      value: `${megabytes(peaks[MANY])} MB against ${megabytes(peaks[FEW])} MB`,
      atMost: 3
    }
  ]
}

/** What items send to ArangoDB, and how often the whole document is written for them. */
async function traffic() {
  const few = await trafficOf(FEW)
  const more = await trafficOf(MORE)
  const perItem = (what, name, most) => [
    {
      what: `${what} for an item on ArangoDB, of ${MORE} movies`,
      ratio: more[name],
      value: `${more.seconds.toFixed(1)} s in all`,
      atMost: most
    },
    {
      what: `and against ${FEW} movies`,
      ratio: more[name] / few[name],
      value: `${Math.round(more[name])} against ${Math.round(few[name])}`,
      atMost: 1.3
    }
  ]
  const rewritten = (size, { rewrites, document, seconds }) => ({
    what: `writes of the document of ${size} movies, against one in 4 s and four more`,
    ratio: rewrites / (seconds / 4 + 4),
    value: `${rewrites.toFixed(1)} times ${Math.round(document / 1000)} kB in ${seconds.toFixed(1)} s`,
    atMost: 1
  })
  return [
    ...perItem('bytes sent', 'received', 1500),
    ...perItem("characters of items' records written", 'records', 3000),
    rewritten(FEW, few),
    rewritten(MORE, more)
  ]
}

async function trafficOf(size) {
  const double = await startDouble()
  const host = await startHost([movies], {}, double.env)
  try {
    const key = await create(host, size)
    await double.traffic()
    const began = performance.now()
    await runToEnd(host, key)
    const seconds = (performance.now() - began) / 1000
    const { received, written } = await double.traffic()
    const document = (await (await fetch(`${host.url}/pipelines/${key}`)).text()).length
    return {
      received: received / size,
      records: written.pipeline_items / size,
      rewrites: written.pipelines / document,
      document,
      seconds
    }
  } finally {
    await host.stop()
    await double.stop()
  }
}

/**
 * Runs some pipelines one after another.
 * @returns milliseconds for each item, between start and end as the host notes them and of its processor
 */
async function costOf(host, size) {
  let ms = 0
  let cpuMs = 0
  for (let time = 0; time < TIMES[size]; time++) {
    const key = await create(host, size)
    const cpu = cpuOf(host.pid)
    const document = await runToEnd(host, key)
    cpuMs += cpuOf(host.pid) - cpu
    ms += Date.parse(document.finished_at) - Date.parse(document.started_at)
  }
  const items = TIMES[size] * size
  return { ms: ms / items, cpuMs: cpuMs / items }
}

async function create({ url }, size) {
  const { _key: key } = await post(url, '/pipelines', {
    movies: Array.from({ length: size }, (_, i) => `Movies/${i}`),
    plan: [{ expert: 'movies' }]
  })
  return key
}

async function runToEnd({ url }, key) {
  await post(url, `/pipelines/${key}/run`)
  // The stream ends when the pipeline has.
  await (await fetch(`${url}/pipelines/${key}/events`)).text()
  const document = await (await fetch(`${url}/pipelines/${key}?movies=false`)).json()
  if (document.status !== 'succeeded') throw new Error(`a pipeline is ${document.status}`)
  return document
}

async function post(url, path, body) {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body)
  })
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  return response.json()
}

/** The most that a process has had resident, bytes. */
function peakMemory(pid) {
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(kilobytes) * 1024
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}

function megabytes(bytes) {
  return Math.round(bytes / 1024 / 1024)
}
