import type { Static, TSchema } from 'typebox'
import type { RunContext } from './context.ts'

/** One uploaded file; it lies in the job's own folder and is removed when the job ends. */
export interface UploadedFile {
  /** Name of the multipart field; `file` for a raw body. */
  field: string
  /** File name as the client gave it; never used as a path. */
  filename: string | null
  /** Media type as the client gave it. */
  type: string
  path: string
  bytes: number
}

/** What a handler receives: everything is checked against the route's schemas and coerced first. */
export interface ExpertRequest<Body = unknown, Params = unknown, Query = unknown> {
  body: Body
  params: Params
  querystring: Query
  files: UploadedFile[]
}

type StaticOr<S, Otherwise> = S extends TSchema ? Static<S> : Otherwise

/** Schemas and switches of one route of an expert's own. All are optional. */
export interface RouteOptions<
  Body extends TSchema | undefined = undefined,
  Params extends TSchema | undefined = undefined,
  Query extends TSchema | undefined = undefined
> {
  params?: Params
  querystring?: Query
  body?: Body
  /** Shape of a 200 answer, for the docs and for `testExpert`. */
  response?: TSchema
  /**
   * Takes `multipart/form-data`, or a raw body as one file. Form fields arrive in `body`; where `body` is declared, they
   * may come without files as JSON too.
   */
  files?: boolean
  /** The route is a job: `is_async: true` in its body or `Prefer: respond-async` answer with a job id. */
  job?: boolean
  summary?: string
}

export type RouteMethod = 'GET' | 'POST' | 'PUT' | 'DELETE'

export type RouteHandler = (request: ExpertRequest, context: RunContext) => unknown

/** A route as the expert declared it. */
export interface DeclaredRoute {
  method: RouteMethod
  path: string
  options: RouteOptions<TSchema | undefined, TSchema | undefined, TSchema | undefined>
  handler: RouteHandler
}

/** An answer with a status or media type of its own. `value` may be bytes, or a file by `{ path }`. */
export class ExpertReply {
  readonly isExpertReply = true
  readonly value: unknown
  readonly status: number
  readonly type: string | undefined

  constructor(value: unknown, options: { status?: number; type?: string } = {}) {
    this.value = value
    this.status = options.status ?? 200
    this.type = options.type
  }
}

type Declare = <
  Body extends TSchema | undefined = undefined,
  Params extends TSchema | undefined = undefined,
  Query extends TSchema | undefined = undefined
>(
  path: string,
  options: RouteOptions<Body, Params, Query>,
  handler: (
    request: ExpertRequest<
      StaticOr<Body, unknown>,
      StaticOr<Params, Record<string, string>>,
      StaticOr<Query, Record<string, string>>
    >,
    context: RunContext
  ) => unknown
) => void

/**
 * Collects an expert's own routes. Paths start with `/`; `:name` is a path parameter, and a literal
 * `:verb` may end a segment, as in `/models/clip:predict`.
 */
export interface ExpertApi {
  get: Declare
  post: Declare
  put: Declare
  delete: Declare
  /** Answers with a status and media type; `value` is JSON, a `Uint8Array`, or `{ path }` of a file. */
  reply(
    value: unknown | Uint8Array | { path: string },
    options?: { status?: number; type?: string }
  ): ExpertReply
}

/** Calls the expert's `addExpertApis` and gives what it declared, in order. */
export function collectRoutes(addExpertApis: (api: ExpertApi) => void): DeclaredRoute[] {
  const routes: DeclaredRoute[] = []
  const declare =
    (method: RouteMethod): Declare =>
    (path, options, handler) => {
      if (typeof path !== 'string' || !path.startsWith('/')) {
        throw new TypeError(`The path of a route must start with '/', got ${JSON.stringify(path)}`)
      }
      if (typeof handler !== 'function') {
        throw new TypeError(
          `Route ${method} ${path} needs a handler function as its third argument`
        )
      }
      routes.push({ method, path, options, handler: handler as RouteHandler })
    }
  addExpertApis({
    get: declare('GET'),
    post: declare('POST'),
    put: declare('PUT'),
    delete: declare('DELETE'),
    reply: (value, options) => new ExpertReply(value, options)
  })
  return routes
}
