import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * One pipeline of `noted-items`, while the hosts that work on it are killed, each in its turn, and started
 * again. `/run` is sent once: what goes on afterwards goes on by itself.
 *
 * @typedef {{ url: string, pid: number, exited: Promise<unknown> }} Started
 * @typedef {Record<string, any>} Item
 *
 * @typedef {object} Storm
 * @property {string[]} wrong what broke a promise, in words
 * @property {number} items how many the pipeline has
 * @property {Map<string, number>} runs how often each item was begun, by `task movie`
 * @property {number} seen items that were seen finished before the last kill
 * @property {number} attempts the most that an item counts at the end
 * @property {number[]} startMs from the start of a host's process until it served
 * @property {number[]} idleMs from when it served until a run of it began
 * @property {number} settleMs from the last start until the pipeline had ended
 * @property {number} behindMs how long the document was behind the items at most; 0 when it was not looked at
 *
 * @param {object} options
 * @param {Array<() => Promise<Started>>} options.hosts each starts one, until it serves
 * @param {string} options.latchDir
 * @param {number} options.kills
 * @param {number} options.killEvery runs to be begun before each kill
 * @param {string[]} options.movies
 * @param {Array<{ expert: string, task?: string, depends_on?: string[], extra_params?: object }>} options.plan
 * @param {number} [options.limitMs] for the rest after the last kill
 * @param {number} [options.idleLimitMs] for a host to go on by itself
 * @returns {Promise<Storm>}
 */
export async function stormPipeline(options) {
  const { hosts, latchDir, kills, killEvery, movies, plan } = options
  const { limitMs = 120_000, idleLimitMs = 30_000 } = options
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  /** @type {Storm} */
  const storm = {
    ...{ wrong: [], items: movies.length * plan.length, runs: new Map(), seen: 0, attempts: 0 },
    ...{ startMs: [], idleMs: [], settleMs: 0, behindMs: 0 }
  }
  const notes = new Notes(latchDir)
  /** Items that were seen finished, and the runs that were begun until then. @type {Map<string, number>} */
  const finished = new Map()
  const begin = async (/** @type {() => Promise<Started>} */ start) => {
    const from = performance.now()
    const started = await start()
    storm.startMs.push(performance.now() - from)
    return started
  }
  /** @type {Started[]} */
  const alive = []
  for (const start of hosts) alive.push(await begin(start))
  try {
    const body = { _key: 'storm', movies, plan }
    const created = await send(agent, `${alive[0]?.url}/pipelines`, 'POST', body)
    if (created.status !== 201) throw new Error(`${created.status} ${JSON.stringify(created.json)}`)
    await send(agent, `${alive[0]?.url}/pipelines/storm/run`, 'POST')
    for (let kill = 0; kill < kills; kill++) {
      const turn = kill % hosts.length
      const host = /** @type {Started} */ (alive[turn])
      const before = notes.read().length
      await until(
        `${killEvery} runs after kill ${kill}`,
        () => notes.read().length >= before + killEvery,
        idleLimitMs
      )
      // Half of the kills come right after the ends of items were read.
      if (kill % 2 === 0) await look(storm, agent, host.url, finished, notes)
      process.kill(host.pid, 'SIGKILL')
      await host.exited
      const others = alive.length > 1
      alive[turn] = await begin(/** @type {() => Promise<Started>} */ (hosts[turn]))
      const from = performance.now()
      const runs = notes.read().length
      await until('a run after a kill', () => notes.read().length > runs, idleLimitMs)
      if (!others) storm.idleMs.push(performance.now() - from)
      if (kill % 5 === 0) await look(storm, agent, alive[turn]?.url ?? '', finished, notes)
    }
    storm.seen = finished.size
    const from = performance.now()
    const { url } = /** @type {Started} */ (alive[0])
    const ended = async () => {
      const { json } = await send(agent, `${url}/pipelines/storm?movies=false`, 'GET')
      return json.status !== 'running'
    }
    await until('the end of the pipeline', ended, limitMs)
    storm.settleMs = performance.now() - from
    await judge(storm, agent, url, { finished, notes, ...options })
  } finally {
    agent.destroy()
  }
  return storm
}

/** Sees what has finished; what it saw before must still have. */
async function look(
  /** @type {Storm} */ storm,
  /** @type {Agent} */ agent,
  /** @type {string} */ url,
  /** @type {Map<string, number>} */ finished,
  /** @type {Notes} */ notes
) {
  const items = await itemsOf(agent, url, 'state=success')
  const now = new Set(items.map(placeOf))
  for (const place of finished.keys()) {
    if (!now.has(place)) storm.wrong.push(`${place} had finished and has not`)
  }
  // After the answer: what was begun again before is counted, and lies in the past.
  const runs = notes.runs()
  for (const place of now) {
    if (!finished.has(place)) finished.set(place, runs.get(place) ?? 0)
  }
  const { json } = await send(agent, `${url}/pipelines/storm`, 'GET')
  for (const [movie, { status }] of Object.entries(json.movies)) {
    for (const [task, state] of Object.entries(status)) {
      const place = `${task} ${movie}`
      if (state === 'success' && !finished.has(place))
        finished.set(place, notes.runs().get(place) ?? 0)
      if (state !== 'success' && now.has(place))
        storm.wrong.push(`${place} is ${state} in the document`)
    }
  }
}

