import type { RequestListener, Server, ServerResponse } from 'node:http'
import swagger from '@fastify/swagger'
import fastify, { type FastifyInstance } from 'fastify'
import type { HostConfig } from '../config/host-config.ts'
import { hostError } from '../errors.ts'
import type { JobService } from '../jobs/job-service.ts'
import type { Logger } from '../observe/log.ts'
import type { Expert } from '../registry/expert.ts'
import type { ExpertContract } from '../registry/expert-contract.ts'
import { sharedSchemas } from './documented-schemas.ts'
import type { HostedRequest } from './hosted-request.ts'
import { bodyLimitError } from './limits.ts'
import { requestIdOf } from './request-id.ts'
import { type Miss, RouteTable } from './route-table.ts'
import { documentRoutes } from './routes/document-routes.ts'
import { infoRoutes } from './routes/info-routes.ts'
import { jobRoutes } from './routes/job-routes.ts'
import { ownRoutes } from './routes/own-routes.ts'
import { predictRoutes } from './routes/predict-routes.ts'
import { failRequest, sendError } from './send.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The path as the expert declared it, where the router needs another spelling. */
    declaredPath?: string
  }
}

/** What the routes of an expert stand on. */
export interface ExpertRouteContext {
  expert: Expert
  contract: ExpertContract
  jobs: JobService
  config: HostConfig
  log: Logger
  /** Uploads are kept under it until their job ends. */
  uploadDir: string
}

/** One expert's HTTP service, complete under any base. */
export interface ExpertApp {
  handle(request: HostedRequest, response: ServerResponse): void
  /** Its OpenAPI 3.1 document, for clients that reach it under `base`. */
  document(base: string): Record<string, unknown>
  close(): Promise<void>
}

/** Builds the Fastify instance with the inherited routes and the expert's own. */
export async function buildExpertApp(context: ExpertRouteContext): Promise<ExpertApp> {
  const { expert, contract, config } = context
  const table = new RouteTable()
  const app = bareInstance(config.maxBodyBytes, context.log)
  app.addHook('onRoute', (route) => {
    const declared = route.config?.declaredPath ?? route.url
    for (const method of [route.method].flat()) table.add(method, declared)
  })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: expert.name, version: contract.version },
      tags: [
        { name: expert.name, description: 'Routes of its own' },
        { name: 'run', description: 'Predictions' },
        { name: 'tasks', description: 'Work under way, and kept jobs' },
        { name: 'cfg', description: 'Its configuration' },
        { name: 'set', description: 'Change its configuration' },
        // Declared by the seed, and used by no route of it.
        { name: 'status', description: 'Name and state of the expert' },
        { name: 'jobs', description: 'Kept jobs and their results' },
        { name: 'predict', description: 'Predictions' }
      ]
    },
    refResolver: { buildLocalReference: (json) => String(json.$id) },
    transform: ({ schema, url, route }) => {
      const declared = route.config?.declaredPath ?? url
      // The document's writer takes every colon for a parameter's: verbs are put back afterwards.
      return { schema, url: declared.replace(/(?<=[^/]):/g, VERB_COLON) }
    },
    transformObject: (document) => {
      const { openapiObject } = document as { openapiObject: { paths?: Record<string, unknown> } }
      const paths = Object.entries(openapiObject.paths ?? {})
      openapiObject.paths = Object.fromEntries(
        paths.map(([path, item]) => [path.replaceAll(VERB_COLON, ':'), item])
      )
      return openapiObject as never
    }
  })
  for (const schema of sharedSchemas(contract.paramsSchema)) app.addSchema(schema)

  infoRoutes(app, context)
  predictRoutes(app, context)
  jobRoutes(app, context)
  documentRoutes(app, context, (base) => withServer(app, base))
  ownRoutes(app, context)

  app.setNotFoundHandler((request, reply) => {
    reply.hijack()
    missOf(table, request.raw, reply.raw)
  })
  await app.ready()
  return {
    handle: routed(table, (request, response) => app.routing(request, response)),
    document: (base) => withServer(app, base),
    close: () => app.close()
  }
}

const VERB_COLON = '\u0001'

/** A Fastify instance that leaves reading of bodies, checks and answers to the routes. */
export function bareInstance(
  bodyLimit: number,
  log: Logger,
  serverFactory?: (handler: RequestListener) => Server
): FastifyInstance {
  const app = fastify({
    logger: false,
    ...(serverFactory === undefined
      ? {}
      : { serverFactory, forceCloseConnections: 'idle' as const }),
    bodyLimit,
    exposeHeadRoutes: false,
    genReqId: (request) => requestIdOf(request as HostedRequest),
    frameworkErrors: (error, request, reply) => {
      reply.hijack()
      sendError(reply.raw, request.id, hostError('HOST_BAD_REQUEST', [error.message]))
    }
  })
  // Schemas document; the checks are the routes' own, for they give the seed's words.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => (value) => JSON.stringify(value))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.setErrorHandler((error, request, reply) => {
    reply.hijack()
    failRequest(
      { response: reply.raw, id: request.id, log },
      bodyLimitError(error, bodyLimit) ?? error
    )
  })
  app.decorate('hostLog', log)
  return app
}

/**
 * Answers before routing what the router would take for something else: it matches '/jobs/' with
 * '/jobs/:id' and an empty id, and 'a%2Fb' with one parameter, where the seed decodes first.
 */
export function routed(
  table: RouteTable,
  route: (request: HostedRequest, response: ServerResponse) => void
): (request: HostedRequest, response: ServerResponse) => void {
  return (request, response) => {
    const path = pathOf(request.url as string)
    if ((path.length > 1 && path.endsWith('/')) || ESCAPED_SLASH.test(path)) {
      missOf(table, request, response)
    } else {
      route(request, response)
    }
  }
}

const ESCAPED_SLASH = /%2f/i

function pathOf(url: string): string {
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}

/** 404, 405 or a redirect to the path without, or with, its last slash. */
export function missOf(table: RouteTable, request: HostedRequest, response: ServerResponse): void {
  const url = request.url as string
  const path = pathOf(url)
  const found: Miss = ESCAPED_SLASH.test(path) ? { kind: 'not-found' } : table.miss(decoded(path))
  const id = requestIdOf(request)
  // What the client still sends is not waited for.
  request.resume()
  if (found.kind === 'redirect') {
    response.statusCode = 307
    const target = `${request.base ?? ''}${encodeURI(found.path)}${url.slice(path.length)}`
    response.setHeader('location', target)
    response.end()
  } else if (found.kind === 'wrong-method') {
    const extra = { allow: found.allow }
    sendError(response, id, hostError('HOST_METHOD_NOT_ALLOWED', [], { extra }))
  } else {
    sendError(response, id, hostError('HOST_NOT_FOUND', []))
  }
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function withServer(app: FastifyInstance, base: string): Record<string, unknown> {
  const document = app.swagger() as unknown as Record<string, unknown>
  return { ...document, servers: [{ url: base === '' ? '/' : base }] }
}
