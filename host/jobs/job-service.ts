import { access } from 'node:fs/promises'
import { type HostError, hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import type { JobObserver } from '../observe/observers.ts'
import type { Expert } from '../registry/expert.ts'
import type { Experts } from '../registry/experts.ts'
import type { AnswerHead } from '../runtime/messages.ts'
import { wireError } from '../runtime/wire-error.ts'
import type { Dispatch } from './dispatch.ts'
import { DurableLine } from './durable-line.ts'
import {
  failure,
  isFinal,
  type Job,
  type JobEnd,
  type JobStatus,
  keptBytes,
  lastChange
} from './job.ts'
import type { JobExchange } from './job-exchange.ts'
import { type JobEvent, JobFeeds } from './job-feeds.ts'
import { makeJobId } from './job-id.ts'
import { JobJournal } from './job-journal.ts'
import { type JobQuery, type JobRecords, LIST_BYTES } from './job-records.ts'
import {
  type Answer,
  answerOf,
  type DurableRequest,
  newJob,
  type WaitedRequest
} from './job-request.ts'
import type { JobResults } from './job-results.ts'
import type { KeptFiles } from './kept-files.ts'
import type { OutputFiles } from './output-files.ts'
import { WaitedJobs } from './waited-jobs.ts'
import type { WebhookIntake } from './webhook-outbox.ts'
import { within } from './within.ts'

export interface JobServiceOptions {
  /** Of jobs that somebody waits for: they end with this host. */
  volatile: JobRecords
  /** Of accepted jobs. */
  durable: JobRecords
  dispatch: Dispatch
  /** With other hosts that share the accepted jobs; null when there are none. */
  exchange?: JobExchange | null
  experts: Experts
  /** Uploaded files of accepted jobs. */
  uploads: KeptFiles
  results: JobResults
  outputs: OutputFiles
  webhooks: WebhookIntake
  maxWaitMs: number
  maxBacklog: number
  /** How long jobs wait for an expert that does not serve, milliseconds. */
  absentMs: number
  /** Hears of accepted jobs. Default: nobody. */
  observer?: JobObserver
  log: Logger
}

const SWEEP_MS = 1000
/** How old a count of what waits at a server may be, milliseconds. */
const BACKLOG_MS = 200

/**
 * The one way of work: a synchronous call is a job that somebody waits for.
 *
 * Synchronous jobs live in memory and go straight to the expert. Asynchronous ones are on disk before
 * their id is answered, and are taken out of the line as the expert has room.
 */
export class JobService {
  readonly uploads: KeptFiles
  readonly outputs: OutputFiles
  readonly webhooks: WebhookIntake
  readonly #options: JobServiceOptions
  readonly #feeds = new JobFeeds()
  readonly #volatile: JobJournal
  readonly #durable: JobJournal
  readonly #line: DurableLine
  readonly #waited: WaitedJobs
  readonly #exchange: JobExchange | null
  readonly #sweeper: NodeJS.Timeout
  /** What is left to look at of what the host before left. */
  #left: { uploads: string[]; results: string[] } | null = null
  #backlog = { count: 0, at: Number.NEGATIVE_INFINITY }
  #isStopping = false
  #isSweeping = false
  #isFailing = false

  constructor(options: JobServiceOptions) {
    const { log } = options
    this.#options = options
    this.uploads = options.uploads
    this.outputs = options.outputs
    this.webhooks = options.webhooks
    const onFault = (err: Error) => log.error({ err }, `a job's record is behind: ${err.message}`)
    const feeds = this.#feeds
    const exchange = options.exchange ?? null
    this.#exchange = exchange
    this.#volatile = new JobJournal({ records: options.volatile, feeds, onFault })
    this.#durable = new JobJournal({ records: options.durable, feeds, exchange, onFault })
    const { results, maxWaitMs } = options
    for (const records of [options.volatile, options.durable]) {
      records.onForget = (id) => results.forget(id)
    }
    this.#waited = new WaitedJobs({ journal: this.#volatile, results, maxWaitMs, log })
    this.#line = new DurableLine({
      journal: this.#durable,
      dispatch: options.dispatch,
      exchange,
      hasUpload: (name) => this.uploads.has(name),
      experts: options.experts,
      absentMs: options.absentMs,
      endOf: async (job, outcome) => {
        const delivered = await results.deliver(job, outcome)
        return results.endOf(job.id, delivered)
      },
      onEnd: (job) => this.dropUpload(job.upload),
      observer: options.observer ?? null,
      log
    })
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  /** Takes up what the host before left; the accepted jobs run as soon as their experts serve. */
  async resume(): Promise<void> {
    const { results } = this.#options
    this.#left = { uploads: await this.uploads.names(), results: await results.left() }
    await this.#lookAtLeft().catch((err) => {
      // Files stay until it is known whose they are.
      if (this.#exchange === null) throw err
    })
    // Not before: until now there was no expert to ask for.
    if (this.#exchange !== null) this.#hear(this.#exchange)
  }

  /** Runs a job and waits for it. @throws HostError when the expert takes no calls now */
  run(request: WaitedRequest): Promise<Answer> {
    return this.#waited.run(request)
  }

  /**
   * Accepts a job to be run when its turn comes; it is on disk when this resolves.
   * @returns its id; that of an earlier job for the same request under the same idempotency key
   * @throws HostError when the expert is not served, too many jobs wait, the store is full, or the key
   *   was used for another request
   */
  async submit(request: DurableRequest): Promise<string> {
    const { durable, dispatch, maxBacklog } = this.#options
    const { expert } = request
    if (expert.refusal !== null) throw expert.refusal
    const { webhooks } = this
    if (request.webhook != null && webhooks.isFull) {
      throw hostError('HOST_WEBHOOKS_FULL', [webhooks.limit], { extra: { retry_after: 30 } })
    }
    if ((await this.#countBacklog()) >= maxBacklog) {
      throw hostError('HOST_BACKLOG_FULL', [maxBacklog], { extra: { retry_after: 5 } })
    }
    const job = newJob(request.upload ?? makeJobId(), request)
    const place = { priority: job.priority, here: job.upload !== null }
    if (job.idempotency === null && this.#exchange !== null) {
      // A server does both in this order: one way there and back is enough.
      const [created, placed] = await Promise.allSettled([
        durable.create(job),
        dispatch.push(expert.name, job.id, place)
      ])
      if (created.status === 'rejected') {
        if (placed.status === 'fulfilled') await dispatch.drop(job.id).catch(() => {})
        throw created.reason
      }
      if (placed.status === 'rejected') await this.#withdraw(job, placed.reason)
    } else if (job.idempotency === null) {
      await durable.create(job)
      await dispatch
        .push(expert.name, job.id, place)
        .catch((error) => this.#withdraw(job, error as Error))
    } else {
      // The place first: a job that has none yet is not found by a request of the same key.
      await dispatch.push(expert.name, job.id, place)
      const holder = await durable.create(job).catch(async (error) => {
        await dispatch.drop(job.id)
        throw error
      })
      if (holder !== null) {
        await dispatch.drop(job.id)
        if (holder.idempotency?.fingerprint === job.idempotency.fingerprint) return holder.id
        throw hostError('HOST_KEY_REUSED', [holder.id])
      }
      // Its place may have been claimed before there was a job, and given up.
      await dispatch.push(expert.name, job.id, place)
    }
    this.#options.observer?.jobAccepted(expert.name)
    this.#line.pump(expert)
    return job.id
  }

  /**
   * Waits for the end of a job.
   * @param onHangUp - given what to call when nobody waits any more
   * @returns its answer, or null when it has not ended within `ms`
   */
  async waitFor(
    id: string,
    ms: number,
    onHangUp: (stop: () => void) => void
  ): Promise<Answer | null> {
    let hear: (event: JobEvent | null) => void = () => {}
    const ended = new Promise<JobEnd | null>((resolve) => {
      onHangUp(() => resolve(null))
      hear = (event) => {
        if (event === null) resolve(null)
        else if (event.type === 'end') resolve(event.data.end)
      }
    })
    const stopListening = await this.follow(id, (event) => hear(event))
    try {
      const job = await this.get(id)
      const end = job === undefined || job.end !== null ? job?.end : await within(ended, ms)
      return end == null ? null : answerOf(id, end)
    } finally {
      stopListening()
    }
  }

  /** How long a caller may wait at most, milliseconds. */
  get maxWaitMs(): number {
    return this.#options.maxWaitMs
  }

  async get(id: string): Promise<Job | undefined> {
    for (const journal of [this.#volatile, this.#durable]) {
      const job = await journal.records.get(id)
      if (job !== undefined) return journal.asItStands(job)
    }
    return undefined
  }

  /** The newest jobs of the query, oldest of them first. */
  async list(query: JobQuery): Promise<Job[]> {
    const lists = [this.#volatile, this.#durable].map(async (journal) => {
      const jobs = await journal.records.list(query)
      return jobs.map((job) => journal.asItStands(job))
    })
    const found = await Promise.all(lists)
    // Where one was cut for its bytes, what is older of the other belongs to a later page too.
    const earliest = Math.max(...found.map(startOfCut))
    return found
      .flat()
      .filter((job) => lastChange(job) >= earliest)
      .sort((a, b) => lastChange(a) - lastChange(b))
      .slice(-query.limit)
  }

  /** Accepted jobs in line, of all hosts that share it, by expert. */
  waiting(): Promise<Map<string, number>> {
    return this.#options.dispatch.waiting()
  }

  /** Accepted jobs that this host has taken out of the line, by expert. */
  get claimed(): Map<string, number> {
    return this.#line.claimed
  }

  async count(expert?: string): Promise<Record<JobStatus, number>> {
    const { volatile, durable } = this.#options
    const [waited, accepted] = await Promise.all([volatile.count(expert), durable.count(expert)])
    for (const status of Object.keys(waited) as JobStatus[]) waited[status] += accepted[status]
    return waited
  }

  /**
   * Ends an unfinished job: at once when it waits; when it runs, its run gets the signal and two seconds.
   * @throws HostError HOST_JOB_UNKNOWN, HOST_JOB_ENDED
   */
  async cancel(id: string): Promise<Job> {
    const job = await this.get(id)
    if (job === undefined) throw hostError('HOST_JOB_UNKNOWN', [id.slice(0, 100)])
    const error = wireError('HOST_CANCELED', [])
    const end = { ok: false, ...error } as const
    // Its end is written first: whatever its run still answers comes too late.
    if (!(await this.#waited.cancel(id, end)) && (await this.#durable.close(id, end))) {
      this.#options.observer?.jobEnded(job.expert, 'canceled', Date.now() - job.createdAt)
      this.#line.cancel(id, error)
      await this.#options.dispatch.drop(id).catch((err) => {
        this.#options.log.error({ job_id: id, err }, 'a canceled job keeps its place for now')
      })
      if (job.status === 'queued') this.dropUpload(job.upload)
    }
    const now = (await this.get(id)) ?? job
    if (now.end === null || now.end.ok || now.end.code !== error.code || job.end !== null) {
      throw hostError('HOST_JOB_ENDED', [now.status])
    }
    return now
  }

  /**
   * Makes a new job of one that failed or was canceled.
   * @returns the new one's id
   * @throws HostError HOST_JOB_UNKNOWN, HOST_JOB_NOT_RETRIABLE, and what `submit` throws
   */
  async retry(id: string): Promise<string> {
    const job = await this.get(id)
    if (job === undefined) throw hostError('HOST_JOB_UNKNOWN', [id.slice(0, 100)])
    if (job.status !== 'failed' && job.status !== 'canceled') {
      throw hostError('HOST_JOB_NOT_RETRIABLE', [`it is ${job.status}`])
    }
    if (job.upload !== null) {
      throw hostError('HOST_JOB_NOT_RETRIABLE', ['its uploaded files are gone'])
    }
    const expert = this.#options.experts.get(job.expert)
    if (expert === undefined) throw hostError('HOST_EXPERT_UNKNOWN', [job.expert])
    const { kind, bodies, isList, priority, timeoutMs, maxAttempts, output, webhook } = job
    return this.submit({
      expert,
      kind,
      bodies,
      isList,
      priority,
      timeoutMs,
      maxAttempts,
      output,
      webhook,
      retryOf: id
    })
  }

  /**
   * Calls `listener` for what happens to a job, whichever host runs it, and with null when this host stops.
   * Resolves when nothing is missed any more, with the function that ends it.
   */
  async follow(id: string, listener: (event: JobEvent | null) => void): Promise<() => void> {
    const stopHere = this.#feeds.listen(id, listener)
    if (this.#exchange === null) return stopHere
    const stopThere = await this.#exchange.follow(id, (heard) => {
      if (heard === 'look') void this.#tellEnd(id, listener)
      else listener(heard)
    })
    return () => {
      stopHere()
      stopThere()
    }
  }

  /** What followers of a job were told after the event of that id, as far as it is kept. */
  async missedEvents(id: string, after: number): Promise<JobEvent[]> {
    const here = this.#feeds.since(id, after)
    if (this.#exchange === null) return here
    const there = await this.#exchange.kept(id).catch(() => [])
    const byId = new Map([...there, ...here].map((event) => [event.id, event]))
    return [...byId.values()].filter((event) => event.id > after).sort((a, b) => a.id - b.id)
  }

  /** Takes waiting jobs of an expert that may have room now. */
  pump(expert: Expert): void {
    this.#line.pump(expert)
  }

  /** Removes an upload that no job needs any more. */
  dropUpload(name: string | null | undefined): void {
    if (name == null) return
    this.uploads.remove(name).catch((err) => {
      this.#options.log.warn({ job_id: name, err }, 'uploaded files could not be removed')
    })
  }

  /** Whether what a job answered can be sent from here; a file is on the disk of the host that ran it. */
  async hasFileOf({ file }: AnswerHead): Promise<boolean> {
    if (this.#exchange === null || file === null) return true
    return access(file.path).then(
      () => true,
      () => false
    )
  }

  /** The host stops: nobody waits for the end of a job any more. */
  get isStopping(): boolean {
    return this.#isStopping
  }

  /** Ends the waits and the streams of those who follow jobs. */
  stopFollowers(): void {
    this.#isStopping = true
    this.#feeds.close()
  }

  /** Resolves when what has ended is written. The experts have stopped before. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    await this.#line.close()
  }

  /** How many jobs wait. Where a server has to be asked, what it said last, and those that came here since. */
  async #countBacklog(): Promise<number> {
    const now = performance.now()
    if (this.#exchange === null || now - this.#backlog.at > BACKLOG_MS) {
      const waiting = await this.#options.dispatch.waiting()
      const count = [...waiting.values()].reduce((sum, size) => sum + size, 0)
      this.#backlog = { count, at: now }
    }
    this.#backlog.count += 1
    return this.#backlog.count - 1
  }

  /** What other hosts tell. */
  #hear(exchange: JobExchange): void {
    exchange.onWaiting = (name) => {
      const expert = this.#options.experts.get(name)
      if (expert !== undefined) this.#line.pump(expert)
    }
    exchange.onCanceled = (id) => {
      // Of one that runs here the files go with its run.
      if (!this.#line.cancel(id, wireError('HOST_CANCELED', []))) this.dropUpload(id)
    }
    exchange.onForgotten = (id) => this.#options.results.forget(id)
  }

  /** The job may have ended at another host. */
  async #tellEnd(id: string, listener: (event: JobEvent | null) => void): Promise<void> {
    const job = await this.#durable.records.get(id).catch(() => undefined)
    if (job === undefined || job.end === null) return
    const { status, end } = job
    listener(this.#feeds.numbered({ type: 'end', data: { status, end } }))
  }

  async #lookAtLeft(): Promise<void> {
    const left = this.#left
    if (left === null) return
    const { durable, results } = this.#options
    await this.uploads.sweep(left.uploads, async (name) => {
      const job = await durable.get(name)
      return job !== undefined && !isFinal(job.status)
    })
    await results.resume(left.results, async (id) => (await this.get(id)) !== undefined)
    this.#left = null
  }

  /** The place in line could not be written: the job was never accepted. */
  async #withdraw(job: Job, error: Error): Promise<never> {
    await this.#durable.close(job.id, failure(error as HostError)).catch(() => {})
    throw error
  }

  /** Forgets what is over its time. */
  async #sweep(): Promise<void> {
    // A store that hangs is not asked again while it does.
    if (this.#isSweeping) return
    this.#isSweeping = true
    const now = Date.now()
    const { volatile, durable, log } = this.#options
    try {
      await Promise.all([volatile.expire(now), durable.expire(now)])
      await this.#lookAtLeft()
      this.#isFailing = false
    } catch (err) {
      if (!this.#isFailing) log.error({ err }, 'old jobs cannot be forgotten')
      this.#isFailing = true
    } finally {
      this.#isSweeping = false
    }
  }
}

/** Where a listing begins that may have been cut for its bytes. */
function startOfCut(jobs: Job[]): number {
  const [oldest] = jobs
  const bytes = jobs.reduce((sum, job) => sum + keptBytes(job), 0)
  return oldest === undefined || bytes < LIST_BYTES ? Number.NEGATIVE_INFINITY : lastChange(oldest)
}
