import { EventEmitter } from 'node:events'
import { RunQueue } from '../admission/run-queue.ts'
import type { ExpertSettings } from '../config/config-schema.ts'
import { type HostError, hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import type { ExpertInstance, LostRuns, Run, RunOutcome } from '../runtime/expert-instance.ts'
import type { WireError } from '../runtime/messages.ts'
import { wireError } from '../runtime/wire-error.ts'
import { FailureRecord } from './back-off.ts'
import { tellEnd } from './call-outcome.ts'
import type { Candidate } from './discover.ts'
import type { ExpertContract } from './expert-contract.ts'
import type { ExpertSurroundings } from './expert-surroundings.ts'
import { Generation, InitError } from './generation.ts'
import type { PluginSource } from './plugin-source.ts'

/**
 * Where an expert stands.
 *
 * ```
 * WAITING      its package is not there                              404
 * STOPPED      not selected, removed, or unloaded by hand            404
 * STARTING     its first version starts, or is tried again           503
 * FAILED       its package is at fault: until that changes           503
 * ACTIVE       serves; a newer version may be starting beside it
 * RESTARTING   its last process ended; calls wait in the queue
 * QUARANTINED  a crash loop: until it is changed, or released by hand  503
 * DRAINING     what runs may end, then it is STOPPED
 * ```
 */
export const expertStates = [
  'WAITING',
  'STOPPED',
  'STARTING',
  'FAILED',
  'ACTIVE',
  'RESTARTING',
  'QUARANTINED',
  'DRAINING'
] as const
export type ExpertState = (typeof expertStates)[number]

const MAX_QUEUE_SIZE = 256
const DRAIN_TIMEOUT_MS = 30_000
/** How often calls that had not begun are sent again when their process dies. */
const MOST_RESENDS = 5

/** One expert: the queue in front of it, the version that serves, and the one that may come next. */
export class Expert {
  readonly name: string
  state: ExpertState
  reason: string | null
  since = new Date()
  initProgress: { fraction: number; note: string | null } | null = null
  logLevel: string
  /** Starts after the first, those that failed included. */
  restarts = 0
  lastExit: string | null = null
  /** Emits `change` whenever its state, reason or processes change. */
  readonly changes = new EventEmitter()

  readonly #around: ExpertSurroundings
  /** For what the expert says; its level is the expert's own. */
  readonly #log: Logger
  readonly #queue = new RunQueue<Run>()
  #startFailures: FailureRecord
  #wanted: Candidate
  #current: Generation | null = null
  #candidate: Generation | null = null
  /** Versions whose place another has taken, or that were given up, until their processes have ended. */
  readonly #leaving = new Set<Generation>()
  // Changes of version happen one after another; this is the end of the last of them.
  #turn: Promise<unknown> = Promise.resolve()
  #retiring: Promise<void> = Promise.resolve()
  #retryTimer: NodeJS.Timeout | null = null
  #overrides: Record<string, unknown> = {}
  #unloaded = false
  /** Why what lies in the folder is not what serves; null when it is. */
  #notReplaced: string | null = null
  #toldInstances = 0
  #onEmpty: (() => void) | null = null

  constructor(candidate: Candidate, around: ExpertSurroundings) {
    this.name = candidate.name
    this.logLevel = around.logLevel
    this.#around = around
    this.#log = around.log.child({ expert: this.name })
    this.#wanted = candidate
    this.#startFailures = FailureRecord.of(candidate.settings.quarantine)
    this.state = stateOf(candidate)
    this.reason = candidate.reason
  }

  get base(): string {
    return `/experts/${this.name}`
  }

  /** Of the version that serves, else of the one that was found. */
  get version(): string | null {
    return this.#source?.version ?? null
  }

  get folder(): string | null {
    return this.#source?.folder ?? null
  }

  get required(): boolean {
    return this.#wanted.required
  }

  get settings(): ExpertSettings {
    return this.#current?.settings ?? this.#wanted.settings
  }

  get contract(): ExpertContract | null {
    return this.#current?.contract ?? null
  }

  get instances(): readonly ExpertInstance[] {
    return this.#current?.instances ?? []
  }

  /** Every process it has, those that start, stand by or leave among them. */
  get processes(): readonly ExpertInstance[] {
    const generations = [this.#current, this.#candidate, ...this.#leaving]
    return generations.flatMap((generation) => generation?.processes ?? [])
  }

  /** Calls that run, also in processes that take no more. */
  get running(): number {
    return this.processes.reduce((sum, { inFlight, waiting }) => sum + inFlight - waiting, 0)
  }

  /** SHA-256 of the model that answers, as the expert names it; null when it names none, or does not serve. */
  get modelSha256(): string | null {
    return this.instances[0]?.mirror.modelSha256 ?? null
  }

  /** Calls that have not begun: here, or sent ahead of their turn, also to processes that take no more. */
  get waiting(): number {
    let count = this.#queue.size + (this.#current?.waiting ?? 0)
    for (const { waiting } of this.#leaving) count += waiting
    return count
  }

  /** How many calls may wait. */
  get maxQueueSize(): number {
    return this.settings.max_queue_size ?? MAX_QUEUE_SIZE
  }

  /** Runs at once over all instances. */
  get slots(): number {
    return this.#current?.slots ?? 1
  }

  /** Mean time of a run in its slowest process, milliseconds; unknown while it has none. */
  get meanRunMs(): number {
    const means = this.instances.map((instance) => instance.meanRunMs)
    return means.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...means)
  }

  /** True when a call sent now would be run. */
  get isServing(): boolean {
    return this.state === 'ACTIVE' || this.state === 'RESTARTING'
  }

  /** Why a call cannot be taken now, or null. */
  get refusal(): HostError | null {
    if (this.isServing) return null
    const reason = this.reason ?? this.state.toLowerCase()
    const absent = ['WAITING', 'STOPPED', 'DRAINING'].includes(this.state)
    return absent
      ? hostError('HOST_EXPERT_ABSENT', [this.name, reason])
      : hostError('HOST_EXPERT_NOT_READY', [this.name, reason], { extra: { retry_after: 1 } })
  }

  /** What `/status`, `/cfg` and `/tasks` answer. */
  get mirror(): { status: string | null; cfg: Record<string, unknown> | null; tasks: unknown[] } {
    const first = this.instances[0]?.mirror
    const own = first === undefined ? {} : first.cfg
    const declared = this.contract?.config.show(this.#current?.values ?? {}) ?? {}
    return {
      status: first === undefined ? 'STARTING' : first.status,
      cfg: own === null ? null : { ...declared, ...own },
      tasks: this.instances.flatMap((instance) => instance.mirror.tasks)
    }
  }

  /** Makes the first try to start; resolves when it has ended, well or not. Never rejects. */
  async start(): Promise<void> {
    if (this.state === 'STARTING') this.reason = 'its first start has not ended'
    this.#announce()
    if (this.state !== 'STARTING') return
    await this.#change(() => this.#bringUp())
  }

  /**
   * Takes a call: to a process with room, else into the queue.
   *
   * @param options.bounded - false for work that was admitted before (durable jobs, items of a list)
   * @throws HostError when it is not served, or its queue is full
   */
  submit(run: Run, options: { priority?: number; bounded?: boolean } = {}): void {
    const { refusal } = this
    if (refusal !== null) throw this.#rejected(refusal)
    const instance = this.#queue.size === 0 ? (this.#current?.roomiestFor(run) ?? null) : null
    if (instance?.hasFreeSlot !== true && options.bounded !== false) this.#mustHavePlace()
    run.askedAt = performance.now()
    if (instance === null) this.#queue.push(run, options.priority)
    else instance.send(run)
  }

  /** Ends a call for `error`: at once when it waits, by signal and then by kill when it runs. */
  cancel(run: Run, error: WireError): void {
    if (this.#queue.remove(run)) run.done({ ok: false, error })
    else run.holder?.cancel(run, error)
  }

  /** Has the end of a call counted, also of one that was not submitted since the expert takes it no more. */
  countEnd(run: Run, outcome: RunOutcome): void {
    tellEnd(this.#around.calls, this.name, run, outcome)
  }

  /** Sets declared configuration on every process, and on those that start later. */
  set(values: Record<string, unknown>): void {
    Object.assign(this.#overrides, values)
    this.#current?.set(values)
    this.#candidate?.set(values)
  }

  setLogLevel(level: string): void {
    this.logLevel = level
    this.#log.level = level
    this.#current?.setLogLevel(level)
    this.#candidate?.setLogLevel(level)
  }

  /**
   * Takes notice of what now lies in the folder or stands in the configuration. A new version starts
   * beside the one that serves and takes its place only when it is ready.
   */
  async follow(candidate: Candidate): Promise<void> {
    this.notice(candidate)
    if (this.#unloaded) return
    await this.#change(async () => {
      // Others may have come meanwhile: only the newest counts.
      if (candidate !== this.#wanted || this.#unloaded) return
      const { verdict } = candidate
      // A manifest that cannot be read is a bad version, not the end of the good one.
      if (verdict === 'serve' || (verdict === 'broken' && this.isServing)) await this.#bringUp()
      else await this.#takeDown(stateOf(candidate), candidate.reason ?? '')
    })
  }

  /** Remembers what the next start takes. */
  notice(candidate: Candidate): void {
    this.#wanted = candidate
    // What failed before says nothing of what has changed.
    this.#startFailures = FailureRecord.of(candidate.settings.quarantine)
  }

  /** Starts an expert that was unloaded, failed or is quarantined. @throws HostError with the reason */
  async load(): Promise<void> {
    this.#unloaded = false
    await this.#change(async () => {
      if (!this.isServing) await this.#bringUp()
    })
    this.#mustServe()
  }

  /** Drains and stops it until it is loaded again, whatever happens to its folder. */
  async unload(): Promise<void> {
    this.#unloaded = true
    this.#abandonCandidate()
    await this.#change(() => this.#takeDown('STOPPED', 'it was unloaded by hand'))
  }

  /** Starts what lies in the folder now in place of what serves. @throws HostError with the reason */
  async reload(): Promise<void> {
    this.#unloaded = false
    let failure: string | null = null
    await this.#change(async () => {
      failure = await this.#bringUp()
    })
    if (failure !== null) throw hostError('HOST_RELOAD_FAILED', [this.name, failure])
    this.#mustServe()
  }

  /** Replaces the processes by new ones of the same version. @throws HostError with the reason */
  async restart(): Promise<void> {
    this.#unloaded = false
    await this.#change(async () => {
      if (this.state !== 'ACTIVE') {
        await this.#bringUp()
        return
      }
      await this.#current?.restart().catch((error: Error) => {
        throw hostError('HOST_RELOAD_FAILED', [this.name, error.message])
      })
    })
    this.#mustServe()
  }

  /** Lets what runs end, at most `drain_timeout_ms`, then ends its processes. */
  async stop(): Promise<void> {
    this.#unloaded = true
    this.#abandonCandidate()
    await this.#change(() => this.#takeDown('STOPPED', 'the host is stopping'))
  }

  /** Runs changes of version one after another. */
  async #change(work: () => Promise<unknown>): Promise<void> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => {})
    await turn
  }

  /** Starts the wanted version and puts it in place. @returns why it could not be, or null */
  async #bringUp(): Promise<string | null> {
    const wanted = this.#wanted
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer)
    this.#retryTimer = null
    if (wanted.source === null || wanted.verdict !== 'serve') {
      const why = wanted.reason ?? 'its package is not there'
      if (this.isServing) this.#serveOn(why)
      else this.#become(stateOf(wanted), why)
      return why
    }
    if (!this.isServing && this.state !== 'STARTING') {
      this.#become('STARTING', 'it is being started')
    }
    // Never more than two sets of processes at a time.
    await this.#retiring
    await this.#current?.holdRecycling()
    if (this.#unloaded) {
      this.#current?.resumeRecycling()
      return 'it was unloaded before it started'
    }
    const generation = this.#makeGeneration(wanted.source, wanted.settings)
    this.#candidate = generation
    try {
      await generation.start()
      const putInPlace = await this.#around.prepareRoutes(
        this,
        generation.contract as ExpertContract
      )
      if (this.#candidate !== generation) throw new Error('it was unloaded while it started')
      this.#install(generation, putInPlace)
      return null
    } catch (error) {
      await generation.end('it could not be started')
      return this.#startFailed(error as Error)
    } finally {
      if (this.#candidate === generation) this.#candidate = null
      this.#current?.resumeRecycling()
      this.initProgress = null
    }
  }

  #makeGeneration(source: PluginSource, settings: ExpertSettings): Generation {
    const generation: Generation = new Generation({
      name: this.name,
      source,
      settings,
      around: this.#around,
      overrides: this.#overrides,
      logLevel: this.logLevel,
      log: this.#log,
      listener: {
        onRoom: () => this.#pump(),
        onLost: (lost, how, drained) => this.#takeBack(lost, how, generation, drained),
        onExit: (why, waitMs) => this.#onExit(generation, why, waitMs),
        onRestart: () => this.#countRestart(),
        onLoop: (why) => this.#unwatched(this.#quarantine(generation, why)),
        onInitProgress: (progress) => {
          this.initProgress = progress
        }
      }
    })
    return generation
  }

  /** The step between two requests in which a version takes the place of another. */
  #install(generation: Generation, putInPlace: () => void): void {
    const old = this.#current
    this.#current = generation
    putInPlace()
    this.#startFailures.clear()
    this.#notReplaced = null
    this.#become('ACTIVE', null)
    for (const run of this.#fitting(this.#queue.drain())) this.#queue.push(run, run.priority)
    this.#pump()
    if (old !== null) this.#retire(old)
  }

  #retire(generation: Generation): void {
    const limit = generation.settings.drain_timeout_ms ?? DRAIN_TIMEOUT_MS
    this.#retiring = this.#seeOff(generation, generation.drain(limit)).catch((error) => {
      const fields = { expert: this.name, err: error }
      this.#around.log.error(fields, 'an old version did not end in good order')
    })
  }

  /** It is shown as long as it has processes. */
  async #seeOff(generation: Generation, end: Promise<void>): Promise<void> {
    this.#leaving.add(generation)
    await end.finally(() => this.#leaving.delete(generation))
  }

  #startFailed(error: Error): string {
    const why = error.message
    if (this.#unloaded) return why
    this.#around.log.error({ expert: this.name, err: error }, `cannot be started: ${why}`)
    if (this.#current !== null && this.isServing) {
      this.#serveOn(why)
      return why
    }
    if (!(error instanceof InitError)) {
      this.#become('FAILED', why)
      return why
    }
    this.#startFailures.add(performance.now())
    if (this.#startFailures.isLoop) {
      this.#become('QUARANTINED', this.#startFailures.describe(why))
      return why
    }
    // What init needs may come later: a service, a disk, memory.
    const wait = Math.max(250, this.#startFailures.delay())
    this.#become('STARTING', `${why}; next try in ${wait} ms`)
    this.#retryTimer = setTimeout(() => {
      const again = this.#change(async () => {
        if (this.state !== 'STARTING' || this.#unloaded) return
        this.#countRestart()
        await this.#bringUp()
      })
      this.#unwatched(again)
    }, wait)
    return why
  }

  #countRestart(): void {
    this.restarts += 1
    this.#around.processes.processRestarted(this.name)
  }

  /** The version that serves stays, and shows why. */
  #serveOn(why: string): void {
    this.#notReplaced = `its new version could not be started and the old one serves on: ${why}`
    this.#become(this.state, this.#notReplaced)
  }

  async #takeDown(state: ExpertState, reason: string): Promise<void> {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer)
    this.#retryTimer = null
    this.#notReplaced = null
    const old = this.#current
    if (old !== null) {
      this.#become('DRAINING', reason)
      // What waits was accepted: it may still run while the drain lasts.
      const limit = old.settings.drain_timeout_ms ?? DRAIN_TIMEOUT_MS
      const began = performance.now()
      await this.#untilQueueIsEmpty(limit)
      await old.drain(Math.max(0, limit - (performance.now() - began)))
      this.#current = null
    }
    // It is not stopped while a version before still runs what it was sent.
    await this.#retiring
    const error = wireError('HOST_EXPERT_DRAINED', [this.name])
    for (const run of this.#queue.drain()) run.done({ ok: false, error })
    this.#become(state, reason)
  }

  async #untilQueueIsEmpty(limitMs: number): Promise<void> {
    if (this.#queue.size === 0 || this.instances.length === 0) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      this.#onEmpty = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#onEmpty = null
  }

  #abandonCandidate(): void {
    const candidate = this.#candidate
    this.#candidate = null
    if (candidate === null) return
    this.#unwatched(this.#seeOff(candidate, candidate.end('it was unloaded while it started')))
  }

  #onExit(generation: Generation, why: string, waitMs: number): void {
    if (generation !== this.#current || !this.isServing) return
    this.lastExit = why
    if (generation.instances.length === 0) {
      this.#become('RESTARTING', waitMs === 0 ? why : `${why}; next try in ${waitMs} ms`)
    } else this.#tell()
  }

  async #quarantine(generation: Generation, why: string): Promise<void> {
    if (generation !== this.#current) return
    this.lastExit = generation.lastExit
    this.#become('QUARANTINED', why)
    const error = wireError('HOST_EXPERT_NOT_READY', [this.name, why])
    for (const run of this.#queue.drain()) run.done({ ok: false, error })
    await generation.end('it is quarantined')
    if (generation === this.#current) this.#current = null
    // What its last processes gave back.
    for (const run of this.#queue.drain()) run.done({ ok: false, error })
  }

  /** Work that nobody waits for: what goes wrong in it is told, and ends nothing. */
  #unwatched(work: Promise<unknown>): void {
    work.catch((error) => {
      this.#around.log.error({ expert: this.name, err: error }, 'a change went wrong')
    })
  }

  #takeBack(lost: LostRuns, how: string, generation: Generation, drained: boolean): void {
    const error = drained
      ? wireError('HOST_EXPERT_DRAINED', [this.name])
      : { ...wireError('HOST_EXPERT_EXITED', [this.name, how]), ...exitOf(lost) }
    for (const run of lost.suspects) run.done({ ok: false, error })
    const again: Run[] = []
    for (const run of lost.sharing) {
      if (this.settings.rerun !== false && run.reruns === 0) again.push(run)
      else run.done({ ok: false, error })
      run.reruns += 1
    }
    for (const run of lost.unbegun) {
      if (run.resends < MOST_RESENDS) again.push(run)
      else run.done({ ok: false, error })
      run.resends += 1
    }
    if (again.length === 0) return
    this.#queue.putBack(generation === this.#current ? again : this.#fitting(again))
    // Other instances may have room now; a dead one has none.
    setImmediate(() => this.#pump())
  }

  /** Those that the version which serves now still takes; the others are told that it does not. */
  #fitting(runs: Run[]): Run[] {
    return runs.filter((run) => {
      const misfit = run.refit?.() ?? null
      if (misfit !== null) run.done({ ok: false, error: misfit })
      return misfit === null
    })
  }

  #pump(): void {
    if (this.state === 'RESTARTING' && this.instances.length > 0)
      this.#become('ACTIVE', this.#notReplaced)
    else if (this.instances.length !== this.#toldInstances) this.#tell()
    this.#toldInstances = this.instances.length
    for (let run = this.#queue.first; run !== undefined; run = this.#queue.first) {
      const instance = this.#current?.roomiestFor(run) ?? null
      if (instance === null) return
      this.#queue.shift()
      instance.send(run)
    }
    this.#onEmpty?.()
  }

  #mustHavePlace(): void {
    const most = this.maxQueueSize
    if (this.waiting < most) return
    const extra = { retry_after: this.#secondsToDrain() }
    throw this.#rejected(hostError('HOST_QUEUE_FULL', [this.name, most], { extra }))
  }

  #rejected(error: HostError): HostError {
    this.#around.calls.callRejected(this.name)
    return error
  }

  #mustServe(): void {
    const { refusal } = this
    if (refusal !== null) throw refusal
  }

  #secondsToDrain(): number {
    const mean = this.instances.length === 0 ? 1 : Math.max(this.meanRunMs, 1)
    const seconds = (this.#queue.size * mean) / this.slots / 1000
    return Math.min(60, Math.max(1, Math.ceil(seconds)))
  }

  get #source(): PluginSource | null {
    return this.#current?.source ?? this.#wanted.source
  }

  #tell(): void {
    this.changes.emit('change')
    this.#around.onState(this)
  }

  #become(state: ExpertState, reason: string | null): void {
    if (state === this.state && reason === this.reason) return
    if (state !== this.state) this.since = new Date()
    this.state = state
    this.reason = reason
    this.#announce()
  }

  #announce(): void {
    const fields = { expert: this.name, status: this.state, reason: this.reason }
    this.#around.log.info(fields, `expert ${this.name} is ${this.state}`)
    this.#tell()
  }
}

function exitOf({ exitCode }: LostRuns): { exitCode?: number } {
  return exitCode === null ? {} : { exitCode }
}

function stateOf(candidate: Candidate): ExpertState {
  const states = { serve: 'STARTING', waiting: 'WAITING', unselected: 'STOPPED', broken: 'FAILED' }
  return states[candidate.verdict] as ExpertState
}
