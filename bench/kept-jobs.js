// What it costs to have many jobs: to ask for them, and in memory while they wait or are followed.
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import autocannon from 'autocannon'
import { gated, noop, startHost } from './servers.js'

const ROUNDS = 5
const CALLS = 200
const QUEUED = 100_000
const STREAMS = 1000
const body = { movie_id: 'Movies/92363371', local: false, is_async: true }

export default async function keptJobs() {
  return [...(await asking()), ...(await waiting())]
}

/** Times of one request after another, with few and with many jobs kept, side by side. */
async function asking() {
  const few = await hostWithKept(100)
  const many = await hostWithKept(10_000)
  const times = { list: { few: [], many: [] }, poll: { few: [], many: [] } }
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, server] of Object.entries({ few, many })) {
        times.list[name].push(await medianTime(server, '/jobs?limit=100'))
        times.poll[name].push(await medianTime(server, `/jobs/${server.someId}`))
      }
    }
  } finally {
    await few.stop()
    await many.stop()
  }
  return Object.entries({ list: 'listing 100 jobs', poll: 'polling one job' }).map(
    ([name, what]) => ({
      what: `${what}: 10,000 kept against 100 kept`,
      ratio: median(times[name].many) / median(times[name].few),
      value: `${median(times[name].many).toFixed(2)} ms against ${median(times[name].few).toFixed(2)} ms`,
      atMost: 1.5
    })
  )
}

async function hostWithKept(amount) {
  const server = await startHost([noop], { noop: {} }, { JOBS_EXPIRATION: '86400' })
  await post(server, amount)
  for (;;) {
    const { jobs, counts } = await get(server, '/jobs?limit=1&counts=true')
    if (counts.queued + counts.running === 0) return { ...server, someId: jobs[0].jobId }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Memory of the host with nothing, with many jobs in the line, and with many who follow one. */
async function waiting() {
  const home = await mkdtemp(join(tmpdir(), 'nebula-bench-gate-'))
  const server = await startHost([gated], { gated: { env: { GATE: join(home, 'open') } } })
  const agent = new Agent({ keepAlive: true, maxSockets: STREAMS })
  const streams = []
  try {
    await post(server, 64, 'hold')
    const empty = await settledMemory(server.pid)
    await post(server, QUEUED - 64)
    const full = await settledMemory(server.pid)
    const { jobs } = await get(server, `/jobs?limit=${STREAMS}`)
    for (const { jobId } of jobs) streams.push(await openStream(server, agent, jobId))
    const followed = await settledMemory(server.pid)
    return [
      {
        what: `memory of the host with ${QUEUED} jobs waiting, against none`,
        ratio: full / empty,
        value: `${megabytes(full)} MB against ${megabytes(empty)} MB`,
        atMost: 2
      },
      {
        what: `and with ${STREAMS} of them followed`,
        ratio: followed / full,
        value: `${megabytes(followed)} MB, ${Math.round((followed - full) / STREAMS / 1024)} kB a stream`,
        atMost: 2
      }
    ]
  } finally {
    for (const stream of streams) stream.destroy()
    process.kill(server.pid, 'SIGKILL')
    await rm(home, { recursive: true, force: true })
  }
}

function openStream(server, agent, jobId) {
  return new Promise((resolve, reject) => {
    const sent = request(`${server.url}/jobs/${jobId}/events`, { agent }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`a stream answered ${response.statusCode}`))
      response.once('data', () => resolve(sent))
    })
    sent.on('error', reject)
    sent.end()
  })
}

/** Lowest of some looks: what garbage is still there says nothing. */
async function settledMemory(pid) {
  let least = Number.POSITIVE_INFINITY
  for (let look = 0; look < 20; look++) {
    const [, pages] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')
    least = Math.min(least, Number(pages) * 4096)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return least
}

async function post(server, amount, movie = body.movie_id) {
  const result = await autocannon({
    url: `${server.url}/predict`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, movie_id: movie }),
    connections: 64,
    amount
  })
  const bad = result.errors + result.non2xx
  if (bad > 0) throw new Error(`${bad} of ${amount} jobs were not accepted`)
}

async function get(server, path) {
  return (await fetch(`${server.url}${path}`)).json()
}

async function medianTime(server, path) {
  const times = []
  for (let call = 0; call < CALLS; call++) {
    const began = performance.now()
    await get(server, path)
    times.push(performance.now() - began)
  }
  return median(times)
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}

function megabytes(bytes) {
  return Math.round(bytes / 1024 / 1024)
}
