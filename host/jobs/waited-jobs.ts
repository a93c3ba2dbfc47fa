import { randomUUID } from 'node:crypto'
import { type HostError, hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { wireError } from '../runtime/wire-error.ts'
import { failure, type Job, type JobEnd } from './job.ts'
import type { JobJournal } from './job-journal.ts'
import { type Answer, answerOf, newJob, type WaitedRequest } from './job-request.ts'
import type { JobResults } from './job-results.ts'
import { within } from './within.ts'
import { beginWork, type Work, type WorkOutcome } from './work.ts'

/** Bytes of parameters that all calls which somebody waits for may hold. */
const MAX_HELD_BYTES = 256 * 1024 * 1024
const SHORT_BYTES = 64 * 1024

/** Jobs that somebody waits for: they live in memory, go straight to their expert, and end with this host. */
export class WaitedJobs {
  readonly #journal: JobJournal
  readonly #results: JobResults
  readonly #maxWaitMs: number
  readonly #log: Logger
  /** Work that has a record. */
  readonly #recorded = new Map<string, Work>()
  #heldBytes = 0

  constructor(options: {
    journal: JobJournal
    results: JobResults
    maxWaitMs: number
    log: Logger
  }) {
    this.#journal = options.journal
    this.#results = options.results
    this.#maxWaitMs = options.maxWaitMs
    this.#log = options.log
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
    if (job !== null) await this.#journal.records.create(job)
    let work: Work
    try {
      work = this.#begin(id, request, job)
    } catch (error) {
      release?.()
      request.onEnd?.()
      if (job !== null) await this.#journal.close(id, failure(error as HostError))
      throw error
    }
    request.onHangUp?.(() => work.cancel(wireError('HOST_CANCELED', [])))
    if (release !== null || request.onEnd !== undefined) {
      void work.outcome.then(() => {
        release?.()
        request.onEnd?.()
      })
    }
    let ending = work.outcome
    if (request.output != null) {
      const { isList, output, expert } = request
      const delivered = { id, isList, output, expert: expert.name }
      ending = ending.then((ended) => this.#results.deliver(delivered, ended))
    }
    if (job !== null) {
      this.#recorded.set(id, work)
      ending = ending.then((ended) => this.#keep(id, ended))
    }
    const outcome = await within(ending, this.#maxWaitMs)
    if (outcome !== null) return answerOf(id, outcome)
    if (job === null) await this.#keepLate(id, request, work, ending)
    const error = wireError('HOST_WAIT_TIMEOUT', [this.#maxWaitMs / 1000])
    return { ok: false, jobId: id, error, isLate: true }
  }

  /** Ends a job for `end`; false when it is none of these, or has ended. */
  async cancel(id: string, end: JobEnd & { ok: false }): Promise<boolean> {
    const work = this.#recorded.get(id)
    // Its end is written first: whatever its run still answers comes too late.
    if (work === undefined || !(await this.#journal.close(id, end))) return false
    work.cancel(end)
    return true
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
    const journal = this.#journal
    return beginWork({
      ...order,
      onStart: () => journal.begun(job),
      onProgress: (fraction, note) => journal.progress(id, { fraction, note }),
      onLog: (line) => journal.logged(id, line)
    })
  }

  /** The caller has gone with the job's id: from now on there is a record to ask for. */
  async #keepLate(
    id: string,
    request: WaitedRequest,
    work: Work,
    ending: Promise<WorkOutcome>
  ): Promise<void> {
    const job: Job = { ...newJob(id, request), status: 'running' }
    await this.#journal.records.create(job)
    this.#recorded.set(id, work)
    void ending.then(async (outcome) => {
      this.#noteFailure(job, outcome)
      await this.#keep(id, outcome)
    })
  }

  /** Writes down how a job ended; a file that it answered is the record's from now on. */
  async #keep(id: string, outcome: WorkOutcome): Promise<WorkOutcome> {
    const end = await this.#results.endOf(id, outcome)
    this.#recorded.delete(id)
    await this.#journal.close(id, end)
    if (!outcome.ok) return outcome
    if (end.ok) return { ...outcome, head: end.head }
    const { ok: _, ...error } = end
    return { ok: false, error, unfinished: null }
  }

  /** Where nobody waits for the answer, the log alone hears of what is not for callers. */
  #noteFailure(job: Job, outcome: WorkOutcome): void {
    if (outcome.ok || outcome.error.exposed) return
    const { code, message, stack } = outcome.error
    const fields = { expert: job.expert, job_id: job.id, code, stack }
    this.#log.error(fields, `a run failed: ${message}`)
  }
}

function isShort(bodies: string[]): boolean {
  return bodies.length === 1 && (bodies[0] as string).length < SHORT_BYTES
}
