import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import {
  attachServices,
  type BaseExpert,
  baseExpertMark,
  collectRoutes,
  createMedia,
  type DeclaredRoute,
  type ExpertParam,
  type ExpertServices,
  itemOutcome,
  type MakeItemContext,
  Movies,
  movieAlias,
  Pipelines,
  type RunMark,
  Tokens
} from '@nebula-experts/sdk/hosting'
import { AnswerWriter } from './answer-writer.ts'
import { CallContext, portLog } from './call-context.ts'
import { describeExpert, modelSha256Of, overridesMirror } from './describe-expert.ts'
import {
  type CallKind,
  type ItemBody,
  type LoadRequest,
  type Port,
  type TaskBody,
  type ToExpert,
  type ToHost,
  toWireError
} from './messages.ts'
import { Questions } from './questions.ts'

interface Call {
  id: number
  kind: CallKind
  jobId: string
  body: string
}

/** Calls longer than this are worth a write of their own, milliseconds. */
const SLOW_MS = 0.5
/** How many calls after a slow one still get a write of their own. */
const SLOW_MEMORY = 1000

/**
 * The expert's side of the channel: imports the package, makes its object, and runs calls in the order
 * they came, at most `concurrency` at once. It is the same in a child process and inline.
 */
export class ExpertHarness {
  readonly #port: Port<ToHost, ToExpert>
  readonly #setVariables: boolean
  readonly #end: () => void
  #expert: BaseExpert | null = null
  #routes = new Map<CallKind, DeclaredRoute>()
  readonly #questions: Questions
  #load: LoadRequest | null = null
  #services: ExpertServices | null = null
  #writer: AnswerWriter | null = null
  #waiting: Call[] = []
  #running = new Map<number, CallContext>()
  #turnStart = 0
  // Counts down from SLOW_MEMORY; above 0, answers leave before the next call begins.
  #slow = 0
  #hasListened = false
  #mirror = ''
  #mirrorMayChange = false
  #modelSha256: string | null = null
  /** Ids of contexts that are no call's own; calls count upwards from 1. */
  #lastOwnId = 0

  constructor(port: Port<ToHost, ToExpert>, options: { setVariables: boolean; end: () => void }) {
    this.#port = port
    this.#questions = new Questions(port)
    this.#setVariables = options.setVariables
    this.#end = options.end
    port.onMessage = (head, body) => this.#receive(head, body)
    port.onClose = () => this.#end()
  }

