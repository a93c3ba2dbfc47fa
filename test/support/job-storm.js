import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * What a host that serves `quick` and `slow` (both `noted-runs`) is asked for by four clients, while it is
 * killed and started again on the same home.
 *
 * @typedef {{ url: string, pid: number, exited: Promise<unknown> }} Started
 * @typedef {{ kind: string, items: string[], sha256: string | null }} Asked
 * @typedef {Record<string, any>} JobView
 *
 * @typedef {object} Storm
 * @property {Map<string, Asked>} answered every job whose id a client has read
 * @property {Map<string, JobView>} ends their records at the end
 * @property {string[]} wrong what broke a promise, in words
 * @property {number} lostAnswers requests that were under way when the host died
 * @property {number} killsInTick kills in the very tick in which a client had read an id
 * @property {number} killsInRun kills right after a run was seen to begin
 * @property {number[]} startMs from the start of a host's process until it listened
 * @property {number[]} goneMs from the kill until the last process of its experts was gone
 * @property {Map<string, number>} runs how often each item of each job was begun, by `job/item`
 * @property {number} settleMs from the last start until every job had ended
 *
 * @param {object} options
 * @param {() => Promise<Started>} options.start starts a host on the home, until it listens
 * @param {string} options.latchDir
 * @param {number} options.kills
 * @param {number} options.jobsEach ids to be answered before each kill
 * @param {(pid: number) => number[]} options.childrenOf
 * @param {(pid: number) => boolean} options.isRunning
 * @returns {Promise<Storm>}
 */
export async function stormJobs({ start, latchDir, kills, jobsEach, childrenOf, isRunning }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  /** @type {Storm} */
  const storm = {
    answered: new Map(),
    ends: new Map(),
    wrong: [],
    lostAnswers: 0,
    killsInTick: 0,
    killsInRun: 0,
    startMs: [],
    goneMs: [],
    runs: new Map(),
    settleMs: 0
  }
  const begin = async () => {
    const from = performance.now()
    const started = await start()
    storm.startMs.push(performance.now() - from)
    return started
  }
  let host = await begin()
  let isSubmitting = true
  let answeredNow = 0
  let killNext = false
  let isDead = false
  const kill = () => {
    killNext = false
    isDead = true
    process.kill(host.pid, 'SIGKILL')
  }
  /** What `/jobs` says of all jobs; an end that is not what it was before is told. */
  const look = async () => {
    const { json } = await send(agent, `${host.url}/jobs`, 'GET')
    for (const job of json.jobs) note(storm, job)
    return json.jobs
  }

  const client = async () => {
    for (let i = 0; isSubmitting; i++) {
      if (isDead) {
        await pause(2)
        continue
      }
      const { url } = host
      const asked = ask(i)
      try {
        const { status, json } = await send(agent, `${url}${asked.path}`, 'POST', asked, () => {
          if (killNext) {
            storm.killsInTick += 1
            kill()
          }
        })
        if (status !== 200) storm.wrong.push(`${asked.path} answered ${status}`)
        else {
          storm.answered.set(json.jobId, asked)
          answeredNow += 1
          const { json: found } = await send(agent, `${url}/jobs/${json.jobId}`, 'GET')
          if (found[json.jobId] === undefined) storm.wrong.push(`${json.jobId} is unknown at once`)
        }
      } catch {
        storm.lostAnswers += 1
        // Its connections end before this process is told that it is dead.
        await pause(2)
      }
    }
  }
  const clients = Promise.all(Array.from({ length: 4 }, client))
  try {
    for (let i = 0; i < kills; i++) {
      await until(`${jobsEach} ids`, () => answeredNow >= jobsEach)
      await look()
      const children = childrenOf(host.pid)
      if (i % 2 === 0) {
        killNext = true
        await until('an id', () => isDead)
      } else {
        const before = notes(latchDir).length
        const slow = (/** @type {any} */ one) => one.event === 'start' && one.id.startsWith('slow')
        await until('a run', () => notes(latchDir).slice(before).some(slow))
        storm.killsInRun += 1
        kill()
      }
      const killedAt = performance.now()
      await host.exited
      await until('the end of its experts', () => !children.some(isRunning))
      storm.goneMs.push(performance.now() - killedAt)
      host = await begin()
      answeredNow = 0
      isDead = false
      await look()
    }
    isSubmitting = false
    await clients
    const from = performance.now()
    await until(
      'the end of every job',
      async () => (await look()).every((/** @type {JobView} */ { state }) => state === 'finish'),
      60_000
    )
    storm.settleMs = performance.now() - from
    for (const id of storm.answered.keys()) {
      for (let times = 0; times < 2; times++) {
        const { json } = await send(agent, `${host.url}/jobs/${id}`, 'GET')
        if (json[id] === undefined) storm.wrong.push(`${id} is lost`)
        else note(storm, { jobId: id, ...json[id] })
      }
    }
  } finally {
    isSubmitting = false
    isDead = false
    await clients
    agent.destroy()
  }
  judge(storm, notes(latchDir), kills)
  return storm
}

