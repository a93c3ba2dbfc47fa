import type { Static, TSchema } from 'typebox'
import type { ExpertLog, InitContext, RunContext } from './context.ts'
import type { Movies, Tokens } from './documents.ts'
import type { ExpertApi } from './expert-api.ts'
import type { Media } from './media/media.ts'
import type { ExpertParam } from './records.ts'
import { type ExpertServices, servicesOf } from './services.ts'

/** Marks the class, so that a host finds it whichever copy of the SDK a plugin carries. */
export const baseExpertMark = Symbol.for('nebula-experts.BaseExpert')

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

  /** The name under which the host serves this expert; `/` and records carry it. */
  getName(): string {
    return this.#services().name
  }

  /** Loads what the expert needs. The expert is ready when this resolves, and failed when it throws. */
  async init(_context: InitContext): Promise<void> {}

  /** Declares routes beside the inherited ones. Called once, before `init`. */
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
