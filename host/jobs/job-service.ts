import { randomUUID } from 'node:crypto'
import { unlink } from 'node:fs/promises'
import { hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import type { Expert } from '../registry/expert.ts'
import { misfitOf } from '../registry/misfit.ts'
import type { Run, RunOutcome } from '../runtime/expert-instance.ts'
import type { AnswerHead, CallKind, WireError } from '../runtime/messages.ts'
import { wireError } from '../runtime/wire-error.ts'
import type { Claim, Dispatch } from './dispatch.ts'
import type { Job, JobEnd } from './job.ts'
import type { JobRecords } from './job-records.ts'
import { runList } from './run-list.ts'

/** What a route asks for. */
export interface JobRequest {
  expert: Expert
  kind: CallKind
  /** Parameters as JSON: one text, or one for each item of a list. */
  bodies: string[]
  isList?: boolean
  /** Keep a record from the start; without it, one is made only when the caller's wait ends first. */
  recorded: boolean
  /** Called when the work has truly ended, whoever still waits: frees what was uploaded for it. */
  onEnd?: () => void
  /** Given what to call when the caller hangs up before the answer. */
  onHangUp?: (cancel: () => void) => void
}

/** Work that an expert has taken. */
interface Work {
  outcome: Promise<RunOutcome>
  /** Ends it for `error`, wherever it is. */
  cancel(error: WireError): void
}

/** What a caller who waited gets. */
export type Answer =
  | { ok: true; jobId: string; text: string; head: AnswerHead | null }
  | {
      ok: false
      jobId: string
      error: WireError
      /** The wait ended, not the work: it goes on under the id. */
      isLate: boolean
    }

/** Bytes of parameters that all unfinished work may hold. */
const MAX_HELD_BYTES = 256 * 1024 * 1024
const SHORT_BYTES = 64 * 1024

/**
 * The one way of work: a synchronous call is a job that somebody waits for.
 *
 * Synchronous jobs live in memory and go straight to the expert. Asynchronous ones are written to the
 * records, put in line, and claimed as the expert has room.
 */
export class JobService {
  readonly #records: JobRecords
  readonly #dispatch: Dispatch
  readonly #maxWaitMs: number
  readonly #maxBacklog: number
  readonly #log: Logger
  readonly #claimed = new Map<string, number>()
  readonly #onEnd = new Map<string, () => void>()
  readonly #sweeper: NodeJS.Timeout
  #heldBytes = 0

  constructor(options: {
    records: JobRecords
    dispatch: Dispatch
    maxWaitMs: number
    maxBacklog: number
    log: Logger
  }) {
    this.#records = options.records
    this.#dispatch = options.dispatch
    this.#maxWaitMs = options.maxWaitMs
    this.#maxBacklog = options.maxBacklog
    this.#log = options.log
    this.#sweeper = setInterval(() => void this.#records.expire(Date.now()), 1000)
    this.#sweeper.unref()
  }

  /**
   * Runs a job and waits for it, at most `MAX_WAIT_PREDICT_TIME`; after that the answer is an error
   * with the job's id, the work goes on, and its result is kept.
   *
   * @throws HostError when the expert takes no calls now
   */
  async run(request: JobRequest): Promise<Answer> {
    // Short calls are bounded by their number; counting them too would cost each of them.
    const release = isShort(request.bodies) ? null : this.#hold(request.bodies)
    const id = randomUUID()
    const job = request.recorded ? newJob(id, request) : null
    if (job !== null) await this.#records.create(job)
    let work: Work
    try {
      work = this.#begin(id, request, job, false)
    } catch (error) {
      release?.()
      request.onEnd?.()
      if (job !== null) await this.#close(id, failed('HOST_EXPERT_NOT_READY', error as Error))
      throw error
    }
    request.onHangUp?.(() => work.cancel(wireError('HOST_CANCELED', [])))
    if (release !== null || request.onEnd !== undefined) {
      void work.outcome.then(() => {
        release?.()
        request.onEnd?.()
      })
    }
    const outcome =
      job === null
        ? work.outcome
        : work.outcome.then(async (ended) => {
            await this.#close(id, endOf(ended))
            return ended
          })
    return this.#wait(id, request, job, outcome)
  }

  /**
   * Accepts a job to be run when its turn comes.
   * @returns its id
   * @throws HostError when the expert is not served, or too many jobs wait
   */
  async submit(request: JobRequest): Promise<string> {
    const { refusal } = request.expert
    if (refusal !== null) throw refusal
    if ((await this.#dispatch.waiting()) >= this.#maxBacklog) {
      throw hostError('HOST_BACKLOG_FULL', [this.#maxBacklog], { extra: { retry_after: 5 } })
    }
    const release = this.#hold(request.bodies)
    const job = newJob(randomUUID(), request)
    this.#onEnd.set(job.id, () => {
      release()
      request.onEnd?.()
    })
    await this.#records.create(job)
    await this.#dispatch.push(request.expert.name, job.id, 0)
    void this.pump(request.expert)
    return job.id
  }

  get(id: string): Promise<Job | undefined> {
    return this.#records.get(id)
  }

  list(expert?: string): Promise<Job[]> {
    return this.#records.list(expert)
  }

  /** Claims as many waiting jobs of an expert as it has room for. Called whenever that may have changed. */
  async pump(expert: Expert): Promise<void> {
    if (!expert.isServing) return
    const claimed = this.#claimed.get(expert.name) ?? 0
    const room = expert.slots - claimed
    if (room <= 0) return
    // Counted before the wait: another call of this function must not claim the same room.
    this.#claimed.set(expert.name, claimed + room)
    const claims = await this.#dispatch.claim(expert.name, room)
    const unused = room - claims.length
    this.#claimed.set(expert.name, (this.#claimed.get(expert.name) ?? 0) - unused)
    for (const claim of claims) void this.#runClaim(expert, claim)
  }

  close(): void {
    clearInterval(this.#sweeper)
  }

  async #runClaim(expert: Expert, claim: Claim): Promise<void> {
    let isOver = true
    let job: Job | undefined
    try {
      job = await this.#records.get(claim.jobId)
      if (job !== undefined) {
        const { kind, bodies, isList } = job
        const work = this.#begin(
          job.id,
          { expert, kind, bodies, isList, recorded: true },
          job,
          true
        )
        const outcome = await work.outcome
        dropFile(outcome)
        this.#noteFailure(job, outcome)
        isOver = outcome.ok || outcome.error.code !== 'HOST_EXPERT_DRAINED'
        if (isOver) await this.#close(job.id, endOf(outcome))
        else await this.#putBack(job)
      }
    } catch (error) {
      // Taken out of service after the claim: the job waits for its return.
      isOver = job === undefined || (error as { code?: string }).code !== 'HOST_EXPERT_ABSENT'
      if (isOver) await this.#close(claim.jobId, failed('HOST_EXPERT_NOT_READY', error as Error))
      else await this.#putBack(job as Job)
    } finally {
      if (isOver) {
        this.#onEnd.get(claim.jobId)?.()
        this.#onEnd.delete(claim.jobId)
      }
      await this.#dispatch.done(claim)
      this.#claimed.set(expert.name, (this.#claimed.get(expert.name) ?? 1) - 1)
      void this.pump(expert)
    }
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

  /** A job that was taken from its process for no fault of its own waits again. */
  async #putBack(job: Job): Promise<void> {
    await this.#records.patch(job.id, { status: 'queued', startedAt: null, progress: null })
    await this.#dispatch.push(job.expert, job.id, 0)
  }

  /** Sends the work to the expert. @throws HostError when the expert does not take it */
  #begin(id: string, request: JobRequest, job: Job | null, admitted: boolean): Work {
    const { expert } = request
    const onProgress =
      job === null
        ? undefined
        : (fraction: number, note: string | null) =>
            void this.#records.patch(id, { progress: { fraction, note } })
    const runs = new Set<Run>()
    let canceled: WireError | null = null
    const send = (kind: CallKind, body: string, bounded: boolean, report = onProgress) => {
      if (canceled !== null) return Promise.resolve<RunOutcome>({ ok: false, error: canceled })
      const run = newRun(id, kind, body, expert)
      runs.add(run)
      const outcome = new Promise<RunOutcome>((resolve) => {
        run.done = (ended) => {
          runs.delete(run)
          resolve(ended)
        }
      })
      run.onProgress = report
      if (job !== null) run.onStart = () => void this.#started(job)
      const misfit = admitted ? run.refit?.() : null
      // Outside of the promise's executor: a refusal is thrown to the caller of this function.
      if (misfit) run.done({ ok: false, error: misfit })
      else expert.submit(run, { bounded })
      return outcome
    }

    let outcome: Promise<RunOutcome>
    if (request.isList !== true) {
      outcome = send(request.kind, request.bodies[0] as string, !admitted)
    } else if (expert.contract?.predictsLists === true && request.bodies.length > 0) {
      outcome = send('images', `[${request.bodies.join(',')}]`, !admitted)
    } else {
      outcome = runList({
        bodies: request.bodies,
        parallel: expert.slots,
        runItem: (body, first) => send('image', body, first && !admitted, undefined),
        onProgress: (fraction) => onProgress?.(fraction, null)
      }).then((ended) => (canceled === null ? ended : { ok: false, error: canceled }))
    }
    const cancel = (error: WireError) => {
      canceled = error
      for (const run of [...runs]) expert.cancel(run, error)
    }
    return { outcome, cancel }
  }

  async #wait(
    id: string,
    request: JobRequest,
    job: Job | null,
    work: Promise<RunOutcome>
  ): Promise<Answer> {
    const outcome = await within(work, this.#maxWaitMs)
    if (outcome !== null) {
      return outcome.ok
        ? { ok: true, jobId: id, text: outcome.text, head: outcome.head }
        : { ok: false, jobId: id, error: outcome.error, isLate: false }
    }
    if (job === null) await this.#keepLate(id, request, work)
    void work.then(dropFile)
    const error = wireError('HOST_WAIT_TIMEOUT', [this.#maxWaitMs / 1000])
    return { ok: false, jobId: id, error, isLate: true }
  }

  /** The caller has gone with the job's id: from now on there is a record to ask for. */
  async #keepLate(id: string, request: JobRequest, work: Promise<RunOutcome>): Promise<void> {
    const job = newJob(id, request)
    job.status = 'running'
    await this.#records.create(job)
    void work.then((outcome) => {
      this.#noteFailure(job, outcome)
      return this.#close(id, endOf(outcome))
    })
  }

  /** Where nobody waits for the answer, the log alone hears of what is not for callers. */
  #noteFailure(job: Job, outcome: RunOutcome): void {
    if (outcome.ok || outcome.error.exposed) return
    const { code, message, stack } = outcome.error
    const fields = { expert: job.expert, job_id: job.id, code, stack }
    this.#log.error(fields, `a run failed: ${message}`)
  }

  async #started(job: Job): Promise<void> {
    if (job.startedAt !== null) return
    job.startedAt = Date.now()
    await this.#records.patch(job.id, {
      status: 'running',
      startedAt: job.startedAt,
      attempts: job.attempts + 1
    })
  }

  async #close(id: string, end: JobEnd): Promise<void> {
    const status = end.ok ? 'succeeded' : end.code === 'HOST_CANCELED' ? 'canceled' : 'failed'
    const closed = await this.#records.patch(id, { status, finishedAt: Date.now(), end })
    if (!closed) this.#log.debug({ job_id: id }, 'a job ended twice; its first end stands')
  }
}