/** Keeps the end of a job, and tells of one that is no longer what it was. @param {Storm} storm */
function note(storm, /** @type {JobView} */ job) {
  if (job.state !== 'finish') {
    if (storm.ends.has(job.jobId)) storm.wrong.push(`${job.jobId} had ended and is ${job.status}`)
    return
  }
  const before = storm.ends.get(job.jobId)
  if (before === undefined) storm.ends.set(job.jobId, job)
  else if (JSON.stringify(before) !== JSON.stringify(job)) {
    storm.wrong.push(`ended twice: ${JSON.stringify(before)} and ${JSON.stringify(job)}`)
  }
}

/** Holds each end against the runs that were written down. @param {Storm} storm */
function judge(storm, /** @type {any[]} */ events, /** @type {number} */ kills) {
  const finished = new Set()
  for (const { event, id, jobId, mark } of events) {
    const item = `${jobId}/${id}`
    if (event === 'start') storm.runs.set(item, (storm.runs.get(item) ?? 0) + 1)
    else finished.add(`${item}/${mark}`)
  }
  const bad = (/** @type {string} */ id, /** @type {string} */ what) =>
    storm.wrong.push(`${id} ${what}: ${JSON.stringify(storm.ends.get(id))}`)
  for (const [item, times] of storm.runs) {
    if (times > 1 + kills) storm.wrong.push(`${item} was begun ${times} times`)
  }
  for (const [id, { items, kind, sha256 }] of storm.answered) {
    const end = storm.ends.get(id)
    if (end === undefined) {
      storm.wrong.push(`${id} has no end`)
      continue
    }
    if (end.status === 'failed') {
      if (end.code !== 'HOST_JOB_LOST' || end.attempts !== 3) bad(id, 'failed')
      continue
    }
    if (end.status !== 'succeeded') bad(id, 'has not succeeded')
    const results = kind === 'list' ? end.results : [end]
    if (results?.length !== items.length) bad(id, `answers not ${items.length} items`)
    for (const [place, item] of items.entries()) {
      const { result, mark } = results?.[place] ?? {}
      if (result !== (sha256 ?? item)) bad(id, `answers not ${item}`)
      if (!finished.has(`${id}/${item}/${mark}`)) bad(id, `has the answer of no run of ${item}`)
    }
  }
}

let asked = 0

/** The next request of a client: each kind in turn, to the quick expert and the slow one. */
function ask(/** @type {number} */ turn) {
  asked += 1
  const name = turn % 3 === 2 ? 'slow' : 'quick'
  const how = name === 'slow' ? 'ms 30' : '-'
  const kind = /** @type {const} */ (['image', 'movie', 'list', 'upload'])[turn % 4]
  const id = `${name} ${asked}`
  const base = `/experts/${name}`
  const is_async = true
  const json = (/** @type {string} */ path, /** @type {object} */ body, items = [id]) => ({
    ...{ kind, items, sha256: null, path: `${base}/${path}`, type: 'application/json' },
    body: Buffer.from(JSON.stringify({ ...body, is_async }))
  })
  if (kind === 'movie') {
    return json('predict', { movie_id: id, local: false, extra_params: { how } })
  }
  if (kind === 'list') {
    const items = [0, 1, 2].map((place) => `${id}.${place}`)
    const images = items.map((item) => ({ image_id: item, url: how }))
    return json('predict/images', { images }, items)
  }
  if (kind === 'image') return json('predict/image', { image_id: id, url: how })
  const bytes = Buffer.alloc(20_000, `${id} `)
  const field = (/** @type {string} */ key, /** @type {string} */ value) =>
    `--edge\r\ncontent-disposition: form-data; name="${key}"\r\n\r\n${value}\r\n`
  const body = Buffer.concat([
    Buffer.from(field('id', id) + field('how', how) + field('is_async', 'true')),
    Buffer.from(
      '--edge\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n' +
        'content-type: application/octet-stream\r\n\r\n'
    ),
    bytes,
    Buffer.from('\r\n--edge--\r\n')
  ])
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const type = 'multipart/form-data; boundary=edge'
  return { kind, items: [id], sha256, path: `${base}/weigh`, type, body }
}

/**
 * One request; `onRead` is called in the tick in which the answer has been read and parsed.
 *
 * @param {Agent} agent
 * @param {string} url
 * @param {string} method
 * @param {{ type: string, body: Buffer }} [asked]
 * @param {() => void} [onRead]
 * @returns {Promise<{ status: number, json: any }>}
 */
function send(agent, url, method, asked, onRead) {
  const headers = asked
    ? { 'content-type': asked.type, 'content-length': asked.body.length }
    : undefined
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, method, headers, timeout: 20_000 }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
      })
      answer.on('error', reject)
      answer.on('end', () => {
        try {
          const json = JSON.parse(text)
          onRead?.()
          resolve({ status: answer.statusCode ?? 0, json })
        } catch (error) {
          reject(error)
        }
      })
    })
    sent.on('timeout', () => sent.destroy(new Error(`${method} ${url} is not answered`)))
    sent.on('error', reject)
    sent.end(asked?.body)
  })
}

/** Every line of the experts so far. @returns {any[]} */
function notes(/** @type {string} */ latchDir) {
  let text = ''
  try {
    text = readFileSync(join(latchDir, 'events.ndjson'), 'utf8')
  } catch {
    return []
  }
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

/** @param {string} what @param {() => boolean | Promise<boolean>} ask */
async function until(what, ask, limitMs = 20_000) {
  const end = performance.now() + limitMs
  while (!(await ask())) {
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`)
    await pause(5)
  }
}
