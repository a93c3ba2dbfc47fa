import { setTimeout as sleep } from 'node:timers/promises'
import type { RunContext } from './context.ts'
import type { Ask, StoredDocument } from './documents.ts'
import { ExpertError } from './errors.ts'
import { type ItemOutcome, itemOutcome, thrownOutcome } from './item-outcome.ts'
import { allMovies } from './pipeline-movies.ts'
import type { MakeItemContext, PipelineTask, RunMark } from './pipeline-task.ts'
import { taskParams } from './task-params.ts'

export interface HandleOptions {
  /** The first movie that fails ends it; those behind it stay as they are. Default: false. */
  stopOnFailure?: boolean
  /** Ends it: the movie that runs is told, and given back when it does not finish. Default: that of `context`. */
  signal?: AbortSignal
  /** The run that this is a part of: progress is told there. */
  context?: RunContext
}

/** How the movies of a task were handled. */
export interface HandledTask {
  /** Movies that this call ran to their end. */
  processed: number
  /** Those of them that failed. */
  failed: number
  /** As it stands in the document now. */
  status: 'success' | 'fail'
  error: string | null
}

/** A movie that this worker alone may run, as the host gave it. */
interface Claim {
  movie: string
  attempts: number
}

interface Counts {
  blocked: number
  ready: number
  running: number
  success: number
  fail: number
  skipped: number
}

/** How often what is held is renewed, milliseconds: a third of what the host gives. */
const RENEW_MS = 10_000
/** How often the document is brought up to date for those who read it without asking a host. */
const SHOW_MS = 5000
/** How often it is looked whether others have finished. */
const WATCH_MS = 250
/** How often a movie is begun whose worker is lost every time. */
const MOST_ATTEMPTS = 3

/** One call of `handlePipelineTask`. */
export class TaskRun {
  readonly #ask: Ask
  readonly #makeContext: MakeItemContext
  readonly #mark: () => RunMark
  readonly #task: PipelineTask
  readonly #name: string
  readonly #id: string
  readonly #options: HandleOptions
  readonly #signal: AbortSignal
  /** The movie that runs, and what ends it when another worker has taken it. */
  #current: { claim: Claim; lost: AbortController } | null = null
  #extraParams: Record<string, unknown> | null = null
  #processed = 0
  #failed = 0
  #firstFailure: string | null = null
  #total = 0
  #shownAt = 0

  constructor(parts: {
    ask: Ask
    makeContext: MakeItemContext
    mark: () => RunMark
    task: PipelineTask
    id: string
    options: HandleOptions
  }) {
    this.#ask = parts.ask
    this.#makeContext = parts.makeContext
    this.#mark = parts.mark
    this.#task = parts.task
    this.#name = parts.task.getName()
    this.#id = parts.id
    this.#options = parts.options
    this.#signal =
      parts.options.signal ?? parts.options.context?.signal ?? new AbortController().signal
  }

