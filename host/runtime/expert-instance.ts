import { HostError, hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { isToHost } from './check-message.ts'
import type { ExpertExit, RunningExpert } from './expert-runtime.ts'
import { LineLimit } from './line-limit.ts'
import {
  type AnswerHead,
  type CallKind,
  type ExpertDescription,
  type ExpertMirror,
  type LoadRequest,
  type LogWord,
  MOST_QUESTIONS,
  type ToHost,
  toWireError,
  type WireError
} from './messages.ts'
import { wireError } from './wire-error.ts'

/** How a run ended. `text` is JSON, handed through as the expert's process wrote it. */
export type RunOutcome =
  | { ok: true; text: string; head: AnswerHead | null }
  | { ok: false; error: WireError }

/** One call on its way through an expert. */
export interface Run {
  readonly kind: CallKind
  readonly priority: number
  readonly jobId: string
  /** The parameters as JSON. */
  readonly body: string
  /** From its start; null for no limit. */
  readonly timeoutMs: number | null
  /** Nothing else may run in its process. */
  readonly alone?: boolean
  /** How often it ran in a process that another call took. */
  reruns: number
  /** How often it was sent to a process that died before its turn. */
  resends: number
  /** Where it was sent last. */
  holder?: ExpertInstance
  /** When its expert took it, by `performance.now()`. */
  askedAt?: number | undefined
  /** When it began in the process to which it was sent last; likewise. */
  begunAt?: number | undefined
  /** When that process answered; likewise. */
  endedAt?: number | undefined
  onStart?: (() => void) | undefined
  onLog?: ((line: RunLogLine) => void) | undefined
  onProgress?: ((fraction: number, note: string | null) => void) | undefined
  /** Says why a newer version of the expert does not take it any more, or null when it does. */
  refit?: () => WireError | null
  /** Called exactly once. */
  done: (outcome: RunOutcome) => void
}

/** A line that an expert logged in a run. */
export interface RunLogLine {
  level: LogWord
  message: string
  fields: Record<string, unknown> | null
}

/** What became of the calls of a process that died. */
export interface LostRuns {
  /** Were running when it died by itself; any of them may be the cause. */
  suspects: Run[]
  /** Were running when another call took the process, or may have ended before. */
  sharing: Run[]
  /** Had not begun. */
  unbegun: Run[]
  /** What the expert itself gave to `process.exit()`; null when the process ended otherwise. */
  exitCode: number | null
}

interface Pending {
  id: number
  run: Run
  startedAt: number
  timer: NodeJS.Timeout | null
  /** Its caller has been answered (canceled, out of time); the slot stays taken until it truly ends. */
  settled: boolean
}

/** How long a run may go on after its signal, before its process is killed, milliseconds. */
const GRACE_MS = 2000
/** Runs shorter than this are sent ahead of their turn, so that many share one write. */
const SEND_AHEAD_UNDER_MS = 2
const SEND_AHEAD = 32
/** The answer of a run that began longer ago than this would have been here, milliseconds. */
const UNSENT_MS = 500

/**
 * The host's side of one expert process: the handshake, its calls, its mirror, its end.
 *
 * Calls are sent in order and the process begins them in order, `concurrency` at once. So of those
 * unfinished, the first `concurrency` are running and the others have not begun: the host knows it
 * without being told, and what had not begun is sent elsewhere after a crash.
 */
export class ExpertInstance {
  readonly startedAt = Date.now()
  readonly exited: Promise<ExpertExit>
  mirror: ExpertMirror = { status: 'STARTING', cfg: {}, tasks: [], modelSha256: null }
  /** Told what it held when it ended, and how it ended. */
  onLost: (lost: LostRuns, how: string) => void = () => {}
  onRoom: () => void = () => {}
  onInitProgress: (fraction: number, note: string | null) => void = () => {}
  /** Answers its questions: `what` with arguments as JSON gives JSON. */
  onAsk: (what: string, args: string) => Promise<string> = async (what) => {
    throw hostError('HOST_QUESTION_UNKNOWN', [what])
  }
  /** Why it was killed, when the host did it. */
  killedFor: string | null = null
  /** True when a caller's cancel or timeout killed it: no fault of the expert. */
  killedByCaller = false
  /** True from when it was asked to end in good order. */
  isStopping = false
  /** The job that ended it, where only one can have been the cause. */
  endedByJob: string | null = null
  fatal: WireError | null = null
  jobsDone = 0

  readonly #process: RunningExpert
  readonly #concurrency: number
  readonly #log: Logger
  #handshake: { resolve: (value: never) => void; reject: (error: Error) => void } | null = null
  #running = new Map<number, Pending>()
  #ahead: Pending[] = []
  #nextId = 1
  #meanRunMs = SEND_AHEAD_UNDER_MS
  readonly #logLimit = new LineLimit((notice) => this.#log.warn(notice))
  #gone = false
  /** What it runs must be alone in it. */
  #isAlone = false
  /** Of the expert to the host, being answered. */
  #questions = 0
  #pingedAt: number | null = null
  #whenIdle: (() => void) | null = null

  constructor(process: RunningExpert, concurrency: number, log: Logger) {
    this.#process = process
    this.#concurrency = concurrency
    this.#log = log
    process.port.onMessage = (head, body) => this.#receive(head, body)
    process.port.onClose = (fault) => {
      if (fault !== null) this.kill(`its process ${fault.message}`)
      else if (!this.#gone) process.kill()
    }
    this.exited = process.exited.then((exit) => this.#end(exit))
  }

  get pid(): number {
    return this.#process.pid
  }

  /** True when a call sent now would begin at once. */
  get hasFreeSlot(): boolean {
    return this.#running.size < this.#concurrency
  }

  /** Calls that were sent ahead of their turn. */
  get waiting(): number {
    return this.#ahead.length
  }

  get inFlight(): number {
    return this.#running.size + this.#ahead.length
  }

  /** Mean time of a run, milliseconds; recent runs weigh more. */
  get meanRunMs(): number {
    return this.#meanRunMs
  }

  /**
   * How many more calls may be sent now.
   *
   * @param begun - only those that begin at once, none ahead of their turn
   */
  room(begun: boolean): number {
    if (this.#gone || this.killedFor !== null || this.#isAlone) return 0
    const ahead = !begun && this.#meanRunMs < SEND_AHEAD_UNDER_MS ? SEND_AHEAD : 0
    return this.#concurrency + ahead - this.inFlight
  }

  /** Imports the package. @throws Error with the reason when it cannot be served */
  load(request: LoadRequest): Promise<ExpertDescription> {
    return this.#shake(() => this.#process.port.send(['load', request]))
  }

  /**
   * Sets the configuration and runs `init`.
   * @returns what the expert is, when that is only known now; else null
   */
  init(config: Record<string, unknown>): Promise<ExpertDescription | null> {
    return this.#shake(() => this.#process.port.send(['init', config]))
  }

  set(config: Record<string, unknown>): void {
    this.#process.port.send(['set', config])
  }

  setLogLevel(level: string): void {
    this.#process.port.send(['log-level', level])
  }

  send(run: Run): void {
    run.holder = this
    this.#isAlone = run.alone === true
    const id = this.#nextId++
    const pending: Pending = { id, run, startedAt: 0, timer: null, settled: false }
    if (this.#running.size < this.#concurrency) this.#begin(pending)
    else this.#ahead.push(pending)
    this.#process.port.send(['call', id, run.kind, run.jobId], run.body)
  }

  /** Ends one of its runs for `error`: at once if it has not begun, else by signal, then by kill. */
  cancel(run: Run, error: WireError): void {
    const place = this.#ahead.findIndex((pending) => pending.run === run)
    if (place !== -1) {
      const pending = this.#ahead[place] as Pending
      pending.settled = true
      this.#process.port.send(['cancel', pending.id])
      run.done({ ok: false, error })
      return
    }
    for (const pending of this.#running.values()) {
      if (pending.run === run && !pending.settled) this.#stopRun(pending, error)
    }
  }

  /** Asks for a sign of life, when it has nothing to do. */
  ping(): void {
    if (this.inFlight > 0 || this.#pingedAt !== null) return
    this.#pingedAt = performance.now()
    this.#process.port.send(['ping'])
  }

  /**
   * True when it was asked while it had nothing to do, and did not answer for so long. What came after
   * the ping is no excuse: the process answers before it begins a call. Blocked is not hung.
   */
  isSilentFor(ms: number): boolean {
    return this.#pingedAt !== null && performance.now() - this.#pingedAt > ms
  }

  /** Resolves when no call of it is unfinished, or it is gone. */
  async becomeIdle(): Promise<void> {
    if (this.inFlight === 0 || this.#gone) return
    const idle = new Promise<void>((resolve) => {
      this.#whenIdle = resolve
    })
    await Promise.race([idle, this.exited])
  }

  /** Asks it to end in good order; kills it after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.isStopping = true
    this.killedFor ??= 'it was stopped'
    this.#process.port.send(['stop'])
    const timer = setTimeout(() => this.#process.kill(), graceMs)
    await this.exited
    clearTimeout(timer)
  }

  kill(why: string): void {
    this.killedFor ??= why
    this.#process.kill()
  }

  #shake<T>(begin: () => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#gone) {
        reject(new Error(this.killedFor ?? 'its process is gone'))
        return
      }
      this.#handshake = { resolve: resolve as (value: never) => void, reject }
      begin()
    })
  }

  #receive(head: ToHost, body: string): void {
    if (!isToHost(head)) {
      this.kill(`its process sent what is no message: ${JSON.stringify(head).slice(0, 80)}`)
      return
    }
    switch (head[0]) {
      case 'result':
        this.#finish(head[1], { ok: true, text: body, head: null })
        return
      case 'reply':
        this.#finish(head[1], { ok: true, text: body, head: head[2] })
        return
      case 'error':
        this.#finish(head[1], { ok: false, error: head[2] })
        return
      case 'progress':
        if (head[1] === 0) this.onInitProgress(head[2], head[3])
        else this.#running.get(head[1])?.run.onProgress?.(head[2], head[3])
        return
      case 'ask':
        void this.#answer(head[1], head[2], body)
        return
      case 'mirror':
        this.mirror = head[1]
        return
      case 'log':
        if (!this.#logLimit.take()) return
        this.#log[head[1]](logFields(head[3], head[4]), head[2])
        if (head[4] !== null) this.#tellRun(head[4], head[1], head[2], head[3])
        return
      case 'described':
        this.#handshake?.resolve(head[1] as never)
        return
      case 'ready':
        this.#handshake?.resolve(head[1] as never)
        return
      case 'failed':
        this.#handshake?.reject(
          Object.assign(new Error(head[1].message), { stack: head[1].stack, code: head[1].code })
        )
        return
      case 'pong':
        this.#pingedAt = null
        return
      case 'fatal':
        this.fatal = head[1]
    }
  }

  async #answer(id: number, what: string, args: string): Promise<void> {
    if (this.#questions >= MOST_QUESTIONS) {
      this.kill(`it asked more than ${MOST_QUESTIONS} questions at once`)
      return
    }
    this.#questions += 1
    try {
      const answer = await this.onAsk(what.slice(0, 100), args)
      if (!this.#gone) this.#process.port.send(['answer', id], answer)
    } catch (error) {
      const wire =
        error instanceof HostError
          ? {
              code: error.code,
              message: error.message,
              statusCode: error.statusCode,
              exposed: true
            }
          : toWireError(error)
      if (!this.#gone) this.#process.port.send(['refusal', id, wire])
    } finally {
      this.#questions -= 1
    }
  }

  #tellRun(
    jobId: string,
    level: LogWord,
    message: string,
    fields: Record<string, unknown> | null
  ): void {
    for (const { run } of this.#running.values()) {
      if (run.jobId !== jobId) continue
      run.onLog?.({ level, message, fields })
      return
    }
  }

  #begin(pending: Pending): void {
    pending.startedAt = performance.now()
    this.#running.set(pending.id, pending)
    const { run } = pending
    if (pending.settled) {
      // Canceled before its turn; the process may have begun it before it read so.
      this.#killLater(pending)
      return
    }
    run.begunAt = pending.startedAt
    if (run.timeoutMs !== null) {
      const error = wireError('HOST_RUN_TIMEOUT', [run.timeoutMs])
      pending.timer = setTimeout(() => this.#stopRun(pending, error), run.timeoutMs)
    }
    run.onStart?.()
  }

  #stopRun(pending: Pending, error: WireError): void {
    if (pending.timer !== null) clearTimeout(pending.timer)
    pending.settled = true
    this.#process.port.send(['cancel', pending.id])
    this.#killLater(pending)
    pending.run.done({ ok: false, error })
  }

  #killLater(pending: Pending): void {
    pending.timer = setTimeout(() => {
      this.killedByCaller = true
      this.kill(`a run did not end within ${GRACE_MS} ms of its signal`)
    }, GRACE_MS)
  }

  #finish(id: number, outcome: RunOutcome): void {
    const pending = this.#running.get(id)
    if (pending === undefined) {
      const place = this.#ahead.findIndex((waiting) => waiting.id === id)
      // An answer to what was never asked, or a second one, is dropped: its caller has been told.
      if (place !== -1) this.#settle(this.#ahead.splice(place, 1)[0] as Pending, outcome)
      return
    }
    this.#running.delete(id)
    this.jobsDone += 1
    if (pending.timer !== null) clearTimeout(pending.timer)
    pending.run.endedAt = performance.now()
    const ms = pending.run.endedAt - pending.startedAt
    this.#meanRunMs += (ms - this.#meanRunMs) * 0.1
    const next = this.#ahead.shift()
    if (next !== undefined) this.#begin(next)
    this.#settle(pending, outcome)
    if (this.inFlight === 0) this.#isAlone = false
    this.onRoom()
    if (this.inFlight === 0) this.#whenIdle?.()
  }

  #settle(pending: Pending, outcome: RunOutcome): void {
    if (pending.settled) return
    pending.settled = true
    pending.run.done(outcome)
  }

  #end(exit: ExpertExit): ExpertExit {
    this.#gone = true
    this.#process.port.close()
    this.#handshake?.reject(new Error(this.describeExit(exit)))
    const exitCode = this.fatal === null ? exit.code : null
    const lost: LostRuns = { suspects: [], sharing: [], unbegun: [], exitCode }
    // A crash takes answers along that were not yet written: then the cause is further behind.
    const mayHaveAnswered = exit.signal !== null && this.#ahead.length > 0
    const now = performance.now()
    for (const pending of this.#running.values()) {
      if (pending.timer !== null) clearTimeout(pending.timer)
      if (pending.settled) continue
      const unsure = mayHaveAnswered && now - pending.startedAt < UNSENT_MS
      if (this.killedByCaller || unsure) lost.sharing.push(pending.run)
      else lost.suspects.push(pending.run)
    }
    for (const pending of this.#ahead) if (!pending.settled) lost.unbegun.push(pending.run)
    this.#running.clear()
    this.#ahead = []
    const [cause, ...others] = [...lost.suspects, ...lost.sharing]
    if (others.length === 0) this.endedByJob = cause?.jobId ?? null
    this.onLost(lost, this.#howItEnded(exit))
    return exit
  }

  /** A predicate for sentences: "exited with code 1: out of luck". */
  describeExit(exit: ExpertExit): string {
    const how = this.#howItEnded(exit)
    return this.fatal === null ? how : `${how}: ${this.fatal.message}`
  }

  /** The same without the error's message, which is not for callers. */
  #howItEnded(exit: ExpertExit): string {
    if (this.killedFor !== null && exit.signal === 'SIGKILL') return `was killed: ${this.killedFor}`
    if (exit.signal !== null) return `was killed by ${exit.signal}`
    return exit.code === null ? 'could not be started' : `exited with code ${exit.code}`
  }
}

/** What an expert's line carries; who wrote it, and when, it cannot say itself. */
function logFields(given: Record<string, unknown> | null, jobId: string | null) {
  const { expert: _expert, level: _level, time: _time, ...fields } = given ?? {}
  return jobId === null ? fields : { ...fields, job_id: jobId }
}
