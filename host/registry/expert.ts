import { rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { MediaPolicy } from '@nebula-experts/sdk/hosting'
import { RunQueue } from '../admission/run-queue.ts'
import type { ExpertSettings } from '../config/config-schema.ts'
import { type HostError, hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { ExpertInstance, type LostRuns, type Run } from '../runtime/expert-instance.ts'
import type { ExpertExit } from '../runtime/expert-runtime.ts'
import { MAX_ANSWER_BYTES, type WireError } from '../runtime/messages.ts'
import { runtimes } from '../runtime/runtimes.ts'
import { wireError } from '../runtime/wire-error.ts'
import { FailureRecord } from './back-off.ts'
import type { Candidate } from './discover.ts'
import { type ExpertContract, makeContract } from './expert-contract.ts'
import { PluginError, type PluginSource } from './plugin-source.ts'
import { makeServingCopy, type ServingCopy } from './serving-copy.ts'
import { describeStartFailure } from './start-failure.ts'

/**
 * Where an expert stands.
 *
 * ```
 * WAITING, STOPPED        no package, or not selected: 404
 * STARTING  → ACTIVE      first start; a failed init is tried again after a wait
 *           → FAILED      the package itself is at fault: until it changes
 * ACTIVE    → RESTARTING  its last process ended; calls wait in the queue
 *           → DRAINING    the host stops
 * any       → QUARANTINED a crash loop
 * ```
 */
export type ExpertState =
  | 'WAITING'
  | 'STOPPED'
  | 'STARTING'
  | 'ACTIVE'
  | 'RESTARTING'
  | 'DRAINING'
  | 'FAILED'
  | 'QUARANTINED'

/** What an expert needs of the host it lives in. */
export interface ExpertSurroundings {
  log: Logger
  /** Values of declared config keys are read from it. */
  env: NodeJS.ProcessEnv
  media: MediaPolicy
  threadPoolSize: number
  /** This host run's own folder. */
  runDir: string
  /** Kept between runs. */
  cacheDir: string
  logLevel: string
  /** Awaited when a version's routes are known, before it serves. */
  onContract: (expert: Expert, contract: ExpertContract) => Promise<void>
  /** Told of every change of state. */
  onState: (expert: Expert) => void
}

const DEFAULTS = {
  max_queue_size: 256,
  start_timeout_ms: 600_000,
  drain_timeout_ms: 30_000,
  failures: 5,
  within_ms: 60_000
}
/** How often calls that had not begun are sent again when their process dies. */
const MOST_RESENDS = 5
/** Time for `handleExit` once nothing runs any more, milliseconds. */
const EXIT_GRACE_MS = 5000
/** The same for a process whose run outlasted the drain: it may never come to it. */
const BUSY_GRACE_MS = 500

/** One expert: its processes, the queue in front of them, and its restarts. */
export class Expert {
  readonly name: string
  readonly required: boolean
  readonly settings: ExpertSettings
  readonly source: PluginSource | null
  state: ExpertState
  reason: string | null
  since = new Date()
  contract: ExpertContract | null = null
  restarts = 0
  lastExit: string | null = null
  initProgress: { fraction: number; note: string | null } | null = null

  readonly #around: ExpertSurroundings
  /** For what the expert says; its level is the expert's own. */
  readonly #log: Logger
  readonly #concurrency: number
  readonly #queue = new RunQueue<Run>()
  readonly #failures: FailureRecord
  #instances: ExpertInstance[] = []
  #starting = new Set<ExpertInstance>()
  #copy: ServingCopy | null = null
  #values: Record<string, unknown> = {}
  #overrides: Record<string, unknown> = {}
  #logLevel: string
  #restartTimer: NodeJS.Timeout | null = null
  #filling: Promise<void> | null = null
  #instanceNumber = 0
  #everActive = false
  #idle: (() => void) | null = null

  constructor(candidate: Candidate, around: ExpertSurroundings) {
    this.name = candidate.name
    this.required = candidate.required
    this.settings = candidate.settings
    this.source = candidate.source
    this.#around = around
    this.#log = around.log.child({ expert: this.name })
    this.#logLevel = around.logLevel
    this.#concurrency = candidate.settings.concurrency ?? around.threadPoolSize
    const { failures, within_ms } = { ...DEFAULTS, ...candidate.settings.quarantine }
    this.#failures = new FailureRecord(failures, within_ms)
    const states = {
      serve: 'STARTING',
      waiting: 'WAITING',
      unselected: 'STOPPED',
      broken: 'FAILED'
    }
    this.state = states[candidate.verdict] as ExpertState
    this.reason = candidate.reason
  }

  get base(): string {
    return `/experts/${this.name}`
  }

  get version(): string | null {
    return this.source?.version ?? null
  }

  get instances(): readonly ExpertInstance[] {
    return this.#instances
  }

  /** Calls that wait here, not yet sent to a process. */
  get waiting(): number {
    return this.#queue.size
  }

  /** How many calls may wait. */
  get maxQueueSize(): number {
    return this.settings.max_queue_size ?? DEFAULTS.max_queue_size
  }

  /** Runs at once over all instances. */
  get slots(): number {
    return (this.settings.instances ?? 1) * this.#concurrency
  }

  get logLevel(): string {
    return this.#logLevel
  }

  /** True when a call sent now would be run. */
  get isServing(): boolean {
    return this.state === 'ACTIVE' || (this.state === 'RESTARTING' && this.#everActive)
  }

  /** Why a call cannot be taken now, or null. */
  get refusal(): HostError | null {
    if (this.isServing) return null
    const reason = this.reason ?? this.state.toLowerCase()
    return this.state === 'WAITING' || this.state === 'STOPPED'
      ? hostError('HOST_EXPERT_ABSENT', [this.name, reason])
      : hostError('HOST_EXPERT_NOT_READY', [this.name, reason], { extra: { retry_after: 1 } })
  }

  /** What `/status`, `/cfg` and `/tasks` answer. */
  get mirror(): { status: string | null; cfg: Record<string, unknown> | null; tasks: unknown[] } {
    const first = this.#instances[0]?.mirror
    const own = first === undefined ? {} : first.cfg
    const declared = this.contract?.config.show(this.#values) ?? {}
    return {
      status: first === undefined ? 'STARTING' : first.status,
      cfg: own === null ? null : { ...declared, ...own },
      tasks: this.#instances.flatMap((instance) => instance.mirror.tasks)
    }
  }

  /** Makes the first try to start; resolves when it has ended, well or not. Never rejects. */
  async start(): Promise<void> {
    if (this.state !== 'STARTING' || this.source === null) return
    this.reason = 'its first start has not ended'
    await this.#fill()
  }

  /**
   * Takes a call: to a process with room, else into the queue.
   *
   * @param options.bounded - false for work that was admitted before (durable jobs, items of a list)
   * @throws HostError when it is not served, or its queue is full
   */
  submit(run: Run, options: { priority?: number; bounded?: boolean } = {}): void {
    const refusal = this.refusal
    if (refusal !== null) throw refusal
    const instance = this.#queue.size === 0 ? this.#roomiest(run) : null
    if (instance !== null) {
      instance.send(run)
      return
    }
    const most = this.maxQueueSize
    if (options.bounded !== false && this.#queue.size >= most) {
      throw hostError('HOST_QUEUE_FULL', [this.name, most], {
        extra: { retry_after: this.#secondsToDrain() }
      })
    }
    this.#queue.push(run, options.priority)
  }

  /** Ends a call for `error`: at once when it waits, by signal and then by kill when it runs. */
  cancel(run: Run, error: WireError): void {
    if (this.#queue.remove(run)) run.done({ ok: false, error })
    else for (const instance of this.#instances) if (instance.cancel(run, error)) return
  }

  /** Sets declared configuration on every process, and on those that start later. */
  set(values: Record<string, unknown>): void {
    this.#overrides = { ...this.#overrides, ...values }
    this.#values = { ...this.#values, ...values }
    for (const instance of [...this.#instances, ...this.#starting]) instance.set(values)
  }

  setLogLevel(level: string): void {
    this.#logLevel = level
    this.#log.level = level
    for (const instance of [...this.#instances, ...this.#starting]) instance.setLogLevel(level)
  }

  /** Lets what runs end, at most `drain_timeout_ms`, then ends its processes. */
  async stop(): Promise<void> {
    if (this.#restartTimer !== null) clearTimeout(this.#restartTimer)
    if (this.isServing) this.#become('DRAINING', 'the host is stopping')
    else if (this.state === 'STARTING') this.#become('STOPPED', 'the host is stopping')
    for (const run of this.#instances.length === 0 ? this.#queue.drain() : []) {
      run.done({ ok: false, error: wireError('HOST_STOPPING', []) })
    }
    if (this.#isBusy)
      await this.#untilIdle(this.settings.drain_timeout_ms ?? DEFAULTS.drain_timeout_ms)
    for (const run of this.#queue.drain()) {
      run.done({ ok: false, error: wireError('HOST_STOPPING', []) })
    }
    for (const instance of this.#starting) instance.kill('the host is stopping')
    const stopping = [...this.#instances, ...this.#starting]
    await Promise.all(
      stopping.map((instance) =>
        instance.stop(instance.inFlight > 0 ? BUSY_GRACE_MS : EXIT_GRACE_MS)
      )
    )
    // A copy may be half made.
    await this.#filling
    await this.#copy?.remove()
    if (this.state === 'DRAINING') this.#become('STOPPED', 'the host is stopping')
  }

  /** Starts as many instances as are missing. Never rejects. */
  #fill(): Promise<void> {
    this.#filling = this.#startMissing()
    return this.#filling
  }

  async #startMissing(): Promise<void> {
    const missing = (this.settings.instances ?? 1) - this.#instances.length - this.#starting.size
    if (missing <= 0) return
    try {
      this.#copy ??= await makeServingCopy(
        this.source as PluginSource,
        join(this.#around.runDir, 'serving', this.name)
      )
      // The first tells the contract; the others can then start side by side.
      await this.#startInstance()
      await Promise.all(Array.from({ length: missing - 1 }, () => this.#startInstance()))
    } catch (error) {
      this.#startFailed(error)
    }
  }

  async #startInstance(): Promise<void> {
    if (this.state === 'STOPPED' || this.state === 'DRAINING') return
    const copy = this.#copy as ServingCopy
    const number = ++this.#instanceNumber
    const tmpDir = join(this.#around.runDir, 'tmp', `${this.name}-${number}`)
    const process = runtimes[this.settings.runtime ?? 'process'].start({
      cwd: copy.folder,
      env: { NEBULA_ONNX_THREADS: String(this.#threadsEach()) },
      onOutput: (stream, line) => this.#log[stream === 'stderr' ? 'warn' : 'info']({ stream }, line)
    })
    const instance = new ExpertInstance(process, this.#concurrency, this.#log)
    this.#starting.add(instance)
    instance.onInitProgress = (fraction, note) => {
      this.initProgress = { fraction, note }
    }
    const limit = this.settings.start_timeout_ms ?? DEFAULTS.start_timeout_ms
    const timer = setTimeout(() => instance.kill(`it did not start within ${limit} ms`), limit)
    try {
      const description = await instance.load({
        entry: copy.entryUrl,
        name: this.name,
        cacheDir: join(this.#around.cacheDir, this.name),
        tmpDir,
        media: this.#around.media,
        concurrency: this.#concurrency,
        logLevel: this.#logLevel,
        maxAnswerBytes: MAX_ANSWER_BYTES
      })
      if (this.contract === null) {
        const contract = makeContract(description, this.name)
        this.#values = contract.config.read(this.settings.env ?? {}, this.#around.env)
        await this.#around.onContract(this, contract)
        this.contract = contract
      }
      this.#values = { ...this.#values, ...this.#overrides }
      await instance.init(this.#values).catch(async (error) => {
        throw new InitError(await describeStartFailure(error, copy.folder), { cause: error })
      })
    } catch (error) {
      instance.kill('it could not be started')
      await instance.exited
      await rm(tmpDir, { recursive: true, force: true })
      throw error instanceof InitError || error instanceof PluginError
        ? error
        : new PluginError(await describeStartFailure(error as Error, copy.folder))
    } finally {
      clearTimeout(timer)
      this.#starting.delete(instance)
      this.initProgress = null
    }
    this.#serve(instance, tmpDir)
  }

  #serve(instance: ExpertInstance, tmpDir: string): void {
    instance.onLost = (lost, how) => this.#takeBack(lost, how)
    instance.onRoom = () => this.#onRoom()
    this.#instances.push(instance)
    void instance.exited.then(async (exit) => {
      this.#instances = this.#instances.filter((other) => other !== instance)
      this.#onExit(instance, exit)
      await rm(tmpDir, { recursive: true, force: true }).catch(() => {})
    })
    if (this.state !== 'ACTIVE' && this.state !== 'DRAINING') this.#become('ACTIVE', null)
    this.#everActive = true
    this.#pump()
  }

  /** A process ended. What it held has been taken back before. */
  #onExit(instance: ExpertInstance, exit: ExpertExit): void {
    this.#checkIdle()
    if (this.state === 'DRAINING' || this.state === 'STOPPED') return
    const how = instance.describeExit(exit)
    this.lastExit = `process ${instance.pid} ${how}`
    const { pid } = instance
    const { code, signal } = exit
    this.#around.log.warn({ expert: this.name, pid, code, signal }, this.lastExit)
    if (!instance.killedByCaller) this.#failures.add(performance.now())
    this.#tryAgain(this.lastExit)
  }

  #startFailed(error: unknown): void {
    if (this.state === 'DRAINING' || this.state === 'STOPPED') return
    const { message } = error as Error
    this.#around.log.error({ expert: this.name, err: error }, `cannot be started: ${message}`)
    // What is wrong with the package itself stays wrong until it changes; a version that has served
    // before is tried again.
    if (!(error instanceof InitError) && !this.#everActive) {
      this.#become('FAILED', message)
      return
    }
    this.#failures.add(performance.now())
    this.#tryAgain(message)
  }

  #tryAgain(why: string): void {
    if (this.#failures.isLoop) {
      const { failures } = { ...DEFAULTS, ...this.settings.quarantine }
      this.#become('QUARANTINED', `${failures} failures in a short time; the last: ${why}`)
      for (const run of this.#queue.drain()) run.done({ ok: false, error: this.#notReady() })
      return
    }
    const wait = this.#failures.delay()
    if (this.#instances.length === 0) {
      this.#become(
        this.#everActive ? 'RESTARTING' : 'STARTING',
        wait === 0 ? why : `${why}; next try in ${wait} ms`
      )
    }
    this.restarts += 1
    this.#restartTimer = setTimeout(() => void this.#fill(), wait)
  }

  #takeBack(lost: LostRuns, how: string): void {
    const error = wireError('HOST_EXPERT_EXITED', [this.name, how])
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
    this.#queue.putBack(again)
    // Other instances may have room now; a dead one has none.
    if (again.length > 0) setImmediate(() => this.#pump())
  }

  #onRoom(): void {
    if (this.#failures.inARow > 0) this.#failures.clear()
    if (this.#queue.size > 0) this.#pump()
    this.#checkIdle()
  }

  #pump(): void {
    for (let run = this.#queue.first; run !== undefined; run = this.#queue.first) {
      const instance = this.#roomiest(run)
      if (instance === null) return
      this.#queue.shift()
      instance.send(run)
    }
  }

  #roomiest(run: Run): ExpertInstance | null {
    // What was in a process that died may have been the cause: alone, it is known for sure.
    const begun = run.resends + run.reruns > 0
    let best: ExpertInstance | null = null
    for (const instance of this.#instances) {
      if (instance.room(begun) > 0 && (best === null || instance.inFlight < best.inFlight))
        best = instance
    }
    return best
  }

  get #isBusy(): boolean {
    return this.#queue.size > 0 || this.#instances.some((instance) => instance.inFlight > 0)
  }

  async #untilIdle(limitMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      this.#idle = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#idle = null
  }

  #checkIdle(): void {
    if (this.#idle !== null && !this.#isBusy) this.#idle()
  }

  #secondsToDrain(): number {
    const mean = Math.max(...this.#instances.map((instance) => instance.meanRunMs), 1)
    const seconds = (this.#queue.size * mean) / this.slots / 1000
    return Math.min(60, Math.max(1, Math.ceil(seconds)))
  }

  /** Threads of one native session: the cores shared out over the instances. */
  #threadsEach(): number {
    return Math.max(1, Math.floor(availableParallelism() / (this.settings.instances ?? 1)))
  }

  #notReady(): WireError {
    return wireError('HOST_EXPERT_NOT_READY', [this.name, this.reason ?? this.state])
  }

  #become(state: ExpertState, reason: string | null): void {
    if (state !== this.state) this.since = new Date()
    this.state = state
    this.reason = reason
    this.#around.log.info(
      { expert: this.name, status: state, reason },
      `expert ${this.name} is ${state}`
    )
    this.#around.onState(this)
  }
}

/** The package could be imported, but its `init` failed: it may succeed later. */
class InitError extends Error {
  override readonly name = 'InitError'
}
