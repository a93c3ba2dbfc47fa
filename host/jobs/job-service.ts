import { randomUUID } from 'node:crypto'
import { unlink } from 'node:fs/promises'
import { type HostError, hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import type { Expert } from '../registry/expert.ts'
import type { AnswerHead, CallKind, WireError } from '../runtime/messages.ts'
import { wireError } from '../runtime/wire-error.ts'
import type { Dispatch } from './dispatch.ts'
import { DurableLine, failure } from './durable-line.ts'
import {
  type IdempotencyKey,
  isFinal,
  type Job,
  type JobEnd,
  type JobStatus,
  lastChange
} from './job.ts'
import { type JobEvent, JobFeeds } from './job-feeds.ts'
import { JobJournal, stamp } from './job-journal.ts'
import type { JobQuery, JobRecords } from './job-records.ts'
import type { KeptFiles } from './kept-files.ts'
import {
  type OutputFileError,
  type OutputFiles,
  wantedOutputFile,
  withError
} from './output-files.ts'
import { beginWork, type Work, type WorkOutcome } from './work.ts'

/** What a route asks for. */
export interface JobRequest {
  expert: Expert
  kind: CallKind
  /** Parameters as JSON: one text, or one for each item of a list. */
  bodies: string[]
  isList?: boolean
  /** Default 0. */
  priority?: number
  /** How long one run may take; default: as long as the expert's setting allows. */
  timeoutMs?: number | null
}

/** A request that somebody waits for. */
export interface WaitedRequest extends JobRequest {
  /** Keep a record from the start; without it, one is made only when the caller's wait ends first. */
  recorded: boolean
  /** Called when the work has truly ended, whoever still waits: frees what was uploaded for it. */
  onEnd?: () => void
  /** Given what to call when the caller hangs up before the answer. */
  onHangUp?: (cancel: () => void) => void
}

/** A request that is accepted now and run when its turn comes. */
export interface DurableRequest extends JobRequest {
  /** Default 3. */
  maxAttempts?: number
  idempotency?: IdempotencyKey | null
  /** Name of its kept upload; it is the job's id then. */
  upload?: string | null
  retryOf?: string | null
}

/** What a caller who waited gets. */
export type Answer =
  | { ok: true; jobId: string; text: string; head: AnswerHead | null; fileError?: string }
  | {
      ok: false
      jobId: string
      error: WireError
      /** The wait ended, not the work: it goes on under the id. */
      isLate: boolean
    }

export interface JobServiceOptions {
  /** Of jobs that somebody waits for: they end with this host. */
  volatile: JobRecords
  /** Of accepted jobs. */
  durable: JobRecords
  dispatch: Dispatch
  expertOf: (name: string) => Expert | undefined
  /** Uploaded files of accepted jobs. */
  uploads: KeptFiles
  /** Files that jobs have answered. */
  results: KeptFiles
  outputs: OutputFiles
  maxWaitMs: number
  maxBacklog: number
  /** How long jobs wait for an expert that does not serve, milliseconds. */
  absentMs: number
  log: Logger
}

const MAX_ATTEMPTS = 3
/** Bytes of parameters that all calls which somebody waits for may hold. */
const MAX_HELD_BYTES = 256 * 1024 * 1024
const SHORT_BYTES = 64 * 1024
const SWEEP_MS = 1000

/**
 * The one way of work: a synchronous call is a job that somebody waits for.
 *
 * Synchronous jobs live in memory and go straight to the expert. Asynchronous ones are on disk before
 * their id is answered, and are taken out of the line as the expert has room.
 */
export class JobService {
  readonly uploads: KeptFiles
  readonly outputs: OutputFiles
  readonly #options: JobServiceOptions
  readonly #feeds = new JobFeeds()
  readonly #volatile: JobJournal
  readonly #durable: JobJournal
  readonly #line: DurableLine
  /** Synchronous work that has a record. */
  readonly #waited = new Map<string, Work>()
  readonly #sweeper: NodeJS.Timeout
  #heldBytes = 0

  constructor(options: JobServiceOptions) {
    const { log } = options
    this.#options = options
    this.uploads = options.uploads
    this.outputs = options.outputs
    const onFault = (err: Error) => log.error({ err }, `a job's record is behind: ${err.message}`)
    this.#volatile = new JobJournal(options.volatile, this.#feeds, onFault)
    this.#durable = new JobJournal(options.durable, this.#feeds, onFault)
    this.#line = new DurableLine({
      journal: this.#durable,
      dispatch: options.dispatch,
      expertOf: options.expertOf,
      absentMs: options.absentMs,
      endOf: async (job, outcome) =>
        this.#endOf(
          job.id,
          await this.#deliver(job.kind, job.bodies, outcome, job.isList ? job.id : null)
        ),
      onEnd: (job) => this.#dropUpload(job),
      log
    })
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  /** Takes up what the host before left; the accepted jobs run as soon as their experts serve. */
  async resume(): Promise<void> {
    const { durable } = this.#options
    await this.uploads.sweep(async (name) => {
      const job = await durable.get(name)
      return job !== undefined && !isFinal(job.status)
    })
    await this.#sweepResults()
  }

  /**
   * Runs a job and waits for it, at most `MAX_WAIT_PREDICT_TIME`; after that the answer is an error
   * with the job's id, the work goes on, and its result is kept.
   *
   * @throws HostError when the expert takes no calls now
   */
  async run(request: WaitedRequest): Promise<Answer> {
    // Short calls are bounded by their number; counting them too would cost each of them.
    const release = isShort(request.bodies) ? null : this.#hold(request.bodies)
    const id = randomUUID()
    const job = request.recorded ? newJob(id, request) : null
    if (job !== null) await this.#volatile.records.create(job)
    let work: Work
    try {
      work = this.#begin(id, request, job)
    } catch (error) {
      release?.()
      request.onEnd?.()
      if (job !== null) await this.#volatile.close(id, failure(error as HostError))
      throw error
    }
    request.onHangUp?.(() => work.cancel(wireError('HOST_CANCELED', [])))
    if (release !== null || request.onEnd !== undefined) {
      void work.outcome.then(() => {
        release?.()
        request.onEnd?.()
      })
    }
    const wanted = wantedOutputFile(request.kind, request.bodies)
    let outcome = work.outcome
    if (wanted !== undefined) {
      const listId = request.isList === true ? id : null
      outcome = outcome.then((ended) => this.#deliver(request.kind, request.bodies, ended, listId))
    }
    if (job !== null) {
      this.#waited.set(id, work)
      outcome = outcome.then(async (ended) => {
        await this.#closeWaited(id, endOf(ended))
        return ended
      })
    }
    return this.#wait(id, request, job, work, outcome)
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
    let backlog = 0
    for (const size of (await dispatch.waiting()).values()) backlog += size
    if (backlog >= maxBacklog) {
      throw hostError('HOST_BACKLOG_FULL', [maxBacklog], { extra: { retry_after: 5 } })
    }
    const job = newJob(request.upload ?? randomUUID(), request)
    const place = { priority: job.priority }
    if (job.idempotency === null) {
      // In one turn, so that both are in one commit.
      const [created, pushed] = await Promise.allSettled([
        durable.create(job),
        dispatch.push(expert.name, job.id, place)
      ])
      if (created.status === 'rejected') {
        if (pushed.status === 'fulfilled') await dispatch.drop(job.id)
        throw created.reason
      }
      if (pushed.status === 'rejected') await this.#withdraw(job, pushed.reason)
    } else {
      const holder = await durable.create(job)
      if (holder !== null) {
        if (holder.idempotency?.fingerprint === job.idempotency.fingerprint) return holder.id
        throw hostError('HOST_KEY_REUSED', [holder.id])
      }
      await dispatch
        .push(expert.name, job.id, place)
        .catch((error) => this.#withdraw(job, error as Error))
    }
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
    let stopListening = () => {}
    const ended = new Promise<JobEnd | null>((resolve) => {
      onHangUp(() => resolve(null))
      stopListening = this.#feeds.listen(id, (event) => {
        if (event === null) resolve(null)
        else if (event.type === 'end') resolve(event.data.end)
      })
    })
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
    const jobs = (await Promise.all(lists)).flat()
    return jobs.sort((a, b) => lastChange(a) - lastChange(b)).slice(-query.limit)
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
    const end: JobEnd = { ok: false, ...error }
    const waited = this.#waited.get(id)
    // Its end is written first: whatever its run still answers comes too late.
    if (waited !== undefined) {
      if (await this.#volatile.close(id, end)) waited.cancel(error)
    } else if (await this.#durable.close(id, end)) {
      const waits = job.status === 'queued'
      await this.#options.dispatch.drop(id)
      this.#line.cancel(id, error)
      if (waits) this.#dropUpload(job)
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
    const expert = this.#options.expertOf(job.expert)
    if (expert === undefined) throw hostError('HOST_EXPERT_UNKNOWN', [job.expert])
    const { kind, bodies, isList, priority, timeoutMs, maxAttempts } = job
    return this.submit({
      expert,
      kind,
      bodies,
      isList,
      priority,
      timeoutMs,
      maxAttempts,
      retryOf: id
    })
  }

  /** Calls `listener` for what happens to a job, and with null when the host stops. */
  follow(id: string, listener: (event: JobEvent | null) => void): () => void {
    return this.#feeds.listen(id, listener)
  }

  /** What followers of a job were told after the event of that id, as far as it is kept. */
  missedEvents(id: string, after: number): JobEvent[] {
    return this.#feeds.since(id, after)
  }

  /** Takes waiting jobs of an expert that may have room now. */
  pump(expert: Expert): void {
    this.#line.pump(expert)
  }

  /** Ends the waits and the streams of those who follow jobs. */
  stopFollowers(): void {
    this.#feeds.close()
  }

  /** Resolves when what has ended is written. The experts have stopped before. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    await this.#line.close()
  }

  /** Counts parameters among those held in memory. @throws HostError when there are too many bytes */
  #hold(bodies: string[]): () => void {
    const bytes = bodies.reduce((sum, body) => sum + body.length, 0)
    if (this.#heldBytes > 0 && this.#heldBytes + bytes > MAX_HELD_BYTES) {
      throw hostError('HOST_HELD_BYTES', [MAX_HELD_BYTES], { extra: { retry_after: 5 } })
    }
    this.#heldBytes += bytes
    return () => {
      this.#heldBytes -= bytes
    }
  }

  #begin(id: string, request: WaitedRequest, job: Job | null): Work {
    const { expert, kind, bodies, isList = false, priority = 0, timeoutMs = null } = request
    const order = { jobId: id, expert, kind, bodies, isList, priority, timeoutMs }
    if (job === null) return beginWork(order)
    const journal = this.#volatile
    return beginWork({
      ...order,
      onStart: () => journal.begun(job),
      onProgress: (fraction, note) => journal.progress(id, { fraction, note }),
      onLog: (line) => journal.logged(id, line)
    })
  }

  async #wait(
    id: string,
    request: WaitedRequest,
    job: Job | null,
    work: Work,
    ending: Promise<WorkOutcome>
  ): Promise<Answer> {
    const outcome = await within(ending, this.#options.maxWaitMs)
    if (outcome !== null) {
      return answerOf(id, outcome)
    }
    if (job === null) await this.#keepLate(id, request, work, ending)
    else void ending.then(dropFile)
    const error = wireError('HOST_WAIT_TIMEOUT', [this.#options.maxWaitMs / 1000])
    return { ok: false, jobId: id, error, isLate: true }
  }

  /** The caller has gone with the job's id: from now on there is a record to ask for. */
  async #keepLate(
    id: string,
    request: WaitedRequest,
    work: Work,
    ending: Promise<WorkOutcome>
  ): Promise<void> {
    const job: Job = { ...newJob(id, request), status: 'running' }
    await this.#volatile.records.create(job)
    this.#waited.set(id, work)
    void ending.then(async (outcome) => {
      this.#noteFailure(job, outcome)
      await this.#closeWaited(id, await this.#endOf(id, outcome))
    })
  }

  async #closeWaited(id: string, end: JobEnd): Promise<void> {
    this.#waited.delete(id)
    await this.#volatile.close(id, end)
  }

  /** What is kept of an outcome; a file that it answered is taken over. */
  async #endOf(id: string, outcome: WorkOutcome): Promise<JobEnd> {
    const file = outcome.ok ? outcome.head?.file : null
    if (!outcome.ok || outcome.head === null || !file) return endOf(outcome)
    try {
      const path = await this.#options.results.keep(file.path, id, { copy: !file.owned })
      return endOf({ ...outcome, head: { ...outcome.head, file: { path, owned: false } } })
    } catch (error) {
      await dropFile(outcome)
      const { code, message } = error as NodeJS.ErrnoException
      return failure(hostError('HOST_RESULT_LOST', [code ?? message], { cause: error }))
    }
  }

  /** Where nobody waits for the answer, the log alone hears of what is not for callers. */
  #noteFailure(job: Job, outcome: WorkOutcome): void {
    if (outcome.ok || outcome.error.exposed) return
    const { code, message, stack } = outcome.error
    const fields = { expert: job.expert, job_id: job.id, code, stack }
    this.#options.log.error(fields, `a run failed: ${message}`)
  }

  /** Writes the answer to the file that was asked for; what goes wrong with that stands in the answer. */
  async #deliver(
    kind: CallKind,
    bodies: string[],
    outcome: WorkOutcome,
    listId: string | null
  ): Promise<WorkOutcome> {
    const wanted = wantedOutputFile(kind, bodies)
    if (wanted === undefined || !outcome.ok) return outcome
    const { text } = outcome
    try {
      const body = listId === null ? text : `{"results":${text},"jobId":"${listId}"}`
      await this.outputs.write(wanted, body)
      return outcome
    } catch (error) {
      const { message } = error as OutputFileError
      this.#options.log.warn({ err: error }, message)
      return listId === null
        ? { ...outcome, text: withError(text, message) }
        : { ...outcome, fileError: message }
    }
  }

  /** The place in line could not be written: the job was never accepted. */
  async #withdraw(job: Job, error: Error): Promise<never> {
    await this.#durable.close(job.id, failure(error as HostError)).catch(() => {})
    throw error
  }

  #dropUpload(job: Job): void {
    if (job.upload === null) return
    this.uploads.remove(job.upload).catch((err) => {
      this.#options.log.warn({ job_id: job.id, err }, 'uploaded files could not be removed')
    })
  }

  /** Forgets what is over its time. */
  async #sweep(): Promise<void> {
    const now = Date.now()
    const { volatile, durable, log } = this.#options
    try {
      const gone = await Promise.all([volatile.expire(now), durable.expire(now)])
      if (gone.some((count) => count > 0)) await this.#sweepResults()
    } catch (err) {
      log.error({ err }, 'old jobs cannot be forgotten')
    }
  }

  #sweepResults(): Promise<void> {
    return this.#options.results.sweep(async (name) => (await this.get(name)) !== undefined)
  }
}

