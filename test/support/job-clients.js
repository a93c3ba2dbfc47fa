import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * @typedef {Record<string, any>} JobView
 * @typedef {{ status: number, json: any, ms: number, retryAfter: string | undefined }} Answer
 * @typedef {object} Verdict
 * @property {string[]} lost ids that were answered and have no end
 * @property {string[]} wrong what broke a promise, in words
 * @property {number} failed jobs that ended as lost three times
 * @property {Map<string, number>} runs how often each item of each job was begun, by `job/item`
 */

/** Longest wait for an answer, milliseconds; a host that hangs is told of as status 0. */
const ANSWER_MS = 20_000
const AFTER_A_REFUSAL_MS = 20

/**
 * Clients of several hosts that share their jobs, each of which serves `quick` and `slow` (both `noted-runs`). They ask
 * for pictures and lists, and keep every id that they were answered. A host that breaks off or says 503 is asked
 * again; whatever else it says is wrong.
 */
export class JobClients {
  /** Every job whose id was read, with what its items are. @type {Map<string, { items: string[], isList: boolean }>} */
  answered = new Map()
  /** Records of jobs that have ended, as they were first seen. @type {Map<string, JobView>} */
  ends = new Map()
  /** @type {string[]} */
  wrong = []
  /** Called with each answer to a request for a job. @type {(answer: Answer, side: number) => void} */
  onAnswer = () => {}
  #agent = new Agent({ keepAlive: true, maxSockets: 32 })
  #urls
  #pauseMs
  #isOver = false
  #asked = 0
  /** @type {Array<Promise<void>>} */
  #clients = []

  /**
   * @param {() => string[]} urls where the hosts are at the moment
   * @param {{ pauseMs?: number }} [options] how long a client waits after each answer
   */
  constructor(urls, { pauseMs = 0 } = {}) {
    this.#urls = urls
    this.#pauseMs = pauseMs
  }

  /** Starts so many clients, one host after the other. */
  start(/** @type {number} */ count) {
    const sides = this.#urls().length
    for (let client = 0; client < count; client++) {
      this.#clients.push(this.#submit(client % sides))
    }
  }

