/**
 * What the host and an expert's process say to each other. Neither side owns this file.
 *
 * A message is a head, a short JSON array that starts with its kind, and for the kinds that carry a
 * value a body, which is JSON text that the host hands through without parsing it.
 */
import type { MediaPolicy } from '@nebula-experts/sdk/hosting'

export type LogWord = 'debug' | 'info' | 'warn' | 'error'

/** First message: which package to import, and the folders it may use. */
export interface LoadRequest {
  /** `file:` URL of the module whose default export is the expert's class. */
  entry: string
  name: string
  /** Of the package. */
  version: string
  /** Stays between starts. */
  cacheDir: string
  /** Holds one folder a job; removed by the host when the process ends. */
  tmpDir: string
  media: MediaPolicy
  concurrency: number
  logLevel: string
  /** Largest answer, bytes of JSON. */
  maxAnswerBytes: number
}

/** A route of the expert's own, without its handler. Schemas are JSON. */
export interface RouteDescription {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
  params?: object
  querystring?: object
  body?: object
  response?: object
  files: boolean
  job: boolean
  summary?: string
}

/** What the expert's process says of itself after the import. Foreign input: checked by the host. */
export interface ExpertDescription {
  name: string
  configSchema: object | null
  paramsSchema: object | null
  /** It has a `predictImages` of its own. */
  predictsLists: boolean
  /** Name of the step whose results it needs. */
  dependency: string | null
  routes: RouteDescription[]
}

/** What `/status`, `/cfg` and `/tasks` are answered from while the expert is busy. */
export interface ExpertMirror {
  status: string | null
  cfg: Record<string, unknown> | null
  tasks: Array<{ id: string; info: unknown }>
  /** SHA-256 of the model that answers, in hex; known when `init` has ended, null when the expert names none. */
  modelSha256: string | null
}

/** An error that crossed a process border: Node's own cloning drops codes and subclasses. */
export interface WireError {
  code: string
  message: string
  /** HTTP status for the caller. */
  statusCode: number
  /** True when the message is meant for callers; otherwise it is kept in log and job. */
  exposed: boolean
  stack?: string
  /** Of a run whose process is gone: what it gave to `process.exit()`. */
  exitCode?: number
}

/**
 * What a call asks for.
 *
 * ```
 * movie     predict              body: ExpertParam
 * image     predictImage         body: ExpertParam
 * images    predictImages        body: a list of ExpertParam
 * process   processMovie         body: ItemBody      answer: { ok: boolean, error: string | null } and what ran
 * batch     runBatch             body: anything      answer: what it gives, null when that is undefined
 * task      runPipelineTask      body: TaskBody      answer: the same
 * POST /read    a route of its own: method and path
 * ```
 */
export type CallKind = PredictKind | 'process' | 'batch' | 'task' | RouteKind
export type PredictKind = 'movie' | 'image' | 'images'
export type RouteKind = `${RouteDescription['method']} ${string}`

export function isRouteKind(kind: CallKind): kind is RouteKind {
  return kind.includes(' ')
}

/** Parameters of a call of kind `process`: one movie in one task of a pipeline. */
export interface ItemBody {
  movie_id: string
  /** Checked against the contract's schema, when there is one. */
  extra_params: Record<string, unknown> | null
  pipeline_id: string | null
  /** The key under `tasks` of the pipeline's document. */
  task: string
}

/** Parameters of a call of kind `task`. */
export interface TaskBody {
  pipeline_id: string | null
}

export function isPredictKind(kind: CallKind): kind is PredictKind {
  return kind === 'movie' || kind === 'image' || kind === 'images'
}

export type ToExpert =
  | ['load', LoadRequest]
  | ['init', Record<string, unknown>]
  /** Body: the parameters. */
  | ['call', id: number, kind: CallKind, jobId: string]
  | ['cancel', id: number]
  | ['set', Record<string, unknown>]
  | ['log-level', string]
  /** Body: the answer to a question of that id, or null for none. */
  | ['answer', id: number]
  | ['refusal', id: number, WireError]
  /** Answered with `pong` as soon as the event loop turns. */
  | ['ping']
  | ['stop']

export type ToHost =
  | ['described', ExpertDescription]
  /** `init` has ended; with a description when only now it is known what the expert's routes are. */
  | ['ready', ExpertDescription | null]
  | ['pong']
  | ['failed', WireError]
  | ['mirror', ExpertMirror]
  /** Body: the answer. */
  | ['result', id: number]
  /** Body: the answer, with a status and type; or a file that the host sends (and removes if `owned`). */
  | ['reply', id: number, AnswerHead]
  | ['error', id: number, WireError]
  /** A question to the host, as `movies.get`. Body: its arguments. Answered with `answer` or `refusal`. */
  | ['ask', id: number, what: string]
  /** `id` 0 is `init`. */
  | ['progress', id: number, fraction: number, note: string | null]
  | ['log', LogWord, message: string, fields: Record<string, unknown> | null, jobId: string | null]
  /** An uncaught error; the process ends next. */
  | ['fatal', WireError]

export interface AnswerHead {
  status: number
  type: string | null
  file: { path: string; owned: boolean } | null
}

/** One end of a conversation. Messages arrive in the order they were sent. */
export interface Port<Out, In> {
  send(head: Out, body?: string): void
  /** Writes now what was sent in this turn of the event loop. */
  flush(): void
  onMessage: (head: In, body: string) => void
  /** Called once, when the other end is gone or spoke nonsense (`fault`). */
  onClose: (fault: Error | null) => void
  close(): void
}

/** Largest message, bytes: one answer of `maxAnswerBytes` and its head fit. */
export const MAX_MESSAGE_BYTES = 72 * 1024 * 1024
export const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/** Questions of one process that its host works on at once; the others wait in the process. */
export const MOST_QUESTIONS = 32

/** What is kept of an error's message and stack, characters each. */
const MAX_ERROR_TEXT = 16_384

export function toWireError(error: unknown): WireError {
  const known = error as Partial<WireError> & { name?: string }
  const message = (error instanceof Error ? error.message : String(error)).slice(0, MAX_ERROR_TEXT)
  const stack = error instanceof Error ? error.stack?.slice(0, MAX_ERROR_TEXT) : undefined
  if (error instanceof Error && known.name === 'ExpertError' && typeof known.code === 'string') {
    const status = Number(known.statusCode)
    const statusCode = Number.isInteger(status) && status >= 400 && status <= 599 ? status : 500
    return { code: known.code, message, statusCode, exposed: true, stack }
  }
  return { code: 'HOST_EXPERT_FAILED', message, statusCode: 500, exposed: false, stack }
}