  async run(): Promise<HandledTask> {
    this.#throwIfCanceled()
    const document = await this.#document({ movies: false })
    const counts = document && (await this.#reconcile({ again: true }))
    if (document === null || counts === null) return refused(`Error: no pipeline for ${this.#id}`)
    this.#total = counts.ready + counts.running
    if (sumOf(counts) === 0 && (await this.#hasNoMovies())) {
      return refused(`No movies for pipeline for ${this.#id}`)
    }
    await this.#ask('pipelines.begin', this.#id, this.#name)
    try {
      this.#extraParams = await taskParams(this.#task, document)
    } catch (error) {
      await this.#end('fail')
      return refused((error as Error).message)
    }
    const beat = setInterval(() => void this.#renew().catch(() => {}), RENEW_MS)
    try {
      return await this.#handle()
    } catch (error) {
      await this.#giveBack()
      throw error
    } finally {
      clearInterval(beat)
    }
  }

  async #handle(): Promise<HandledTask> {
    for (;;) {
      this.#throwIfCanceled()
      // One at a time: whatever is claimed and not begun, another worker could have begun.
      const [claim] = await this.#claim()
      if (claim !== undefined) {
        const isGood = await this.#take(claim)
        if (!isGood && this.#options.stopOnFailure === true) return this.#finish()
        if (Date.now() - this.#shownAt > SHOW_MS) await this.#reconcile()
        continue
      }
      if ((await this.#ask('pipelines.isRunning', this.#id, this.#name)) !== true) {
        // Movies may have been added meanwhile.
        const counts = await this.#reconcile()
        if (counts === null || counts.ready + counts.running === 0) return this.#finish()
      }
      await this.#pause()
    }
  }

  /** Runs one movie and writes how it ended. @returns whether it did not fail */
  async #take(claim: Claim): Promise<boolean> {
    const startedAt = Date.now()
    this.#current = { claim, lost: new AbortController() }
    const { ok, error } = await this.#process(claim, this.#current.lost.signal)
    if (!ok) this.#throwIfCanceled()
    const [isWritten] = await this.#record([
      {
        claim,
        state: ok ? 'success' : 'fail',
        error,
        startedAt,
        finishedAt: Date.now(),
        ran: { ...this.#mark(), extra_params: this.#extraParams }
      }
    ])
    this.#current = null
    // Another had it by then, and writes it.
    if (isWritten !== true) return true
    this.#processed += 1
    if (!ok) {
      this.#failed += 1
      this.#firstFailure ??= `${claim.movie}: ${error}`
    }
    const done = Math.min(1, this.#processed / Math.max(1, this.#total))
    this.#options.context?.progress(done, claim.movie)
    return ok
  }

  async #process({ movie, attempts }: Claim, lost: AbortSignal): Promise<ItemOutcome> {
    if (attempts > MOST_ATTEMPTS) {
      const error = `it was begun ${MOST_ATTEMPTS} times, and its worker was lost each time`
      return { ok: false, error }
    }
    const signal = AbortSignal.any([this.#signal, lost])
    const jobId = this.#options.context?.jobId
    const { context, close } = await this.#makeContext({ signal, jobId })
    try {
      const own = { extraParams: this.#extraParams, pipelineId: this.#id, task: this.#name }
      return itemOutcome(await this.#task.processMovie(movie, Object.assign(context, own)))
    } catch (error) {
      return thrownOutcome(error)
    } finally {
      await close()
    }
  }

  /** Keeps what it has; a movie that is not its own any more is stopped. */
  async #renew(): Promise<void> {
    await this.#ask('pipelines.begin', this.#id, this.#name)
    const current = this.#current
    if (current === null) return
    const [isKept] = await this.#record([{ claim: current.claim, state: 'running' }])
    // What ended while this was asked is refused for that alone.
    if (isKept === false && this.#current === current) current.lost.abort()
  }

  async #finish(): Promise<HandledTask> {
    const counts = await this.#reconcile()
    if (counts === null) return refused(`Error: no pipeline for ${this.#id}`)
    const isDone = sumOf(counts) === counts.success
    const status = isDone ? 'success' : 'fail'
    await this.#end(status)
    const why = `${sumOf(counts) - counts.success} movies have not succeeded`
    const error = isDone ? null : (this.#firstFailure ?? why)
    return { processed: this.#processed, failed: this.#failed, status, error }
  }

  /** It ends for another reason, which is what is told: whatever goes wrong here is not. */
  async #giveBack(): Promise<void> {
    const claim = this.#current?.claim
    this.#current = null
    if (claim !== undefined) {
      const attempts = Math.max(0, claim.attempts - 1)
      const waiting = { claim, state: 'ready', notBefore: null, attempts }
      await this.#record([waiting]).catch(() => {})
    }
    await this.#ask('pipelines.release', this.#id, this.#name).catch(() => {})
  }

  async #claim(): Promise<Claim[]> {
    return (await this.#ask('pipelines.claim', this.#id, this.#name, 1)) as Claim[]
  }

  async #record(changes: object[]): Promise<boolean[]> {
    if (changes.length === 0) return []
    return (await this.#ask('pipelines.record', this.#name, changes)) as boolean[]
  }

  async #reconcile(options: { again?: boolean } = {}): Promise<Counts | null> {
    this.#shownAt = Date.now()
    return (await this.#ask('pipelines.reconcile', this.#id, this.#name, options)) as Counts | null
  }

  async #document(options: { movies?: boolean } = {}): Promise<StoredDocument | null> {
    return (await this.#ask('pipelines.get', this.#id, options)) as StoredDocument | null
  }

  async #hasNoMovies(): Promise<boolean> {
    const document = await this.#document()
    return document === null || Object.keys(allMovies(document)).length === 0
  }

  async #end(status: HandledTask['status']): Promise<void> {
    await this.#ask('pipelines.end', this.#id, this.#name, status)
  }

  async #pause(): Promise<void> {
    await sleep(WATCH_MS, undefined, { signal: this.#signal }).catch(() => this.#throwIfCanceled())
  }

  #throwIfCanceled(): void {
    if (!this.#signal.aborted) return
    throw new ExpertError('EXP_CANCELED', `The task '${this.#name}' of ${this.#id} was canceled`)
  }
}

function refused(error: string): HandledTask {
  return { processed: 0, failed: 0, status: 'fail', error }
}

function sumOf(counts: Counts): number {
  return Object.values(counts).reduce((sum: number, count: number) => sum + count, 0)
}