function isShort(bodies: string[]): boolean {
  return bodies.length === 1 && (bodies[0] as string).length < SHORT_BYTES
}

/** A file that a run answered and nobody waits for. */
function dropFile(outcome: RunOutcome): void {
  if (outcome.ok && outcome.head?.file?.owned === true) {
    void unlink(outcome.head.file.path).catch(() => {})
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

function newRun(jobId: string, kind: CallKind, body: string, expert: Expert): Run {
  return {
    kind,
    jobId,
    body,
    priority: 0,
    timeoutMs: expert.settings.timeout_ms ?? null,
    reruns: 0,
    resends: 0,
    refit: () => {
      const { contract } = expert
      const why = contract === null ? null : misfitOf(contract, kind, body)
      return why === null ? null : wireError('HOST_EXPERT_CHANGED', [expert.name, why])
    },
    done: () => {}
  }
}

function newJob(id: string, request: JobRequest): Job {
  return {
    id,
    expert: request.expert.name,
    expertVersion: request.expert.version,
    kind: request.kind,
    bodies: request.bodies,
    isList: request.isList === true,
    timeoutMs: request.expert.settings.timeout_ms ?? null,
    createdAt: Date.now(),
    status: 'queued',
    startedAt: null,
    finishedAt: null,
    progress: null,
    attempts: 0,
    end: null
  }
}

function endOf(outcome: RunOutcome): JobEnd {
  // An answer of bytes or a file has no text: the record says that it succeeded.
  return outcome.ok
    ? { ok: true, text: outcome.text === '' ? 'null' : outcome.text }
    : { ok: false, code: outcome.error.code, message: outcome.error.message }
}

function failed(code: string, error: Error): JobEnd {
  return { ok: false, code: (error as { code?: string }).code ?? code, message: error.message }
}