  #receive(head: ToExpert, body: string): void {
    switch (head[0]) {
      case 'call':
        this.#waiting.push({ id: head[1], kind: head[2], jobId: head[3], body })
        // When all that came with it has been read: it may be canceled there.
        if (this.#waiting.length === 1) queueMicrotask(this.#pump)
        return
      case 'cancel':
        this.#cancel(head[1])
        return
      case 'load':
        void this.#attempt(() => this.#loadExpert(head[1]))
        return
      case 'init':
        void this.#attempt(() => this.#init(head[1]))
        return
      case 'set':
        this.#setConfig(head[1])
        this.#sendMirror()
        return
      case 'log-level':
        if (this.#load !== null) this.#load.logLevel = head[1]
        return
      case 'answer':
        this.#questions.answer(head[1], body)
        return
      case 'refusal':
        this.#questions.refuse(head[1], head[2])
        return
      case 'ping':
        this.#port.send(['pong'])
        // Before a call that came with it and may block for long.
        this.#port.flush()
        return
      case 'stop':
        void this.#stop()
    }
  }

  async #attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      this.#port.send(['failed', toWireError(error)])
    }
  }

  async #loadExpert(load: LoadRequest): Promise<void> {
    this.#load = load
    const module = (await import(load.entry)) as { default?: unknown }
    const Expert = module.default as (new () => BaseExpert) | undefined
    if (typeof Expert !== 'function' || !(baseExpertMark in Expert)) {
      throw new Error(
        `The package's default export must be a class that extends BaseExpert, found ${kindOfExport(Expert)}`
      )
    }
    const expert = new Expert()
    this.#services = {
      name: load.name,
      config: {},
      log: portLog(this.#port, () => load.logLevel, null),
      media: createMedia(load.media),
      movies: new Movies(this.#questions.ask),
      tokens: new Tokens(this.#questions.ask),
      pipelines: new Pipelines(this.#questions.ask, {
        makeContext: this.#makeItemContext,
        mark: this.#mark
      }),
      changed: () => this.#sendMirror()
    }
    attachServices(expert, this.#services)
    const description = describeExpert(expert, isLate(expert) ? [] : this.#collectRoutes(expert))
    this.#mirrorMayChange = overridesMirror(expert)
    this.#writer = new AnswerWriter(this.#port, load)
    this.#expert = expert
    this.#port.send(['described', description])
  }

  async #init(config: Record<string, unknown>): Promise<void> {
    const expert = this.#expert as BaseExpert
    this.#setConfig(config)
    const context = this.#context(0, 'init')
    try {
      await expert.init(context)
    } finally {
      await this.#removeTmp(context)
    }
    this.#modelSha256 = modelSha256Of(expert)
    expert.setActive()
    this.#sendMirror()
    const late = isLate(expert) ? describeExpert(expert, this.#collectRoutes(expert)) : null
    this.#port.send(['ready', late])
  }

  #collectRoutes(expert: BaseExpert): DeclaredRoute[] {
    const routes = collectRoutes((api) => expert.addExpertApis(api))
    for (const route of routes) this.#routes.set(`${route.method} ${route.path}`, route)
    return routes
  }

  /** Sets values on `this.config` and, in a process of its own, as environment variables. */
  #setConfig(config: Record<string, unknown>): void {
    const services = this.#services as ExpertServices
    services.config = Object.freeze({ ...services.config, ...config })
    if (!this.#setVariables) return
    for (const [key, value] of Object.entries(config)) {
      if (value === null || value === undefined) delete process.env[key]
      else process.env[key] = Array.isArray(value) ? value.join(',') : String(value)
    }
  }

  /**
   * Starts what may start. Short calls in a row share one write, for the cost of a call is mostly the
   * write; but what is done must never wait for a call that blocks.
   */
  #pump = (): void => {
    const load = this.#load as LoadRequest
    while (this.#waiting.length > 0 && this.#running.size < load.concurrency) {
      const now = performance.now()
      if (this.#turnStart === 0) {
        this.#turnStart = now
        setImmediate(this.#nextTurn)
      } else if (now - this.#turnStart > SLOW_MS) {
        this.#slow = SLOW_MEMORY
        return
      }
      if (this.#slow > 0) {
        this.#slow -= 1
        this.#port.flush()
      }
      this.#start(this.#waiting.shift() as Call)
    }
  }

  #nextTurn = (): void => {
    this.#port.flush()
    if (this.#slow === SLOW_MEMORY && !this.#hasListened) {
      // What came while the last call blocked is read before the next begins: it may be canceled.
      this.#hasListened = true
      setImmediate(this.#nextTurn)
      return
    }
    this.#hasListened = false
    this.#turnStart = 0
    this.#pump()
  }

  #start(call: Call): void {
    const context = this.#context(call.id, call.jobId)
    this.#running.set(call.id, context)
    let answer: unknown
    try {
      answer = this.#invoke(call, context)
    } catch (error) {
      this.#finish(call, context, undefined, error ?? new Error('threw nothing'))
      return
    }
    if (answer instanceof Promise) {
      answer.then(
        (value) => this.#finish(call, context, value),
        (error) =>
          this.#finish(call, context, undefined, error ?? new Error('rejected with nothing'))
      )
    } else {
      this.#finish(call, context, answer)
    }
  }

  #invoke(call: Call, context: CallContext): unknown {
    const expert = this.#expert as BaseExpert
    const params = JSON.parse(call.body)
    switch (call.kind) {
      case 'movie':
        return expert.predict(movieAlias(params), context)
      case 'image':
        return expert.predictImage(movieAlias(params), context)
      case 'images':
        return this.#invokeList(params, context)
      case 'process':
        return this.#processMovie(params, context)
      case 'batch':
        return expert.runBatch(context)
      case 'task': {
        const { pipeline_id: pipelineId } = params as TaskBody
        return expert.runPipelineTask(Object.assign(context, { pipelineId }))
      }
      default: {
        const route = this.#routes.get(call.kind)
        if (route === undefined) throw new Error(`There is no route ${call.kind}`)
        return route.handler(params, context)
      }
    }
  }

  async #invokeList(list: ExpertParam[], context: CallContext): Promise<unknown[]> {
    const answers = await this.#expert?.predictImages?.(list.map(movieAlias), context)
    if (!Array.isArray(answers) || answers.length !== list.length) {
      const found = Array.isArray(answers) ? `${answers.length} answers` : typeof answers
      throw new TypeError(`predictImages must answer an array of ${list.length}, found ${found}`)
    }
    return answers
  }

  async #processMovie(
    { movie_id, extra_params: extraParams, pipeline_id: pipelineId, task }: ItemBody,
    context: CallContext
  ): Promise<unknown> {
    const itemContext = Object.assign(context, { extraParams, pipelineId, task })
    const outcome = itemOutcome(await this.#expert?.processMovie(movie_id, itemContext))
    // Only the process that ran knows which version that was: another may serve by now.
    return { ...outcome, ...this.#mark() }
  }

  #mark = (): RunMark => {
    return { expert_version: this.#load?.version ?? null, model_sha256: this.#modelSha256 }
  }

  #finish(call: Call, context: CallContext, answer: unknown, error?: unknown): void {
    const writer = this.#writer as AnswerWriter
    if (error === undefined) writer.answer(call.id, answer)
    else writer.fail(call.id, call.kind, error)
    if (context.madeTmp !== null) void this.#removeTmp(context)
    this.#running.delete(call.id)
    if (this.#mirrorMayChange) this.#sendMirror()
    if (this.#waiting.length > 0) this.#pump()
  }

  #cancel(id: number): void {
    const place = this.#waiting.findIndex((call) => call.id === id)
    if (place === -1) {
      this.#running.get(id)?.abort()
      return
    }
    this.#waiting.splice(place, 1)
    this.#port.send(['error', id, canceled()])
  }

  async #stop(): Promise<void> {
    try {
      await this.#expert?.handleExit()
    } catch (error) {
      this.#services?.log.error(`handleExit failed: ${(error as Error).message}`)
    }
    // One more turn, so that what was logged on the way out leaves first.
    setImmediate(() => setImmediate(() => this.#end()))
  }

  #context(id: number, jobId: string): CallContext {
    return new CallContext(this.#port, this.#load as LoadRequest, id, jobId)
  }

  /** For one of many pieces of a call's work: a folder and a signal of its own. */
  readonly #makeItemContext: MakeItemContext = ({ signal, jobId }) => {
    const context = this.#context(--this.#lastOwnId, jobId ?? randomUUID())
    const abort = () => context.abort()
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    return {
      context,
      close: () => {
        signal.removeEventListener('abort', abort)
        return this.#removeTmp(context)
      }
    }
  }

  async #removeTmp(context: CallContext): Promise<void> {
    const folder = context.madeTmp
    if (folder !== null) await rm(folder, { recursive: true, force: true }).catch(() => {})
  }

  /** The host answers `/status`, `/cfg` and `/tasks` from what was last sent here. */
  #sendMirror(): void {
    const expert = this.#expert
    if (expert === null) return
    let mirror: string
    try {
      mirror = JSON.stringify([
        expert.getStatus() ?? null,
        expert.getCfg() ?? null,
        expert.getTasks(),
        this.#modelSha256
      ])
    } catch (error) {
      this.#services?.log.warn(`status, cfg or tasks cannot be shown: ${(error as Error).message}`)
      return
    }
    if (mirror === this.#mirror) return
    this.#mirror = mirror
    const [status, cfg, tasks, modelSha256] = JSON.parse(mirror)
    this.#port.send(['mirror', { status, cfg, tasks, modelSha256 }])
  }
}

function kindOfExport(found: unknown): string {
  if (found === undefined) return 'no default export'
  // What a bundler makes of `export default` for CommonJS.
  const wrapped = typeof found === 'object' && found !== null && 'default' in found
  return wrapped
    ? 'an object that holds "default": CommonJS wants module.exports = class …'
    : typeof found
}

function canceled() {
  return {
    code: 'EXP_CANCELED',
    message: 'Canceled before it began',
    statusCode: 499,
    exposed: true
  }
}

/** Whether only `init` finds out what the routes of an expert take. */
function isLate(expert: BaseExpert): boolean {
  return (expert.constructor as { lateRoutes?: unknown }).lateRoutes === true
}
