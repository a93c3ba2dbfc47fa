/**
 * A kit for an expert's own tests: runs it as a host does, without a host.
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { BaseExpert } from './base-expert.ts'
import type { ItemContext, RunContext } from './context.ts'
import { type Ask, Movies, Tokens } from './documents.ts'
import { encodeAnswer } from './encode-answer.ts'
import { ExpertError, isExpertError } from './errors.ts'
import {
  collectRoutes,
  type DeclaredRoute,
  type ExpertReply,
  type RouteMethod,
  type UploadedFile
} from './expert-api.ts'
import { type ItemOutcome, itemOutcome, thrownOutcome } from './item-outcome.ts'
import { createMedia, defaultMediaPolicy } from './media/create-media.ts'
import type { MediaPolicy } from './media/media.ts'
import { Pipelines } from './pipelines.ts'
import { movieAlias } from './records.ts'
import { PredictImageParam, PredictParam } from './requests.ts'
import { checkRoutes } from './route-rules.ts'
import { attachServices } from './services.ts'
import { compileSchema, type Issue } from './validation/index.ts'

export { skipWithout } from './skip-without.ts'
export { makeStillMovie, type StillMovieOptions } from './still-movie.ts'

/** What the kit needs of a test runner; tap's `t` is one. */
export interface TestContext {
  teardown(undo: () => unknown): void
}

/** How an expert is started for a test. */
export interface TestOptions {
  /** The name a host would serve it under. Default: `expert`. */
  name?: string
  /** Values of declared config keys, as in the environment. */
  config?: Record<string, unknown>
  /** Answers what the expert asks its host for: `movies.get` and the like. Default: refuses everything. */
  ask?: Ask
  /** What `this.media` may fetch. Default: the host's own, with files of the temporary folder allowed. */
  media?: Partial<MediaPolicy>
}

/** An answer of a route of the expert's own. */
export interface TestAnswer {
  status: number
  /** The value after its way through JSON; bytes and files as they are. */
  value: unknown
}

/** An expert under test. What goes in is checked, and what comes out encoded, as by a host. */
export interface TestedExpert<E extends BaseExpert> {
  readonly expert: E
  /** Sends the body of `POST /predict`; gives the answer. @throws ExpertError EXP_BAD_INPUT with the issues */
  predict(body: Record<string, unknown>): Promise<unknown>
  /** Sends the body of `POST /predict/image`; gives the answer. */
  predictImage(body: Record<string, unknown>): Promise<unknown>
  /**
   * Takes a movie of a pipeline's task, `extraParams` being those of the task; gives how it ended, as the host would
   * record it. The default `processMovie` saves records: `ask` has to answer `tokens.saveAnswer`.
   */
  processMovie(movieId: string, extraParams?: Record<string, unknown> | null): Promise<ItemOutcome>
  /** Calls a route of its own; `files` are paths or bytes by field name. */
  request(
    method: RouteMethod,
    path: string,
    parts?: {
      body?: unknown
      params?: Record<string, unknown>
      querystring?: Record<string, unknown>
      files?: Record<string, string | Uint8Array>
    }
  ): Promise<TestAnswer>
  /** What runs said through `context.progress`, in order. */
  readonly progress: Array<{ fraction: number; note: string | null }>
}

/**
 * Starts an expert: checks its class, schemas and routes as a host would, sets its configuration, runs
 * `init`, and runs `handleExit` after the test.
 *
 * @param t - tap's test object, or anything with `teardown`
 * @param Expert - the plugin's default export
 * @throws Error saying what a host would refuse it for
 * @example
 * ```ts
 * t.test('greets', async (t) => {
 *   const greeter = await testExpert(t, Greeter)
 *   t.same(await greeter.predict({ movie_id: '1', local: false }), { result: 'hello 1', error: null })
 * })
 * ```
 */