  /** Resolves when the last answer has come. */
  async stop() {
    this.#isOver = true
    await Promise.all(this.#clients)
  }

  /** After `stop`. */
  close() {
    this.#isOver = true
    this.#agent.destroy()
  }

  /** Resolves when so many more ids were answered. */
  async answeredMore(/** @type {number} */ many, limitMs = 60_000) {
    const wanted = this.answered.size + many
    const end = performance.now() + limitMs
    while (this.answered.size < wanted) {
      if (performance.now() > end) throw new Error(`waited in vain for ${many} answers`)
      await pause(5)
    }
  }

  /**
   * What a host says of all jobs; an end that is not what it was is told.
   * @returns {Promise<number>} how many have not ended; -1 when it does not answer
   */
  async look(/** @type {number} */ side) {
    const { status, json } = await this.ask(side, '/jobs')
    if (status !== 200) return -1
    for (const job of json.jobs) this.#note(job)
    return json.jobs.filter((/** @type {JobView} */ { state }) => state !== 'finish').length
  }

  /** Looks at one host until all jobs have ended, and then once at each. @returns {Promise<number>} milliseconds */
  async settle(limitMs = 100_000) {
    const from = performance.now()
    while ((await this.look(0)) !== 0 && performance.now() - from < limitMs) await pause(200)
    const settleMs = performance.now() - from
    for (const side of this.#urls().keys()) await this.look(side)
    return settleMs
  }

  /**
   * Asks each host for each job by its id: all have to say the same.
   * @returns {Promise<number>} how many jobs every host answered alike
   */
  async compare() {
    let alike = 0
    for (const id of this.answered.keys()) {
      const sides = [...this.#urls().keys()]
      const answers = await Promise.all(sides.map((side) => this.ask(side, `/jobs/${id}`)))
      const said = new Set(answers.map(({ status, json }) => `${status} ${JSON.stringify(json)}`))
      if (said.size === 1 && answers[0]?.status === 200) alike += 1
      else this.wrong.push(`hosts differ: ${[...said].join(' and ')}`)
    }
    return alike
  }

  /**
   * Holds each end against the runs that the experts wrote down.
   * @param {string} latchDir
   * @returns {Verdict}
   */
  judge(latchDir) {
    const { runs, finished } = readRuns(latchDir)
    const { ends, wrong } = this
    const lost = [...this.answered.keys()].filter((id) => !ends.has(id))
    let failed = 0
    for (const [id, { items, isList }] of this.answered) {
      const end = ends.get(id)
      if (end === undefined) continue
      if (end['status'] === 'failed' && end['code'] === 'HOST_JOB_LOST' && end['attempts'] === 3) {
        failed += 1
        continue
      }
      const answers = isList ? end['results'] : [end]
      const isRight = items.every((item, place) => {
        const { result, mark } = answers?.[place] ?? {}
        return result === item && finished.has(`${id}/${item}/${mark}`)
      })
      if (end['status'] !== 'succeeded' || answers.length !== items.length || !isRight) {
        wrong.push(JSON.stringify(end))
      }
    }
    return { lost, wrong, failed, runs }
  }

  /**
   * One request; a host that does not answer is status 0.
   * @param {number} side
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<Answer>}
   */
  ask(side, path, body) {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const from = performance.now()
    return new Promise((resolve) => {
      const answer = (status = 0, json = null, /** @type {string | undefined} */ retryAfter) =>
        resolve({ status, json, ms: performance.now() - from, retryAfter })
      const sent = request(`${this.#urls()[side]}${path}`, {
        agent: this.#agent,
        method: text === undefined ? 'GET' : 'POST',
        headers: text === undefined ? {} : { 'content-type': 'application/json' },
        timeout: ANSWER_MS
      })
      sent.on('timeout', () => sent.destroy())
      sent.on('error', () => answer())
      sent.on('response', (response) => {
        let given = ''
        response.setEncoding('utf8').on('data', (chunk) => {
          given += chunk
        })
        response.on('error', () => answer())
        response.on('end', () => {
          try {
            answer(response.statusCode, JSON.parse(given), response.headers['retry-after'])
          } catch {
            answer()
          }
        })
      })
      sent.end(text)
    })
  }

  async #submit(/** @type {number} */ side) {
    for (let turn = 0; !this.#isOver; turn++) {
      this.#asked += 1
      const name = `${side}-${this.#asked}`
      const [expert, url] = turn % 4 === 3 ? ['slow', 'ms 50'] : ['quick', '-']
      const isList = turn % 6 === 1
      const items = isList ? [0, 1, 2].map((place) => `${name}.${place}`) : [name]
      const images = items.map((item) => ({ image_id: item, url }))
      const body = isList ? { images, is_async: true } : { ...images[0], is_async: true }
      const path = `/experts/${expert}/predict/${isList ? 'images' : 'image'}`
      const answer = await this.ask(side, path, body)
      this.onAnswer(answer, side)
      const { status, json } = answer
      if (status === 200) this.answered.set(json.jobId, { items, isList })
      else if (status !== 503 && status !== 0) this.wrong.push(`${path} answered ${status}`)
      await pause(status === 200 ? this.#pauseMs : AFTER_A_REFUSAL_MS)
    }
  }

  #note(/** @type {JobView} */ job) {
    const before = this.ends.get(job['jobId'])
    if (job['state'] !== 'finish') {
      if (before !== undefined) this.wrong.push(`had ended: ${JSON.stringify(job)}`)
    } else if (before === undefined) this.ends.set(job['jobId'], job)
    else if (JSON.stringify(before) !== JSON.stringify(job)) {
      this.wrong.push(`ended twice: ${JSON.stringify([before, job])}`)
    }
  }
}

/** What `noted-runs` wrote: how often each item was begun, and each run that came to its end. */
function readRuns(/** @type {string} */ latchDir) {
  /** @type {Map<string, number>} */
  const runs = new Map()
  /** @type {Set<string>} */
  const finished = new Set()
  // A last line without its end was written by who was killed.
  const lines = readFileSync(join(latchDir, 'events.ndjson'), 'utf8').split('\n').slice(0, -1)
  for (const line of lines) {
    const { event, id, jobId, mark } = JSON.parse(line)
    const item = `${jobId}/${id}`
    if (event === 'start') runs.set(item, (runs.get(item) ?? 0) + 1)
    else finished.add(`${item}/${mark}`)
  }
  return { runs, finished }
}
