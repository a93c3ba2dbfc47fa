import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { ExpertSettings } from '../config/config-schema.ts'
import type { Logger } from '../observe/log.ts'
import { ExpertInstance, type LostRuns, type Run } from '../runtime/expert-instance.ts'
import type { ExpertExit } from '../runtime/expert-runtime.ts'
import { MAX_ANSWER_BYTES } from '../runtime/messages.ts'
import { runtimes } from '../runtime/runtimes.ts'
import { FailureRecord } from './back-off.ts'
import { type ExpertContract, makeContract } from './expert-contract.ts'
import type { ExpertSurroundings } from './expert-surroundings.ts'
import { PluginError, type PluginSource } from './plugin-source.ts'
import { memoryOf, offerToOutOfMemory } from './process-memory.ts'
import { makeServingCopy, type ServingCopy } from './serving-copy.ts'
import { describeStartFailure } from './start-failure.ts'

/** The package could be imported, but its `init` failed: it may succeed later. */
export class InitError extends Error {
  override readonly name = 'InitError'
}

/** What a generation tells the expert it belongs to. */
export interface GenerationListener {
  /** A process has room for calls, or has just come. */
  onRoom(): void
  /** What a process held when it died; `drained` when it had been given its time to end. */
  onLost(lost: LostRuns, how: string, drained: boolean): void
  /** A serving process ended by itself; another is on its way in `waitMs`. */
  onExit(how: string, waitMs: number): void
  /** A process is started again. */
  onRestart(): void
  /** Starting again makes no sense any more. */
  onLoop(why: string): void
  onInitProgress(progress: { fraction: number; note: string | null } | null): void
}

export interface GenerationOptions {
  name: string
  source: PluginSource
  settings: ExpertSettings
  around: ExpertSurroundings
  /** Configuration set by hand; wins over file and environment. */
  overrides: Record<string, unknown>
  logLevel: string
  log: Logger
  listener: GenerationListener
}

const DEFAULTS = {
  start_timeout_ms: 600_000,
  drain_timeout_ms: 30_000,
  heartbeat_timeout_ms: 10_000
}
/** Time for `handleExit` once nothing runs any more, milliseconds. */
const EXIT_GRACE_MS = 5000
const BUSY_GRACE_MS = 500
/** How often memory, age and heartbeats are looked at, milliseconds. */
const WATCH_MS = 1000
/** After a replacement that did not start, the next is tried so much later, milliseconds. */
const RECYCLE_AGAIN_MS = 30_000

/**
 * One version of an expert with its settings: a private copy of the package and the processes that run
 * it. It starts as a whole, keeps its number of processes up, and ends as a whole.
 */
export class Generation {
  readonly source: PluginSource
  readonly settings: ExpertSettings
  contract: ExpertContract | null = null
  lastExit: string | null = null

  readonly #options: GenerationOptions
  /** For what the expert says; its level is the expert's own. */
  readonly #log: Logger
  readonly #concurrency: number
  readonly #failures: FailureRecord
  #instances: ExpertInstance[] = []
  #spares: ExpertInstance[] = []
  readonly #starting = new Set<ExpertInstance>()
  /** Those whose place another has taken, and when it did. */
  readonly #leaving = new Map<ExpertInstance, number>()
  #copy: ServingCopy | null = null
  #values: Record<string, unknown> = {}
  #restartTimer: NodeJS.Timeout | null = null
  #watch: NodeJS.Timeout | null = null
  #ended: string | null = null
  #idle: (() => void) | null = null
  #mayRecycle = true
  #recycling: Promise<void> | null = null
  #recycleFrom = 0

  constructor(options: GenerationOptions) {
    this.#options = options
    this.source = options.source
    this.settings = options.settings
    this.#log = options.log
    this.#concurrency = options.settings.concurrency ?? options.around.threadPoolSize
    this.#failures = FailureRecord.of(options.settings.quarantine)
  }

  /** Processes that take calls. */
  get instances(): readonly ExpertInstance[] {
    return this.#instances
  }

