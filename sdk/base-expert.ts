import type { Static, TSchema } from 'typebox'
import { baseExpertMark } from './base-expert-mark.ts'
import type {
  ExpertContext,
  ExpertLog,
  InitContext,
  ItemContext,
  PipelineContext,
  RunContext
} from './context.ts'
import type { Movies, Tokens } from './documents.ts'
import { ExpertError } from './errors.ts'
import type { ExpertApi } from './expert-api.ts'
import type { ItemAnswer } from './item-outcome.ts'
import type { Media } from './media/media.ts'
import type { MovieFile } from './movies/movie-file.ts'
import { openMovie } from './movies/open-movie.ts'
import type { Pipelines } from './pipelines.ts'
import { type ExpertParam, movieAlias } from './records.ts'
import { type ExpertServices, servicesOf } from './services.ts'

/** One entry of `/tasks`. */
export interface ExpertTask {
  id: string
  info: Record<string, unknown>
}

/** An expert's status, as `/status` shows it. */
export type ExpertStatus = 'STARTING' | 'ACTIVE'

/**
 * The class that an expert extends and exports as its package's default.
 *
 * The host makes one object of it in a child process, sets `config`, awaits `init`, and then calls
 * `predict` and `predictImage` for each request. Nothing of it runs in the host's own process.
 *
 * - required: at least one of `predict`, `predictImage` or a route declared in `addExpertApis`
 * - `static config`: a JSON Schema whose keys are environment variables; values are on `this.config`
 * - `static params`: a JSON Schema of `extra_params`; requests that do not fit are answered 422
 *
 * @example
 * ```js
 * import { BaseExpert } from '@nebula-experts/sdk'
 *
 * export default class Greeter extends BaseExpert {
 *   async predict (params) { return { result: `hello ${params.movie_id}`, error: null } }
 * }
 * ```
 */
export abstract class BaseExpert<
  Config extends TSchema = TSchema,
  Params extends TSchema = TSchema