async function judge(
  /** @type {Storm} */ storm,
  /** @type {Agent} */ agent,
  /** @type {string} */ url,
  /** @type {any} */ { finished, notes, movies, plan, kills }
) {
  const { wrong } = storm
  const { json } = await send(agent, `${url}/pipelines/storm`, 'GET')
  if (json.status !== 'succeeded') wrong.push(`the pipeline is ${json.status}`)
  const items = await itemsOf(agent, url)
  const places = items.map(placeOf)
  if (places.length !== new Set(places).size) wrong.push('an item is there twice')
  if (places.length !== storm.items) wrong.push(`${places.length} items of ${storm.items}`)
  storm.runs = notes.runs()
  const ended = new Set(notes.read('end').map(placeOf))
  for (const item of items) {
    const place = placeOf(item)
    const runs = storm.runs.get(place) ?? 0
    storm.attempts = Math.max(storm.attempts, item.attempts)
    if (item.state !== 'success' || item.error !== null)
      wrong.push(`${place} is ${item.state}: ${item.error}`)
    if (!ended.has(place)) wrong.push(`${place} succeeded, and no run of it ended`)
    if (runs > 1 + kills) wrong.push(`${place} was begun ${runs} times`)
    if (finished.has(place) && runs > finished.get(place)) {
      wrong.push(`${place} had finished and was begun again`)
    }
  }
  for (const { task, expert } of plan) {
    const name = task ?? expert
    if (json.tasks[name] !== 'success') wrong.push(`task ${name} is ${json.tasks[name]}`)
    for (const movie of movies) {
      const shown = json.movies[movie]?.status[name]
      if (shown !== 'success') wrong.push(`${name} ${movie} is ${shown} in the document`)
    }
  }
}

/** Lines of `noted-items`, read as they come. */
class Notes {
  #file
  #text = ''
  /** @type {any[]} */
  #lines = []

  constructor(/** @type {string} */ latchDir) {
    this.#file = join(latchDir, 'items.ndjson')
  }

  /** All lines of one kind so far. @returns {any[]} */
  read(event = 'start') {
    let text = ''
    try {
      text = readFileSync(this.#file, 'utf8')
    } catch {
      return []
    }
    if (text !== this.#text) {
      const whole = text.slice(0, text.lastIndexOf('\n') + 1)
      const fresh = whole.slice(this.#text.length).split('\n').slice(0, -1)
      this.#lines.push(...fresh.map((line) => JSON.parse(line)))
      this.#text = whole
    }
    return this.#lines.filter((line) => line.event === event)
  }

  /** How often each item was begun. */
  runs() {
    const runs = new Map()
    for (const line of this.read()) runs.set(placeOf(line), (runs.get(placeOf(line)) ?? 0) + 1)
    return runs
  }
}

function placeOf(/** @type {{ task: string, movie: string }} */ { task, movie }) {
  return `${task} ${movie}`
}

/** @returns {Promise<Item[]>} */
async function itemsOf(/** @type {Agent} */ agent, /** @type {string} */ url, query = '') {
  const items = []
  let cursor = ''
  for (;;) {
    const path = `${url}/pipelines/storm/items?limit=1000&${query}${cursor}`
    const { json } = await send(agent, path, 'GET')
    items.push(...json.items)
    if (json.next === null) return items
    cursor = `&cursor=${encodeURIComponent(json.next)}`
  }
}

/**
 * @param {Agent} agent
 * @param {string} url
 * @param {string} method
 * @param {object} [body]
 * @returns {Promise<{ status: number, json: any }>}
 */
function send(agent, url, method, body) {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const headers =
    text === undefined
      ? undefined
      : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, method, headers, timeout: 30_000 }, (answer) => {
      let given = ''
      answer.setEncoding('utf8').on('data', (chunk) => {
        given += chunk
      })
      answer.on('error', reject)
      answer.on('end', () => {
        try {
          resolve({ status: answer.statusCode ?? 0, json: JSON.parse(given) })
        } catch (error) {
          reject(error)
        }
      })
    })
    sent.on('timeout', () => sent.destroy(new Error(`${method} ${url} is not answered`)))
    sent.on('error', reject)
    sent.end(text)
  })
}

/** @param {string} what @param {() => boolean | Promise<boolean>} ask */
async function until(what, ask, limitMs = 20_000) {
  const end = performance.now() + limitMs
  while (!(await ask())) {
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`)
    await pause(5)
  }
}