export async function testExpert<E extends BaseExpert>(
  t: TestContext,
  Expert: new () => E,
  options: TestOptions = {}
): Promise<TestedExpert<E>> {
  const folder = await mkdtemp(join(tmpdir(), 'nebula-expert-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const statics = Expert as unknown as { config?: object; params?: object }
  const config = checked(compileSchema(statics.config ?? {}), options.config ?? {}, [])
  const checkExtra =
    statics.params === undefined ? null : compileSchema(statics.params, { unknownKeys: 'keep' })

  const expert = new Expert()
  const quiet = () => {}
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const ask: Ask =
    options.ask ??
    (async (what) => {
      throw new Error(`The expert asks for ${what}: give testExpert an 'ask' that answers it`)
    })
  attachServices(expert, {
    name: options.name ?? 'expert',
    movies: new Movies(ask),
    tokens: new Tokens(ask),
    pipelines: new Pipelines(ask, {
      makeContext: async ({ signal, jobId }) => {
        const context = await makeContext()
        return {
          context: { ...context, signal, jobId: jobId ?? context.jobId },
          close: async () => {}
        }
      },
      mark: () => ({ expert_version: null, model_sha256: expert.getModelSha256() })
    }),
    config: config as Record<string, unknown>,
    log,
    media: createMedia({
      ...defaultMediaPolicy,
      fileRoots: [tmpdir()],
      folder: join(folder, 'media'),
      ...options.media
    }),
    changed: quiet
  })
  const isLate = (Expert as unknown as { lateRoutes?: boolean }).lateRoutes === true
  const declare = () => {
    const declared = collectRoutes((api) => expert.addExpertApis(api))
    checkRoutes(declared)
    return declared
  }
  let routes = isLate ? [] : declare()

  const progress: Array<{ fraction: number; note: string | null }> = []
  const makeContext = async (): Promise<RunContext> => ({
    signal: new AbortController().signal,
    jobId: randomUUID(),
    log,
    progress: (fraction, note) => void progress.push({ fraction, note: note ?? null }),
    tmp: await mkdtemp(join(folder, 'job-')),
    cache: folder
  })
  await expert.init(await makeContext())
  if (isLate) routes = declare()
  expert.setActive()
  t.teardown(() => expert.handleExit())

  const extraParamsOf = (given: unknown): unknown =>
    checkExtra === null ? given : checked(checkExtra, given ?? {}, ['body', 'extra_params'])
  const predict = async (
    work: 'predict' | 'predictImage',
    schema: object,
    body: Record<string, unknown>
  ): Promise<unknown> => {
    const wire = checked(compileSchema(schema), body, ['body']) as Record<string, unknown>
    const params = movieAlias({
      id: (wire.movie_id ?? wire.image_id) as string,
      scene_element: (wire.scene_element ?? null) as number | null,
      local: wire.local === true,
      extra_params: extraParamsOf(wire.extra_params) as never,
      output: wire.output as string,
      type: work === 'predict' ? 'movie' : 'image',
      img_url: (wire.url ?? null) as string | null,
      output_file: (wire.output_file ?? null) as string | null
    })
    try {
      return onTheWire(await expert[work](params, await makeContext()))
    } catch (error) {
      if (!isExpertError(error) || !error.code.startsWith('EXP_MEDIA_')) throw error
      return { result: null, error: error.message }
    }
  }

  return {
    expert,
    progress,
    predict: (body) => predict('predict', PredictParam, body),
    predictImage: (body) => predict('predictImage', PredictImageParam, body),
    processMovie: async (movieId, given = null) => {
      const extraParams = extraParamsOf(given) as never
      const own = { extraParams, pipelineId: null, task: expert.getName() }
      const context: ItemContext<never> = { ...(await makeContext()), ...own }
      try {
        return itemOutcome(await expert.processMovie(movieId, context))
      } catch (error) {
        return thrownOutcome(error)
      }
    },
    request: async (method, path, parts = {}) => {
      const route = routes.find((other) => other.method === method && other.path === path)
      if (route === undefined) throw new Error(`The expert declares no route ${method} ${path}`)
      const request = { ...checkParts(route, parts), files: await makeFiles(folder, parts.files) }
      return answerOf(await route.handler(request, await makeContext()), route)
    }
  }
}

function checkParts(
  route: DeclaredRoute,
  parts: { body?: unknown; params?: object; querystring?: object }
) {
  const { body, params, querystring } = route.options
  const part = (schema: object | undefined, value: unknown, loc: string) =>
    schema === undefined ? value : checked(compileSchema(schema), value, [loc])
  return {
    body: part(body, parts.body ?? null, 'body'),
    params: part(params, parts.params ?? {}, 'path'),
    querystring: part(querystring, parts.querystring ?? {}, 'query')
  }
}

async function makeFiles(
  folder: string,
  given: Record<string, string | Uint8Array> = {}
): Promise<UploadedFile[]> {
  const files: UploadedFile[] = []
  for (const [field, source] of Object.entries(given)) {
    const path = typeof source === 'string' ? source : join(folder, randomUUID())
    if (typeof source !== 'string') await writeFile(path, source)
    const filename = typeof source === 'string' ? basename(source) : null
    const { size } = await stat(path)
    files.push({ field, filename, type: 'application/octet-stream', path, bytes: size })
  }
  return files
}

function answerOf(answer: unknown, route: DeclaredRoute): TestAnswer {
  const reply = answer as ExpertReply | null
  if (reply?.isExpertReply === true) {
    const bytes = reply.value instanceof Uint8Array || reply.type !== undefined
    return { status: reply.status, value: bytes ? reply.value : onTheWire(reply.value) }
  }
  const value = onTheWire(answer)
  if (route.options.response !== undefined) {
    checked(compileSchema(route.options.response, { unknownKeys: 'keep' }), value, ['response'])
  }
  return { status: 200, value }
}

function onTheWire(value: unknown): unknown {
  return JSON.parse(encodeAnswer(value))
}

function checked(check: ReturnType<typeof compileSchema>, value: unknown, loc: string[]): unknown {
  const result = check(value, loc)
  if (result.issues === undefined) return result.value
  const say = ({ loc: place, msg }: Issue) => `${place.join('.')}: ${msg}`
  throw new ExpertError('EXP_BAD_INPUT', result.issues.map(say).join('; '))
}