  /** All of them. */
  get processes(): readonly ExpertInstance[] {
    return [...this.#everyInstance, ...this.#leaving.keys()]
  }

  /** Calls that were sent ahead of their turn. Asked for each call that has to wait: no list is made. */
  get waiting(): number {
    let count = 0
    for (const { waiting } of this.#instances) count += waiting
    for (const { waiting } of this.#leaving.keys()) count += waiting
    return count
  }

  get slots(): number {
    return this.#wanted * this.#concurrency
  }

  /** Values of the declared configuration. */
  get values(): Record<string, unknown> {
    return this.#values
  }

  get isBusy(): boolean {
    // One that is being replaced may still run what it was sent.
    return this.processes.some((instance) => instance.inFlight > 0)
  }

  /**
   * Starts all its processes; resolves when every one is ready.
   * @throws PluginError when the package is at fault, InitError when its `init` failed
   */
  async start(): Promise<void> {
    const { around, name } = this.#options
    this.#watch = setInterval(() => this.#look(), WATCH_MS)
    this.#watch.unref()
    try {
      this.#copy = await makeServingCopy(this.source, join(around.runDir, 'serving', name))
      // The first tells the contract; the others can then start side by side.
      await this.#startProcess()
      const others = this.#wanted + this.#wantedSpares - 1
      await Promise.all(Array.from({ length: others }, () => this.#startProcess()))
    } catch (error) {
      await this.end('it could not be started')
      throw error
    }
  }

  /** The process with most room, or null when none has any. */
  roomiestFor(run: Run): ExpertInstance | null {
    // What was in a process that died may have been the cause: alone, it is known for sure.
    const begun = run.resends + run.reruns > 0
    let best: ExpertInstance | null = null
    for (const instance of this.#instances) {
      if (instance.room(begun) <= 0 || (run.alone === true && instance.inFlight > 0)) continue
      if (best === null || instance.inFlight < best.inFlight) best = instance
    }
    return best
  }

  set(values: Record<string, unknown>): void {
    this.#values = { ...this.#values, ...values }
    Object.assign(this.#options.overrides, values)
    for (const instance of this.#everyInstance) instance.set(values)
  }

  setLogLevel(level: string): void {
    this.#options.logLevel = level
    for (const instance of this.#everyInstance) instance.setLogLevel(level)
  }

  /** Replaces every process by a new one of the same version, one after another. */
  async restart(): Promise<void> {
    await this.holdRecycling()
    try {
      for (const instance of [...this.#instances, ...this.#spares]) await this.#replace(instance)
    } finally {
      this.resumeRecycling()
    }
  }

  /**
   * Until `resumeRecycling` no process is replaced for its age; resolves when none is being replaced.
   * What one of those still runs may go on for `drain_timeout_ms`.
   */
  async holdRecycling(): Promise<void> {
    this.#mayRecycle = false
    await this.#recycling
  }

  resumeRecycling(): void {
    this.#mayRecycle = true
  }

  /** Lets what runs end, at most `limitMs`, then ends every process. */
  async drain(limitMs: number): Promise<void> {
    this.#stopSupervising('it was drained')
    if (this.isBusy) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, limitMs)
        this.#idle = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    await this.end('it did not end its calls in time')
  }

  /** Ends every process now. */
  async end(why: string): Promise<void> {
    this.#stopSupervising(why)
    for (const instance of this.#starting) instance.kill(why)
    await Promise.all(
      // One whose run outlasted the drain may never come to its exit.
      this.processes.map((instance) =>
        instance.stop(instance.inFlight > 0 ? BUSY_GRACE_MS : EXIT_GRACE_MS)
      )
    )
    await this.#copy?.remove()
  }

  get #wanted(): number {
    return this.settings.instances ?? 1
  }

  get #wantedSpares(): number {
    return this.settings.spare ?? 0
  }

  get #everyInstance(): ExpertInstance[] {
    return [...this.#instances, ...this.#spares, ...this.#starting]
  }

  #stopSupervising(why: string): void {
    this.#ended ??= why
    if (this.#restartTimer !== null) clearTimeout(this.#restartTimer)
    if (this.#watch !== null) clearInterval(this.#watch)
    this.#restartTimer = null
    this.#watch = null
  }

  /** Starts one process and gives it to the serving ones, or to the spares when those are complete. */
  async #startProcess(): Promise<ExpertInstance> {
    const instance = await this.#bringUp()
    if (this.#instances.length < this.#wanted) this.#serve(instance)
    else this.#spares.push(instance)
    return instance
  }

  async #bringUp(): Promise<ExpertInstance> {
    if (this.#ended !== null) throw new PluginError(this.#ended)
    const { around, name, listener } = this.#options
    const copy = this.#copy as ServingCopy
    if (!existsSync(copy.folder)) {
      throw new PluginError('its copy in the data folder is gone: start the host again')
    }
    // Of this process alone: it is removed at its end, while others of the same files run on.
    const tmpDir = join(around.runDir, 'tmp', `${name}-${randomUUID()}`)
    const process = runtimes[this.settings.runtime ?? 'process'].start({
      cwd: copy.folder,
      env: { NEBULA_ONNX_THREADS: String(this.#threadsEach()) },
      onOutput: (stream, line) => this.#log[stream === 'stderr' ? 'warn' : 'info']({ stream }, line)
    })
    if (this.settings.runtime !== 'inline') offerToOutOfMemory(process.pid)
    const instance = new ExpertInstance(process, this.#concurrency, this.#log)
    instance.onAsk = (what, args) => around.answer(name, what, args)
    this.#starting.add(instance)
    void instance.exited.then(() => rm(tmpDir, { recursive: true, force: true }).catch(() => {}))
    instance.onInitProgress = (fraction, note) => listener.onInitProgress({ fraction, note })
    const limit = this.settings.start_timeout_ms ?? DEFAULTS.start_timeout_ms
    const timer = setTimeout(() => instance.kill(`it did not start within ${limit} ms`), limit)
    try {
      const description = await instance.load({
        entry: copy.entryUrl,
        name,
        version: this.source.version,
        cacheDir: join(around.cacheDir, name),
        tmpDir,
        media: around.media,
        concurrency: this.#concurrency,
        logLevel: this.#options.logLevel,
        maxAnswerBytes: MAX_ANSWER_BYTES
      })
      const isFirst = this.contract === null
      if (isFirst) {
        const contract = makeContract(description, name, this.source.version)
        this.#values = {
          ...contract.config.read(this.settings.env ?? {}, around.env),
          ...this.#options.overrides
        }
        this.contract = contract
      }
      const late = await instance.init(this.#values).catch(async (error) => {
        const why = await describeStartFailure(error, copy.folder)
        // A model that cannot be served stays one until its files change: there is nothing to wait for.
        if (error.code === 'EXP_MODEL') throw new PluginError(why)
        throw new InitError(why, { cause: error })
      })
      if (late !== null && isFirst) this.contract = makeContract(late, name, this.source.version)
    } catch (error) {
      instance.kill('it could not be started')
      await instance.exited
      throw error instanceof InitError || error instanceof PluginError
        ? error
        : new PluginError(await describeStartFailure(error as Error, copy.folder))
    } finally {
      clearTimeout(timer)
      this.#starting.delete(instance)
      listener.onInitProgress(null)
    }
    instance.onLost = (lost, how) =>
      listener.onLost(lost, how, this.#ended !== null || instance.isStopping)
    instance.onRoom = () => this.#onRoom(instance)
    void instance.exited.then((exit) => this.#onExit(instance, exit))
    return instance
  }

  #serve(instance: ExpertInstance): void {
    this.#instances.push(instance)
    this.#options.listener.onRoom()
  }

  #onRoom(instance: ExpertInstance): void {
    // It answered: whatever failed before is over.
    if (this.#failures.inARow > 0) this.#failures.clear()
    const most = this.settings.max_jobs_per_process
    if (most !== undefined && instance.jobsDone >= most) this.#recycle(instance)
    this.#options.listener.onRoom()
    if (this.#idle !== null && !this.isBusy) this.#idle()
  }

  #onExit(instance: ExpertInstance, exit: ExpertExit): void {
    const served = this.#instances.includes(instance)
    this.#instances = this.#instances.filter((other) => other !== instance)
    this.#spares = this.#spares.filter((other) => other !== instance)
    if (this.#idle !== null && !this.isBusy) this.#idle()
    if (this.#ended !== null || this.#leaving.has(instance)) return
    const how = `process ${instance.pid} ${instance.describeExit(exit)}`
    this.lastExit = how
    const { code, signal } = exit
    this.#tell('warn', { pid: instance.pid, code, signal }, how)
    if (!instance.killedByCaller) this.#failures.add(performance.now(), instance.endedByJob)
    const spare = served ? this.#spares.shift() : undefined
    if (spare !== undefined) this.#serve(spare)
    this.#startAgain(how)
  }

  /** Starts what is missing, after the wait that the failures so far ask for. */
  #startAgain(why: string): void {
    const { listener } = this.#options
    if (this.#failures.isLoop) {
      this.#stopSupervising('it is quarantined')
      listener.onLoop(this.#failures.describe(why))
      return
    }
    const waitMs = this.#failures.delay()
    listener.onExit(why, waitMs)
    if (this.#restartTimer !== null) return
    this.#restartTimer = setTimeout(() => {
      this.#restartTimer = null
      void this.#fill()
    }, waitMs)
  }

  async #fill(): Promise<void> {
    const have = this.#everyInstance.length
    const missing = this.#wanted + this.#wantedSpares - have
    await Promise.all(
      Array.from({ length: Math.max(0, missing) }, async () => {
        try {
          this.#options.listener.onRestart()
          await this.#startProcess()
        } catch (error) {
          if (this.#ended !== null) return
          const { message } = error as Error
          this.#tell('error', { err: error }, `cannot be started again: ${message}`)
          this.#failures.add(performance.now())
          this.#startAgain(message)
        }
      })
    )
  }

  /** Looks at what no event tells: memory, age, and whether idle processes still answer. */
  #look(): void {
    this.#lookAtMemory()
    const { max_uptime_ms: oldest } = this.settings
    const patience = this.settings.heartbeat_timeout_ms ?? DEFAULTS.heartbeat_timeout_ms
    for (const instance of [...this.#instances, ...this.#spares]) {
      if (instance.isSilentFor(patience)) {
        instance.kill(`it did not answer for ${patience} ms though nothing ran`)
        continue
      }
      instance.ping()
      if (oldest !== undefined && Date.now() - instance.startedAt > oldest) this.#recycle(instance)
    }
    // While somebody waits for those that leave, they have only so long.
    const limit = this.settings.drain_timeout_ms ?? DEFAULTS.drain_timeout_ms
    for (const [instance, since] of this.#leaving) {
      const isLate = performance.now() - since > limit
      if (!this.#mayRecycle && isLate && !instance.isStopping) void instance.stop(BUSY_GRACE_MS)
    }
  }

  /** Also of those that start: an `init` may leak too. */
  #lookAtMemory(): void {
    const most = this.settings.max_memory_mb
    if (most === undefined || this.settings.runtime === 'inline') return
    for (const instance of this.processes) {
      const used = memoryOf(instance.pid)
      if (used === null || used <= most * 1024 * 1024) continue
      const megabytes = Math.round(used / 1024 / 1024)
      instance.kill(`its ${megabytes} MB of memory are over max_memory_mb (${most})`)
    }
  }

  #recycle(instance: ExpertInstance): void {
    if (!this.#mayRecycle || this.#recycling !== null || this.#ended !== null) return
    if (performance.now() < this.#recycleFrom) return
    this.#recycling = this.#replace(instance)
      .catch((error) => {
        this.#recycleFrom = performance.now() + RECYCLE_AGAIN_MS
        this.#tell(
          'warn',
          { err: error },
          'a process that is due could not be replaced; it goes on'
        )
      })
      .finally(() => {
        this.#recycling = null
      })
  }

  /** Starts a process beside one, lets it take over between two calls, and ends the old one. */
  async #replace(instance: ExpertInstance): Promise<void> {
    try {
      const fresh = await this.#bringUp()
      this.#leaving.set(instance, performance.now())
      this.#instances = this.#instances.filter((other) => other !== instance)
      this.#spares = this.#spares.filter((other) => other !== instance)
      if (this.#instances.length < this.#wanted) this.#serve(fresh)
      else this.#spares.push(fresh)
      await instance.becomeIdle()
      await instance.stop(EXIT_GRACE_MS)
    } finally {
      this.#leaving.delete(instance)
      // Those that died meanwhile were not started again while this one took their place.
      if (this.#ended === null && this.#restartTimer === null) void this.#fill()
    }
  }

  /** What the host says of the expert: not under the level of what the expert itself says. */
  #tell(level: 'warn' | 'error', fields: object, message: string): void {
    this.#options.around.log[level]({ expert: this.#options.name, ...fields }, message)
  }

  /** Threads of one native session: the cores shared out over the processes that serve. */
  #threadsEach(): number {
    return Math.max(1, Math.floor(availableParallelism() / this.#wanted))
  }
}
