import { setTimeout as sleep } from 'node:timers/promises'
import type { Ask, StoredDocument } from './documents.ts'
import { ExpertError } from './errors.ts'

/** What a step waited for: the version that it read, and the movies that it has not been given yet. */
export interface MovieChange {
  /** Of the step that it depends on; the counter is raised to it when the movies are done. */
  version: number
  /** `_id`s of movies whose `status` is `created`. */
  movies: string[]
}

export interface WaitOptions {
  /** Ends the wait with an error of code `EXP_CANCELED`. */
  signal?: AbortSignal
  /** How often is looked, milliseconds. Default: 3,000. */
  pollMs?: number
}

/** The counter of new movies: what a step depends on when it names no other. */
const MOVIES = 'movies'
const POLL_MS = 3000

/**
 * The counters of the older pipelines: in the collection `changes`, an integer for each step, and `movies`, which counts
 * what there is to be seen. A step is behind when its counter is under that of the step it depends on. A counter that
 * is not there is 0; names are data.
 */
export class VersionCounters {
  readonly #ask: Ask
  /** The versions that were read last, by step. */
  readonly #read = new Map<string, number>()

  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** Every document of counters; mostly there is one. */
  getVersions(): Promise<StoredDocument[]> {
    return this.#ask('changes.versions') as Promise<StoredDocument[]>
  }

  /**
   * Whether there is something new for an expert.
   *
   * @param depends - the step before it; null for new movies themselves
   */
  async getExpertStatus(expert: string, depends: string | null = null): Promise<boolean> {
    return (await this.#newVersion(expert, depends)) !== null
  }

  /**
   * Waits until there is something new for an expert, and gives the movies that it has not been given. Those that come later
   * raise the counter again, so that none is missed when the expert's is raised to `version`.
   *
   * @throws ExpertError EXP_CANCELED when the signal is aborted
   */
  async waitForChange(
    expert: string,
    depends: string | null = null,
    options: WaitOptions = {}
  ): Promise<MovieChange> {
    for (;;) {
      const version = await this.#newVersion(expert, depends)
      if (version !== null) {
        this.#read.set(expert, version)
        return { version, movies: await this.#undelivered(expert) }
      }
      await pause(options)
    }
  }

  /**
   * Raises a counter: `movies` by one, another to the version whose movies are done. A counter is never lowered.
   *
   * @param version - default: what `waitForChange` of this expert read last, else `movies` as it is now
   * @returns the counter as it is now
   */
  async updateExpertStatus(name: string, version?: number): Promise<number> {
    const reached = version ?? (name === MOVIES ? undefined : await this.#versionOf(name))
    return (await this.#ask('changes.advance', name, reached)) as number
  }

  /** Waits until the experts have done all movies. @throws ExpertError EXP_CANCELED when the signal is aborted */
  async waitForFinish(experts: readonly string[], options: WaitOptions = {}): Promise<void> {
    for (;;) {
      const documents = await this.getVersions()
      const isFinished = documents.every((document) =>
        experts.every((expert) => counterIn(document, expert) >= counterIn(document, MOVIES))
      )
      if (isFinished) return
      await pause(options)
    }
  }

  /**
   * Gives an expert each new movie, until the signal is aborted. A movie is noted as given (in its `delivered_to`) when the callback
   * has resolved: after a restart only those are given again whose callback did not end.
   *
   * @param entity - the expert
   * @param dependency - the step before it; null for new movies themselves
   * @throws what the callback throws; its movie and those behind it are given to the next who subscribes
   */
  async subscribe(
    entity: string,
    dependency: string | null,
    callback: (movieId: string) => unknown,
    options: WaitOptions = {}
  ): Promise<void> {
    try {
      for (;;) {
        const { version, movies } = await this.waitForChange(entity, dependency, options)
        for (const movie of movies) {
          throwIfCanceled(options)
          await callback(movie)
          const given = { delivered_to: { [entity]: new Date().toISOString() } }
          await this.#ask('movies.update', movie, given)
        }
        await this.updateExpertStatus(entity, version)
        throwIfCanceled(options)
      }
    } catch (error) {
      if (options.signal?.aborted !== true || !isCanceled(error)) throw error
    }
  }

  /** The version of what an expert depends on, when its own is behind it. */
  async #newVersion(expert: string, depends: string | null): Promise<number | null> {
    const documents = await this.getVersions()
    const step = depends ?? MOVIES
    const isBehind = documents.some(
      (document) => counterIn(document, step) > counterIn(document, expert)
    )
    return isBehind ? highest(documents, step) : null
  }

  async #versionOf(expert: string): Promise<number> {
    return this.#read.get(expert) ?? highest(await this.getVersions(), MOVIES)
  }

  async #undelivered(expert: string): Promise<string[]> {
    const movies: string[] = []
    let cursor: string | undefined
    do {
      const page = (await this.#ask('changes.created', expert, cursor)) as {
        ids: string[]
        next?: string
      }
      movies.push(...page.ids)
      cursor = page.next
    } while (cursor !== undefined)
    return movies
  }
}

function counterIn(document: StoredDocument, step: string): number {
  const counter = Object.hasOwn(document, step) ? document[step] : 0
  return typeof counter === 'number' ? counter : 0
}

function highest(documents: StoredDocument[], step: string): number {
  return Math.max(0, ...documents.map((document) => counterIn(document, step)))
}

async function pause({ signal, pollMs = POLL_MS }: WaitOptions): Promise<void> {
  throwIfCanceled({ signal })
  await sleep(pollMs, undefined, { signal }).catch(() => {})
  throwIfCanceled({ signal })
}

function throwIfCanceled({ signal }: WaitOptions): void {
  if (signal?.aborted === true) throw new ExpertError('EXP_CANCELED', 'The wait was canceled')
}

function isCanceled(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'EXP_CANCELED'
}
