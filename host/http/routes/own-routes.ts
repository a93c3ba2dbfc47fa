import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { compileSchema, type Issue, JobOptions } from '@nebula-experts/sdk/schemas'
import type { FastifyInstance, RouteOptions } from 'fastify'
import type { Answer, JobRequest } from '../../jobs/job-request.ts'
import type { JobService } from '../../jobs/job-service.ts'
import type { ContractRoute } from '../../registry/expert-contract.ts'
import { answerJob } from '../answer-job.ts'
import { askedWebhook } from '../asked-webhook.ts'
import { answers, asInput, jobHeaders, ref } from '../documented-schemas.ts'
import { handle, type RouteCall } from '../handle.ts'
import { bodyMissing, InvalidRequest } from '../invalid-request.ts'
import { JSON_TYPE, readBody } from '../read-body.ts'
import { receiveUpload, type Upload } from '../receive-upload.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendReply, sendRunError, sendText } from '../send.ts'

/** The routes that the expert declares: checked and documented here, run in its process. */
export function ownRoutes(app: FastifyInstance, context: ExpertRouteContext): void {
  const plain = context.contract.routes.filter((route) => !route.files)
  for (const route of plain) app.route(makeRoute(route, context))
  const uploads = context.contract.routes.filter((route) => route.files)
  for (const takesJson of [true, false]) {
    // Their bodies go to disk as they come, so these have parsers of their own.
    void app.register(async (scope) => {
      scope.removeAllContentTypeParsers()
      if (takesJson) scope.addContentTypeParser(JSON_TYPE, { parseAs: 'buffer' }, readAsIs)
      scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
      for (const route of uploads) {
        // Where fields are declared, they may come as JSON too; elsewhere JSON is a file like any other.
        if ((route.body !== undefined) === takesJson) scope.route(makeRoute(route, context))
      }
    })
  }
}

function readAsIs(
  _request: unknown,
  body: Buffer,
  done: (error: null, body: Buffer) => void
): void {
  done(null, body)
}

function makeRoute(route: ContractRoute, context: ExpertRouteContext): RouteOptions {
  const { expert, jobs, config } = context
  return {
    method: route.method,
    url: routerPath(route.path),
    config: { declaredPath: route.path },
    schema: documented(route, expert.name),
    handler: handle(async (call) => {
      // Before a large body is received for nothing.
      const { refusal } = expert
      if (refusal !== null) throw refusal
      const upload =
        route.files && call.body === undefined
          ? await receiveUpload(call.raw, context.uploadDir, config.maxUploadBytes)
          : null
      const remove = () => void upload?.remove()
      try {
        const body = upload === null ? readBody(call.raw, call.body) : upload.fields
        const input = check(route, call, body, upload)
        const options = route.job ? jobOptions(route, body, call.query) : null
        const files = upload !== null && upload.files.length > 0 ? upload : null
        if (files === null) remove()
        const request: JobRequest = {
          expert,
          kind: route.kind,
          bodies: [JSON.stringify(input)],
          ...(options && { priority: options.priority, timeoutMs: options.timeout_ms })
        }
        const send = async ({ text, head }: Answer & { ok: true }) => {
          if (head === null) sendText(call.response, 200, text)
          else await sendReply(call.response, text, head)
        }
        if (options === null) {
          const waited = { recorded: false, onEnd: remove, onHangUp: call.onHangUp }
          const answer = await jobs.run({ ...request, ...waited })
          if (answer.ok) await send(answer)
          else sendRunError(call, answer, answer.isLate)
          return
        }
        await answerJob(call, jobs, {
          request,
          isAsync: options.is_async,
          maxAttempts: options.attempts,
          webhook: askedWebhook(options, hasField(body, 'webhook') ? 'body' : 'query'),
          waited: {
            recorded: true,
            onEnd: remove,
            upload: files === null ? null : basename(files.folder)
          },
          send,
          showsJob: true,
          ...(files !== null && {
            keep: () => keepUpload(files, input, jobs),
            fingerprint: () => fingerprintOf(files, input, route.kind)
          })
        })
      } catch (error) {
        remove()
        throw error
      }
    })
  }
}

/** Moves what was received to where accepted jobs find it, whatever becomes of this host. */
async function keepUpload(upload: Upload, input: object, jobs: JobService) {
  const name = basename(upload.folder)
  const folder = await jobs.uploads.keep(upload.folder, name)
  const files = upload.files.map((file) => ({ ...file, path: join(folder, basename(file.path)) }))
  return { upload: name, bodies: [JSON.stringify({ ...input, files })] }
}

/** Two uploads are the same when their bytes are; where they lie does not matter. */
async function fingerprintOf(upload: Upload, input: object, kind: string): Promise<string> {
  const hash = createHash('sha256').update(kind)
  hash.update(JSON.stringify({ ...input, files: null }))
  for (const { path, ...about } of upload.files) {
    hash.update(JSON.stringify(about))
    await pipeline(createReadStream(path), hash, { end: false })
  }
  return hash.digest('hex')
}

/** Checks all parts of a request and reports what is wrong with any of them at once. */
function check(route: ContractRoute, call: RouteCall, body: unknown, upload: Upload | null) {
  const issues: Issue[] = []
  const part = (
    checkPart: ContractRoute['checks']['body'],
    value: unknown,
    loc: (string | number)[]
  ): unknown => {
    if (checkPart === null) return value
    const checked = checkPart(value, loc)
    if (checked.issues === undefined) return checked.value
    issues.push(...checked.issues)
    return undefined
  }
  const params = part(route.checks.params, call.params, ['path'])
  const querystring = part(
    route.checks.querystring,
    lastOfRepeated(call.query, route.querystring),
    ['query']
  )
  let checkedBody: unknown = body ?? null
  if (route.checks.body !== null) {
    if (checkedBody === null) issues.push(bodyMissing)
    else checkedBody = part(route.checks.body, checkedBody, ['body'])
  }
  if (issues.length > 0) throw new InvalidRequest(issues)
  return { body: checkedBody, params, querystring, files: upload?.files ?? [] }
}

