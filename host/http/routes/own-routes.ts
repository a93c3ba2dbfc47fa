import { compileSchema, type Issue } from '@nebula-experts/sdk/schemas'
import type { FastifyInstance, RouteOptions } from 'fastify'
import { Type } from 'typebox'
import type { JobRequest } from '../../jobs/job-service.ts'
import type { ContractRoute } from '../../registry/expert-contract.ts'
import { answers, asInput, ref } from '../documented-schemas.ts'
import { handle, type RouteCall } from '../handle.ts'
import { bodyMissing, InvalidRequest } from '../invalid-request.ts'
import { prefersAsync, sendAccepted } from '../prefer.ts'
import { readBody } from '../read-body.ts'
import { receiveUpload, type Upload } from '../receive-upload.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendReply, sendRunError, sendText } from '../send.ts'

/** The routes that the expert declares: checked and documented here, run in its process. */
export function ownRoutes(app: FastifyInstance, context: ExpertRouteContext): void {
  const plain = context.contract.routes.filter((route) => !route.files)
  for (const route of plain) app.route(makeRoute(route, context))
  // Their bodies go to disk as they come, so these have a parser of their own.
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
    for (const route of context.contract.routes) {
      if (route.files) scope.route(makeRoute(route, context))
    }
  })
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
      const upload = route.files
        ? await receiveUpload(call.raw, context.uploadDir, config.maxUploadBytes)
        : null
      const remove = () => void upload?.remove()
      let request: JobRequest
      let body: unknown
      try {
        body = upload === null ? readBody(call.raw, call.body) : upload.fields
        const input = check(route, call, body, upload)
        const bodies = [JSON.stringify(input)]
        request = { expert, kind: route.kind, bodies, recorded: route.job, onEnd: remove }
        const prefers = prefersAsync(call.raw)
        if (route.job && (prefers || wantsAsync(body))) {
          sendAccepted(call, await jobs.submit(request), prefers)
          return
        }
      } catch (error) {
        remove()
        throw error
      }
      const answer = await jobs.run({ ...request, onHangUp: call.onHangUp })
      if (!answer.ok) {
        sendRunError(call, answer, route.job || answer.isLate)
      } else if (answer.head === null) {
        sendText(call.response, 200, answer.text)
      } else {
        await sendReply(call.response, answer.text, answer.head)
      }
    })
  }
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

const checkBoolean = compileSchema<boolean>(Type.Boolean())

function wantsAsync(body: unknown): boolean {
  const given = (body as { is_async?: unknown } | null | undefined)?.is_async
  if (given === undefined || given === null) return false
  const checked = checkBoolean(given, ['body', 'is_async'])
  if (checked.issues !== undefined) throw new InvalidRequest(checked.issues)
  return checked.value
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
  if (route.params !== undefined) schema.params = route.params
  if (route.querystring !== undefined) schema.querystring = asInput(route.querystring)
  if (route.files) {
    schema.consumes = ['multipart/form-data']
    schema.body = withFile(asInput(route.body ?? {}))
  } else if (route.body !== undefined) {
    schema.body = asInput(route.body)
  }
  return schema
}

/** The form that a file route takes: its declared fields and the file. */
function withFile(body: object): object {
  const declared = body as { properties?: object; required?: string[] }
  return {
    type: 'object',
    ...declared,
    properties: { ...declared.properties, file: { type: 'string', format: 'binary' } },
    required: [...(declared.required ?? []), 'file']
  }
}
