import type { Ask, StoredDocument } from './documents.ts'
import { type HandledTask, type HandleOptions, TaskRun } from './handle-task.ts'
import {
  allMovies,
  type MovieChanges,
  type PipelineMovies,
  pendingMovies,
  statusChanges,
  withFieldsOnlyOfNew
} from './pipeline-movies.ts'
import type { MakeItemContext, PipelineTask, RunMark } from './pipeline-task.ts'
import { VersionCounters } from './version-counters.ts'

/** How an update ended: the document without `movies`, or why there was none. */
export type PipelineUpdate =
  | { result: StoredDocument; error: null }
  | { result: null; error: string }

/** Movies of a pipeline, or why there are none. */
export type PipelineMoviesAnswer =
  | { movies: PipelineMovies; error: null }
  | { movies: null; error: string }

/**
 * Pipelines: documents of the collection `pipelines`, each with the movies that go through several tasks, and how far
 * they are. What the older pipelines answered as a pair is an object here, with `error` null when all went well.
 *
 * Ids are `pipelines/<key>` or the bare key. A pipeline that is not there, or has no movies, is told as `error`;
 * what the store cannot do rejects, as in `Movies`. Names of tasks are data: any text will do.
 */
export class Pipelines extends VersionCounters {
  readonly #ask: Ask
  readonly #makeContext: MakeItemContext
  readonly #mark: () => RunMark

  constructor(
    ask: Ask,
    options: {
      makeContext: MakeItemContext
      /** What is recorded of the expert with each movie. */
      mark: () => RunMark
    }
  ) {
    super(ask)
    this.#ask = ask
    this.#makeContext = options.makeContext
    this.#mark = options.mark
  }

  /**
   * Writes a new pipeline. Rejects with `HOST_DOCUMENT_EXISTS` when the id is taken.
   *
   * @param movies - by their `_id`, or a list of ids or of entries; kept as an object
   * @param tasks - the status of each task that has begun
   * @returns the document without `movies`
   */
  createPipeline(
    id: string,
    movies: Record<string, unknown> | readonly unknown[] = {},
    tasks: Record<string, unknown> = {}
  ): Promise<StoredDocument> {
    const _key = id.replace(/^pipelines\//, '')
    return this.#ask('pipelines.create', { _key, movies, tasks }) as Promise<StoredDocument>
  }

  /** The document with its movies, as they are now; undefined when there is none. */
  async getPipeline(id: string): Promise<StoredDocument | undefined> {
    return ((await this.#ask('pipelines.get', id)) ?? undefined) as StoredDocument | undefined
  }

  /**
   * Writes what a task has found, in one step: of a movie its status of this task, of the document the tasks and inputs
   * that are named. Nothing else is touched, so that writers of different tasks never lose each other's.
   *
   * @param moviesStatus - by the movie's `_id`: its status, or an entry with `status.<task>`. A movie that is not there is
   *   added with all that its entry has beside `status`
   * @param taskStatus - statuses by task, laid over `tasks`; a text is that of this task
   * @param taskInputs - inputs by expert, laid over `inputs`; `{}` empties those of this task; absent, all stay
   */
  async updatePipeline(
    task: string,
    id: string,
    moviesStatus: Record<string, unknown> | readonly unknown[],
    taskStatus: Record<string, unknown> | string,
    taskInputs?: Record<string, unknown> | null
  ): Promise<PipelineUpdate> {
    try {
      const result = await this.#ask('pipelines.update', id, {
        movies: await this.#changesOf(task, id, moviesStatus),
        tasks: typeof taskStatus === 'string' ? { [task]: taskStatus } : taskStatus,
        inputs: inputsOf(task, taskInputs)
      })
      return result === null
        ? { result, error: missing(id) }
        : { result: result as StoredDocument, error: null }
    } catch (error) {
      const { message } = error as Error
      return { result: null, error: `Error: exception ${message} in update pipeline for ${id}` }
    }
  }

  /** All movies of a pipeline, by their `_id`. */
  async getAllMovies(id: string): Promise<PipelineMoviesAnswer> {
    const document = await this.getPipeline(id)
    if (document === undefined) return { movies: null, error: missing(id) }
    return { movies: allMovies(document), error: null }
  }

  /** The movies for which a task has not succeeded: not begun, under way, or failed. */
  async getNewMovies(id: string, task: string): Promise<PipelineMoviesAnswer> {
    const { movies, error } = await this.getAllMovies(id)
    if (movies === null) return { movies, error }
    return Object.keys(movies).length === 0
      ? { movies: null, error: `No movies for pipeline for ${id}` }
      : { movies: pendingMovies(movies, task), error: null }
  }

  /**
   * Claims a pipeline for which a task has not begun, the first by key: sets `tasks.<task>` to `active` and notes who has it in
   * `claims.<task>`. Of several that ask at once, each gets another. The claim holds for ten minutes, and while
   * `handlePipelineTask` runs; what was claimed and not ended is given again then, and what failed twice more.
   *
   * Only pipelines that are for the task are given: those that name it in `inputs` or `plan`, or have neither.
   *
   * @returns the document with its movies; undefined when there is none
   */
  async getFirstPipelineForTask(task: string): Promise<StoredDocument | undefined> {
    const claimed = await this.#ask('pipelines.claimFirst', task)
    return (claimed ?? undefined) as StoredDocument | undefined
  }

  /**
   * Takes each movie for which a task has not succeeded through its `processMovie`, one after another. What becomes of
   * a movie is written before the next begins; `tasks.<task>` is `active` meanwhile, and `success` or `fail` at the end.
   *
   * Several workers may handle one task of a pipeline at once: they share its movies. A movie that a lost worker had is taken
   * by another after half a minute, three times at most.
   *
   * @param task - an expert is one
   * @returns how many movies this call ran, how many of those failed, and the status of the task; `error` says why it is `fail`
   * @throws ExpertError EXP_CANCELED when the signal is aborted; what was not finished can be handled later
   */
  handlePipelineTask(
    task: PipelineTask,
    id: string,
    options: HandleOptions = {}
  ): Promise<HandledTask> {
    const makeContext = this.#makeContext
    return new TaskRun({ ask: this.#ask, makeContext, mark: this.#mark, task, id, options }).run()
  }

  async #changesOf(
    task: string,
    id: string,
    given: Record<string, unknown> | readonly unknown[]
  ): Promise<MovieChanges> {
    const changes = statusChanges(task, given)
    const hasFields = Object.values(changes).some((entry) =>
      Object.keys(entry).some((name) => name !== 'status')
    )
    if (!hasFields) return changes
    const { movies } = await this.getAllMovies(id)
    return withFieldsOnlyOfNew(changes, movies ?? {})
  }
}

function missing(id: string): string {
  return `Error: no pipeline for ${id}`
}

function inputsOf(
  task: string,
  given: Record<string, unknown> | null | undefined
): Record<string, unknown> | undefined {
  if (given === undefined || given === null) return undefined
  return Object.keys(given).length === 0 ? { [task]: {} } : given
}
