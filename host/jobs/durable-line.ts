import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { type HostError, hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import type { JobObserver } from '../observe/observers.ts'
import type { Expert } from '../registry/expert.ts'
import type { Experts } from '../registry/experts.ts'
import { misfitOf } from '../registry/misfit.ts'
import type { WireError } from '../runtime/messages.ts'
import { wireError } from '../runtime/wire-error.ts'
import { type Claim, type Dispatch, LEASE_MS } from './dispatch.ts'
import { ExpertRoom, SHORT_RUN_MS } from './expert-room.ts'
import { failure, type Job, type JobEnd, statusOf } from './job.ts'
import type { JobExchange } from './job-exchange.ts'
import type { JobJournal } from './job-journal.ts'
import { beginWork, isTakenBack, type Work, type WorkOutcome } from './work.ts'

/** A claimed job on its way through its expert. */
interface Held {
  claim: Claim
  work: Work | null
  canceled: WireError | null
}

export interface DurableLineOptions {
  journal: JobJournal
  dispatch: Dispatch
  /** With other hosts that share the line; null when there are none. */
  exchange: JobExchange | null
  /** Whether the uploaded files of that name are here. */
  hasUpload: (name: string) => Promise<boolean>
  experts: Experts
  /** How long jobs wait for an expert that does not serve, milliseconds. */
  absentMs: number
  /** Makes what the caller is given of what a run answered. */
  endOf: (job: Job, outcome: WorkOutcome) => Promise<JobEnd>
  /** A job has ended, however it did. */
  onEnd: (job: Job) => void
  observer: JobObserver | null
  log: Logger
}

/** First wait of a job whose process was lost, milliseconds; each further one is four times as long. */
const BACK_OFF_MS = 500
const MOST_BACK_OFF_MS = 60_000
/** Between two tries to write an end, milliseconds. */
const WRITE_AGAIN_MS = 500
/** After so long a result that the store does not take is given up, milliseconds, and its job fails. */
const GIVE_UP_MS = 30_000
const SWEEP_MS = 1000
/** What another host has to run is left to it for so long, milliseconds, each time that it comes here. */
const ELSEWHERE_MS = 1000

/**
 * Takes accepted jobs out of the line as their experts have room, and sees each to its end.
 *
 * A claim is held from when it is taken until the end is on disk. A run that was lost with its process is
 * tried again later, behind all others and alone in its process; one that the host itself took back
 * waits again as it did. Of a claim that is lost, nothing that comes later counts.
 */
export class DurableLine {
  readonly #options: DurableLineOptions
  readonly #held = new Map<string, Held>()
  readonly #room = new ExpertRoom()
  /** Experts for which a claim is under way; true when there may be more to claim after it. */
  readonly #claiming = new Map<string, boolean>()
  /** Since when jobs wait for an expert that does not serve. */
  readonly #absentSince = new Map<string, number>()
  /** The versions that other hosts were told of first. */
  readonly #told = new Map<string, string | null>()
  readonly #ending = new Set<Promise<void>>()
  readonly #sweeper: NodeJS.Timeout
  readonly #closed = new AbortController()
  #renewedAt = Date.now()
  #sweeping = false
  #isFailing = false

  constructor(options: DurableLineOptions) {
    this.#options = options
    // One for each end that waits for the store.
    setMaxListeners(0, this.#closed.signal)
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  /** Claims as many waiting jobs of an expert as it has room for. Called whenever that may have changed. */
  pump(expert: Expert): void {
    const { name } = expert
    // One claim at a time: what becomes free meanwhile is claimed at once by the next.
    if (this.#claiming.has(name)) {
      this.#claiming.set(name, true)
      return
    }
    if (!expert.isServing || this.#closed.signal.aborted) return
    this.#tellVersion(expert)
    const limit = this.#room.of(expert)
    if (limit === 0) return
    this.#claiming.set(name, false)
    void this.#claim(expert, limit).then((claimed) => {
      const again = this.#claiming.get(name) === true || claimed === limit
      this.#claiming.delete(name)
      if (again) this.pump(expert)
    })
  }

  /** How many jobs are claimed here, by expert. */
  get claimed(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { claim } of this.#held.values()) {
      counts.set(claim.expert, (counts.get(claim.expert) ?? 0) + 1)
    }
    return counts
  }

  /** Ends a job's run for `error`; false when it does not run here. */
  cancel(jobId: string, error: WireError): boolean {
    const held = this.#held.get(jobId)
    if (held === undefined) return false
    held.canceled = error
    held.work?.cancel(error)
    return true
  }

  /** Claims nothing more; resolves when the ends of what ran are written. The experts have stopped before. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    this.#closed.abort()
    await Promise.all(this.#ending)
  }

  /** @returns how many it got. Never rejects. */
  async #claim(expert: Expert, limit: number): Promise<number> {
    const { journal, dispatch, log } = this.#options
    const { name } = expert
    try {
      // After a long sleep of the machine the leases of what runs here come before new claims.
      if (Date.now() - this.#renewedAt > LEASE_MS / 2) await this.#renew()
      const claims = await dispatch.claim(name, limit)
      if (claims.length === 0) return 0
      this.#room.take(name, claims.length)
      const jobs = journal.records.getMany(claims.map((claim) => claim.jobId))
      for (const claim of claims) {
        const ending = this.#see(expert, claim, jobs).finally(() => this.#ending.delete(ending))
        this.#ending.add(ending)
      }
      return claims.length
    } catch (error) {
      log.error({ expert: name, err: error }, 'waiting jobs cannot be claimed')
      return 0
    }
  }

  /** Sees one claim to its end. Never rejects. */
  async #see(expert: Expert, claim: Claim, jobs: Promise<Map<string, Job>>): Promise<void> {
    const held: Held = { claim, work: null, canceled: null }
    this.#held.set(claim.jobId, held)
    try {
      await this.#run(expert, held, (await jobs).get(claim.jobId))
    } catch (error) {
      // The store does not answer: the lease runs out, or ends with this host.
      const fields = { expert: expert.name, job_id: claim.jobId, err: error }
      this.#options.log.error(fields, 'a job cannot be seen to its end now')
    } finally {
      if (this.#held.get(claim.jobId) === held) {
        this.#held.delete(claim.jobId)
        this.#options.journal.leave(claim.jobId)
      }
      this.#room.giveBack(expert.name)
      this.pump(expert)
    }
  }

  async #run(expert: Expert, held: Held, job: Job | undefined): Promise<void> {
    const { log } = this.#options
    const { claim } = held
    if (job === undefined || job.end !== null) {
      await this.#options.dispatch.done(claim)
      if (job !== undefined) this.#options.onEnd(job)
      return
    }
    if (job.attempts >= job.maxAttempts) {
      const how = 'the host ended while it ran'
      await this.#end(job, claim, failure(hostError('HOST_JOB_LOST', [job.attempts, how])))
      return
    }
    const { exchange, hasUpload } = this.#options
    if (exchange !== null && job.upload !== null && !(await hasUpload(job.upload))) {
      const seconds = Math.round(this.#options.absentMs / 1000)
      const why = 'the host that has its uploaded files is away'
      await this.#end(job, claim, failure(hostError('HOST_JOB_ABANDONED', [seconds, why])))
      return
    }
    if (await this.#isForAnother(expert, job)) {
      await this.#putBack(job, claim, job.attempts, Date.now() + ELSEWHERE_MS)
      return
    }
    const countedBefore = job.attempts
    job.startedAt = null
    const outcome = held.canceled === null ? await this.#work(expert, job, held) : null
    if (outcome === null) {
      await this.#options.dispatch.done(claim)
      this.#options.onEnd(job)
      return
    }
    const { unfinished } = outcome
    const again = unfinished !== null && held.canceled === null
    if (again && isTakenBack(unfinished)) {
      await this.#putBack(job, claim, countedBefore)
      return
    }
    if (again) this.#options.observer?.jobRunLost(job.expert)
    if (again && job.attempts < job.maxAttempts) {
      const fields = { expert: job.expert, job_id: job.id, attempts: job.attempts }
      log.warn(fields, `a job runs again later: ${unfinished.message}`)
      await this.#tryLater(job, claim)
      return
    }
    if (!outcome.ok && !outcome.error.exposed) {
      // Nobody waits for the answer: the log alone hears of what is not for callers.
      const { code, message, stack } = outcome.error
      log.error({ expert: job.expert, job_id: job.id, code, stack }, `a run failed: ${message}`)
    }
    const lost = again && !outcome.ok && job.maxAttempts > 1
    const end = lost
      ? failure(hostError('HOST_JOB_LOST', [job.attempts, unfinished.message]))
      : await this.#options.endOf(job, outcome)
    await this.#end(job, claim, end)
  }

  /** Another version accepted it, this one does not take it, and a host that has that one is there. */
  async #isForAnother(expert: Expert, { expertVersion, kind, bodies }: Job): Promise<boolean> {
    const { exchange } = this.#options
    const { contract, name } = expert
    if (exchange === null || contract === null || expertVersion === expert.version) return false
    if (bodies.every((body) => misfitOf(contract, kind, body) === null)) return false
    return (await exchange.served([])).has(ofVersion(name, expertVersion))
  }

  /** Has the expert do it; null when it was canceled before it could be sent. */
  async #work(expert: Expert, job: Job, held: Held): Promise<WorkOutcome | null> {
    const { journal } = this.#options
    const { token, alone } = held.claim
    const answered = job.isList ? await journal.records.items(job.id) : undefined
    if (held.canceled !== null) return null
    try {
      held.work = beginWork({
        jobId: job.id,
        expert,
        kind: job.kind,
        bodies: job.bodies,
        isList: job.isList,
        priority: job.priority,
        timeoutMs: job.timeoutMs,
        admitted: true,
        alone,
        ...(answered && { answered }),
        onStart: () => journal.begun(job, { token, isShort: expert.meanRunMs < SHORT_RUN_MS }),
        onProgress: (fraction, note) => journal.progress(job.id, { fraction, note }),
        onLog: (line) => journal.logged(job.id, line),
        onItem: (place, text) => journal.item(job.id, place, text, token)
      })
    } catch (error) {
      // Taken out of service after the claim: the job waits for its return.
      const { code, message, statusCode } = error as WireError
      const refusal = { code, message, statusCode, exposed: true }
      return { ok: false, error: refusal, unfinished: isTakenBack(refusal) ? refusal : null }
    }
    return held.work.outcome
  }

  async #putBack(job: Job, claim: Claim, attempts: number, notBefore = 0): Promise<void> {
    const { priority } = job
    await Promise.all([
      this.#options.journal.waitsAgain(job, attempts, claim.token),
      this.#options.dispatch.release(claim, { priority, alone: claim.alone, notBefore })
    ])
  }

  async #tryLater(job: Job, claim: Claim): Promise<void> {
    const wait = Math.min(MOST_BACK_OFF_MS, BACK_OFF_MS * 4 ** (job.attempts - 1))
    const notBefore = Date.now() + wait
    await Promise.all([
      this.#options.journal.waitsAgain(job, job.attempts, claim.token),
      this.#options.dispatch.release(claim, { priority: job.priority, alone: true, notBefore })
    ])
  }

  /** Writes an end, however long the store takes for it: until then the claim holds its place. */
  async #end(job: Job, claim: Claim, wanted: JobEnd): Promise<void> {
    const { journal, dispatch, exchange, observer, log, onEnd } = this.#options
    const began = performance.now()
    let end = wanted
    for (let tries = 1; ; tries++) {
      try {
        const isTaken = await journal.close(job.id, end, claim.token)
        if (isTaken) observer?.jobEnded(job.expert, statusOf(end), Date.now() - job.createdAt)
        else log.debug({ job_id: job.id }, 'a late end is not taken')
        await dispatch.done(claim)
        onEnd(job)
        return
      } catch (error) {
        if (this.#closed.signal.aborted) throw error
        const why = error as HostError
        if (tries === 1) {
          log.error({ job_id: job.id, err: why }, `an end cannot be written yet: ${why.message}`)
        }
        // A server that is away comes back; that there is no room for it may be for good.
        const isPassing = exchange !== null && why.code === 'HOST_STORE_FAILED'
        if (!isPassing && performance.now() - began > GIVE_UP_MS) end = failure(why)
        await pause(WRITE_AGAIN_MS, null, { signal: this.#closed.signal }).catch(() => {})
      }
    }
  }

  /** What no event tells: leases, waits that are over, experts that have been away for too long. */
  async #sweep(): Promise<void> {
    if (this.#sweeping) return
    this.#sweeping = true
    try {
      if (Date.now() - this.#renewedAt > LEASE_MS / 3) await this.#renew()
      const waiting = await this.#options.dispatch.waiting()
      const elsewhere = await this.#tellServed()
      for (const name of this.#absentSince.keys()) {
        if (!waiting.has(name)) this.#absentSince.delete(name)
      }
      for (const name of waiting.keys()) {
        const expert = this.#options.experts.get(name)
        const why = whyAbsent(name, expert)
        if (why === null) {
          this.#absentSince.delete(name)
          if (expert !== undefined) this.pump(expert)
        } else if (elsewhere.has(name)) this.#absentSince.delete(name)
        else await this.#abandonLate(name, why)
      }
      this.#isFailing = false
    } catch (error) {
      // Once, and not each second for as long as the store is away.
      if (!this.#isFailing) {
        this.#options.log.error({ err: error }, 'the line of jobs cannot be looked at')
      }
      this.#isFailing = true
    } finally {
      this.#sweeping = false
    }
  }

  /** Tells of a version before this host accepts jobs under it, if they can be told. */
  #tellVersion({ name, version }: Expert): void {
    if (this.#options.exchange === null || this.#told.get(name) === version) return
    this.#told.set(name, version)
    // The next sweep tells it again.
    this.#tellServed().catch(() => {})
  }

  /** Tells other hosts what is served here. @returns what any host serves: experts, and their versions */
  async #tellServed(): Promise<Set<string>> {
    const { exchange, experts } = this.#options
    if (exchange === null) return new Set()
    const served = experts.all.filter((expert) => whyAbsent(expert.name, expert) === null)
    return exchange.served(served.flatMap(({ name, version }) => [name, ofVersion(name, version)]))
  }

  async #renew(): Promise<void> {
    this.#renewedAt = Date.now()
    const claims = [...this.#held.values()].map((held) => held.claim)
    if (claims.length === 0) return
    for (const { jobId } of await this.#options.dispatch.renew(claims)) {
      this.cancel(jobId, wireError('HOST_CANCELED', []))
    }
  }

  /** Ends the jobs of an expert that has been away for as long as they wait for it. */
  async #abandonLate(name: string, why: string): Promise<void> {
    const { absentMs, dispatch, journal } = this.#options
    const since = this.#absentSince.get(name) ?? Date.now()
    this.#absentSince.set(name, since)
    if (Date.now() - since < absentMs) return
    const end = failure(hostError('HOST_JOB_ABANDONED', [Math.round(absentMs / 1000), why]))
    for (;;) {
      const claims = await dispatch.claim(name, 100)
      if (claims.length === 0) return
      const ending = claims.map(async (claim) => {
        const job = await journal.records.get(claim.jobId)
        if (job === undefined) await dispatch.done(claim)
        else await this.#end(job, claim, end)
      })
      await Promise.all(ending)
    }
  }
}

/** How hosts name a version of an expert to each other. */
function ofVersion(name: string, version: string | null): string {
  return `${name} ${version}`
}

/** Why jobs of an expert may wait in vain, or null when it serves or is about to. */
function whyAbsent(name: string, expert: Expert | undefined): string | null {
  if (expert === undefined) return hostError('HOST_EXPERT_UNKNOWN', [name]).message
  const states = ['WAITING', 'STOPPED', 'FAILED', 'QUARANTINED']
  return states.includes(expert.state) ? (expert.refusal?.message ?? expert.state) : null
}