function isShort(bodies: string[]): boolean {
  return bodies.length === 1 && (bodies[0] as string).length < SHORT_BYTES
}

/** A file that a run answered and nobody waits for. */
async function dropFile(outcome: WorkOutcome): Promise<void> {
  if (outcome.ok && outcome.head?.file?.owned === true) {
    await unlink(outcome.head.file.path).catch(() => {})
  }
}

/** What a promise gives, or null when it takes longer. */
function within<T>(work: Promise<T>, ms: number): Promise<T | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, null)
    void work.then((value) => {
      clearTimeout(timer)
      resolve(value)
    })
  })
}

function newJob(id: string, request: DurableRequest): Job {
  return {
    id,
    expert: request.expert.name,
    expertVersion: request.expert.version,
    kind: request.kind,
    bodies: request.bodies,
    isList: request.isList === true,
    priority: request.priority ?? 0,
    timeoutMs: request.timeoutMs ?? null,
    maxAttempts: request.maxAttempts ?? MAX_ATTEMPTS,
    idempotency: request.idempotency ?? null,
    upload: request.upload ?? null,
    retryOf: request.retryOf ?? null,
    createdAt: stamp(),
    status: 'queued',
    startedAt: null,
    finishedAt: null,
    progress: null,
    attempts: 0,
    end: null
  }
}

function endOf(outcome: WorkOutcome): JobEnd {
  if (!outcome.ok) {
    const { code, message, statusCode, exposed } = outcome.error
    return { ok: false, code, message, statusCode, exposed }
  }
  const { text, head, fileError } = outcome
  // An answer that is a file has no text.
  return { ok: true, text: text === '' ? 'null' : text, head, ...(fileError && { fileError }) }
}

function answerOf(jobId: string, end: JobEnd | WorkOutcome): Answer {
  if (!end.ok) {
    const error = 'error' in end ? end.error : end
    return { ok: false, jobId, error, isLate: false }
  }
  const { text, head, fileError } = end
  return { ok: true, jobId, text, head, ...(fileError && { fileError }) }
}