> {
  static readonly [baseExpertMark] = true
  /** JSON Schema (or TypeBox) of the environment variables that this expert reads. */
  static config?: TSchema
  /** JSON Schema (or TypeBox) of `extra_params`. */
  static params?: TSchema
  /** True: `addExpertApis` is called after `init`, which finds out what the routes take. Default: before it. */
  static lateRoutes?: boolean

  #status: ExpertStatus = 'STARTING'
  // The seed's tasks may overlap under one id: counted, so that one end does not hide the other run.
  #tasks = new Map<string, { info: Record<string, unknown>; runs: number }>()

  /** Values of the declared `config` keys. Set before `init`; changed by `POST /set`. */
  get config(): Static<Config> {
    return this.#services().config as Static<Config>
  }

  get log(): ExpertLog {
    return this.#services().log
  }

  /** Pictures: fetched under the operator's address rules, decoded under limits. */
  get media(): Media {
    return this.#services().media
  }

  /** Documents of movies, kept by the host. */
  get movies(): Movies {
    return this.#services().movies
  }

  /** What experts saw in movies and pictures, kept by the host. */
  get tokens(): Tokens {
    return this.#services().tokens
  }

  /** Pipelines: movies that go through the tasks of several experts. */
  get pipelines(): Pipelines {
    return this.#services().pipelines
  }

  /** The name under which the host serves this expert; `/` and records carry it. */
  getName(): string {
    return this.#services().name
  }

  /**
   * Finds a movie's document and fetches the file that its `url_path` names, into the folder of the job.
   *
   * @param id - `Movies/<key>` or the bare key
   * @throws ExpertError EXP_MEDIA_NOT_FOUND when there is no such movie, EXP_BAD_INPUT when its document does not say
   *   where its file is or names scene elements that cannot be; else as `media.downloadVideo`
   */
  openMovie(id: string, context: Pick<ExpertContext, 'tmp' | 'signal'>): Promise<MovieFile> {
    return openMovie(id, this.#services(), context)
  }

  /** Loads what the expert needs. The expert is ready when this resolves, and failed when it throws. */
  async init(_context: InitContext): Promise<void> {}

  /** Declares routes beside the inherited ones. Called once, before `init` unless `static lateRoutes` says after it. */
  addExpertApis(_api: ExpertApi): void {}

  /**
   * Answers `POST /predict`: a movie. Left as it is, it answers an `error` that says so.
   * @returns any JSON value; by convention `{ result, error }`
   */
  async predict(_params: ExpertParam<Static<Params>>, _context: RunContext): Promise<unknown> {
    return { result: null, error: `Expert '${this.getName()}' predicts no movies` }
  }

  /**
   * Answers `POST /predict/image`: one picture, at `params.img_url`. Left as it is, it answers an `error`
   * that says so.
   * @returns any JSON value; by convention `{ result, error }`
   */
  async predictImage(_params: ExpertParam<Static<Params>>, _context: RunContext): Promise<unknown> {
    return { result: null, error: `Expert '${this.getName()}' predicts no images` }
  }

  /**
   * Answers `POST /predict/images` in one run, when an expert can do better than one by one.
   * Left undefined, each picture of the list goes through `predictImage`.
   * @returns as many answers as there are pictures, in their order
   */
  predictImages?(list: ExpertParam<Static<Params>>[], context: RunContext): Promise<unknown[]>

  /**
   * Takes one movie of a pipeline's task. Left as it is, it predicts the movie as a request with
   * `output: "db"` would: records under `result` are saved, and an `error` means that it failed.
   *
   * The movie succeeded when `ok` is true and there is no `error`; whatever is thrown is a failure. It may
   * be called again for a movie that it has done, when a process was lost before the end was written.
   *
   * @param movieId - the movie's `_id`, such as `Movies/92363371`
   */
  async processMovie(movieId: string, context: ItemContext<Static<Params>>): Promise<ItemAnswer> {
    const params = movieAlias({
      id: movieId,
      scene_element: null,
      local: false,
      extra_params: context.extraParams,
      output: 'db',
      type: 'movie',
      img_url: null,
      output_file: null
    })
    const answer = await this.predict(params, context)
    const saved = await this.tokens.saveAnswer(answer)
    context.log.debug('a movie of a pipeline was predicted', {
      movie_id: movieId,
      saved: saved?.length ?? 0
    })
    const error = (answer as { error?: unknown } | null | undefined)?.error ?? null
    return { ok: error === null, error }
  }

  /**
   * Does the work of `EXPERT_RUN_MODE=batch`: the host runs it once in place of serving, and ends with
   * code 0 when it resolves, with 70 when it throws. Left as it is, it throws.
   */
  async runBatch(_context: RunContext): Promise<unknown> {
    throw new ExpertError('EXP_NO_BATCH', `Expert '${this.getName()}' has no batch`)
  }

  /**
   * Does the work of `EXPERT_RUN_MODE=task`, once in place of serving. Left as it is, it takes every movie of the
   * pipeline that `PIPELINE_ID` names through `processMovie`, with the expert's name as the task.
   * @returns of movies and task, how they ended
   */
  async runPipelineTask(context: PipelineContext): Promise<unknown> {
    const { pipelineId } = context
    if (pipelineId === null) {
      throw new ExpertError(
        'EXP_PIPELINE_ID_MISSING',
        'PIPELINE_ID is missing: it names the pipeline whose movies are to be handled'
      )
    }
    return this.pipelines.handlePipelineTask(this, pipelineId, { context })
  }

  /** What `/status` answers. */
  getStatus(): string | null {
    return this.#status
  }

  /** What `/cfg` answers beside the declared configuration. */
  getCfg(): Record<string, unknown> | null {
    return {}
  }

  /** What `/tasks` answers, in the order of `addTask`. */
  getTasks(): ExpertTask[] {
    return [...this.#tasks].map(([id, task]) => ({ id, info: task.info }))
  }

  /** Name of the expert whose results this one needs, or null. */
  getDependency(): string | null {
    return null
  }

  /**
   * SHA-256 of the model that answers, in hex, or null. Asked for when `init` has ended; recorded with each
   * movie of a pipeline, so that it is known what made a result.
   */
  getModelSha256(): string | null {
    return null
  }

  /** Called once before the process ends in good order; bounded by the host's grace. */
  async handleExit(): Promise<void> {}

  /** Marks the expert as active. The host does it when `init` resolves; calling it earlier is harmless. */
  setActive(): void {
    this.#status = 'ACTIVE'
    this.#changed()
  }

  /** Shows work under way in `/tasks`. The same id may be added again; its info is replaced. */
  addTask(id: string, info: Record<string, unknown> = {}): void {
    const runs = (this.#tasks.get(id)?.runs ?? 0) + 1
    this.#tasks.set(id, { info: { ...info }, runs })
    this.#changed()
  }

  /** Ends one run of a task; an unknown id is ignored. */
  removeTask(id: string): void {
    const task = this.#tasks.get(id)
    if (task === undefined) return
    task.runs -= 1
    if (task.runs === 0) this.#tasks.delete(id)
    this.#changed()
  }

  #services(): ExpertServices {
    return servicesOf(this)
  }

  #changed(): void {
    this.#services().changed()
  }
}