/** A query that names a key twice: the last counts, but for keys that are declared as lists. */
function lastOfRepeated(query: Record<string, unknown>, schema: object | undefined) {
  const properties =
    (schema as { properties?: Record<string, { type?: string }> } | undefined)?.properties ?? {}
  const single: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(query)) {
    const isList = properties[key]?.type === 'array'
    if (Array.isArray(value)) single[key] = isList ? value : value.at(-1)
    else single[key] = isList ? [value] : value
  }
  return single
}

const checkOptions = compileSchema<JobOptions>(JobOptions)
/** Options that a query repeats. */
const LISTED = { properties: { webhook_events_filter: { type: 'array' } } }

/**
 * What a request says of the work itself, in its body or its query: `is_async`, `priority`, `timeout_ms`
 * `attempts`, `webhook` and `webhook_events_filter`. A field that the route declares for itself is the route's.
 */
function jobOptions(
  route: ContractRoute,
  body: unknown,
  query: Record<string, unknown>
): JobOptions {
  const fields = typeof body === 'object' && body !== null && !Array.isArray(body) ? body : {}
  const inQuery = optionsIn(lastOfRepeated(query, LISTED), route.querystring)
  const inBody = optionsIn(fields as Record<string, unknown>, route.body)
  const options: Record<string, unknown> = {}
  const issues: Issue[] = []
  for (const [where, given] of Object.entries({ query: inQuery, body: inBody })) {
    const checked = checkOptions(given, [where])
    if (checked.issues !== undefined) issues.push(...checked.issues)
    else for (const name of Object.keys(given)) options[name] = checked.value[name as OptionName]
  }
  if (issues.length > 0) throw new InvalidRequest(issues)
  return checkOptions(options, ['body']).value as JobOptions
}

type OptionName = keyof JobOptions

/** Those of a part's fields that are options, and not fields that the route declares for itself. */
function optionsIn(fields: Record<string, unknown>, schema: object | undefined) {
  const own = (schema as { properties?: object } | undefined)?.properties ?? {}
  const names = Object.keys(JobOptions.properties).filter((name) => {
    const isTheirs = name !== 'is_async' && Object.hasOwn(own, name)
    const isLeftOut = fields[name] === undefined || (name === 'is_async' && fields[name] === null)
    return !isTheirs && !isLeftOut
  })
  return Object.fromEntries(names.map((name) => [name, listedOption(name, fields[name])]))
}

/** A form and a query have texts alone: a list in one of them is separated by commas. */
function listedOption(name: string, value: unknown): unknown {
  if (name !== 'webhook_events_filter') return value
  const texts = typeof value === 'string' ? [value] : value
  if (!Array.isArray(texts) || texts.some((text) => typeof text !== 'string')) return value
  return texts.flatMap((text: string) => text.split(',').map((word) => word.trim()))
}

function hasField(body: unknown, name: string): boolean {
  return typeof body === 'object' && body !== null && Object.hasOwn(body, name)
}

/** The router's spelling: a parameter before a literal ends there, and a literal colon is doubled. */
function routerPath(path: string): string {
  return path
    .split('/')
    .map((segment) => {
      const parameter = /^:([A-Za-z_]\w*)(.*)$/.exec(segment)
      if (parameter === null) return segment.replaceAll(':', '::')
      const [, name, rest = ''] = parameter
      return rest === '' ? segment : `:${name}(^[^/:]+)${rest.replaceAll(':', '::')}`
    })
    .join('/')
}

function documented(route: ContractRoute, tag: string) {
  const { method, path, summary } = route
  const id = `${path.slice(1).replace(/\W+/g, '_')}_${method.toLowerCase()}`
  const schema: Record<string, unknown> = {
    operationId: id,
    summary: summary ?? `${method} ${path}`,
    tags: [tag],
    response: {
      ...answers(route.response ?? {}),
      ...(route.job ? { 202: { description: 'Accepted', ...ref('AcceptedJob') } } : {})
    }
  }
  if (route.job) schema.headers = jobHeaders
  if (route.params !== undefined) schema.params = route.params
  const query = route.job ? withJobOptions(route.querystring) : route.querystring
  if (query !== undefined) schema.querystring = asInput(query)
  if (route.files) {
    schema.consumes = [
      'multipart/form-data',
      ...(route.body === undefined ? [] : ['application/json'])
    ]
    schema.body = withFile(asInput(route.body ?? {}), route.body === undefined)
  } else if (route.body !== undefined) {
    schema.body = asInput(route.body)
  }
  return schema
}

/** The query that a job route takes: what it declares, and how the work is to be done. */
function withJobOptions(querystring: object | undefined): object {
  const declared = (querystring ?? {}) as { properties?: object }
  const properties = { ...JobOptions.properties, ...declared.properties }
  return { type: 'object', ...declared, properties }
}

/** The form that a file route takes: its declared fields and the file, without which there is no form. */
function withFile(body: object, isNeeded: boolean): object {
  const declared = body as { properties?: object; required?: string[] }
  return {
    type: 'object',
    ...declared,
    properties: { ...declared.properties, file: { type: 'string', format: 'binary' } },
    required: [...(declared.required ?? []), ...(isNeeded ? ['file'] : [])]
  }
}
