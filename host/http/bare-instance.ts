import type { RequestListener, Server } from 'node:http'
import fastify, { type FastifyInstance } from 'fastify'
import { hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import type { RouteTally } from '../observe/request-tally.ts'
import { countAtRoute } from './count-requests.ts'
import type { HostedRequest } from './hosted-request.ts'
import { bodyLimitError } from './limits.ts'
import { requestIdOf } from './request-id.ts'
import { failRequest, sendError } from './send.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The path as the expert declared it, where the router needs another spelling. */
    declaredPath?: string
    /** Where its requests are counted, by method. */
    tallies?: Map<string, RouteTally>
  }
}

const MAX_PARAM_LENGTH = 1000

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
    // Keys of documents may have 254 characters; what is longer is no id of anything.
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    exposeHeadRoutes: false,
    genReqId: (request) => requestIdOf(request as HostedRequest),
    frameworkErrors: (error, request, reply) => {
      reply.hijack()
      sendError(reply.raw, request.id, hostError('HOST_BAD_REQUEST', [error.message.slice(0, 200)]))
    }
  })
  // Schemas document; the checks are the routes' own, for they give the seed's words.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => (value) => JSON.stringify(value))
  app.removeAllContentTypeParsers()
  // The usual type by its name: what Fastify knows by name it finds again without parsing the header.
  app.addContentTypeParser(
    ['application/json', '*'],
    { parseAs: 'buffer' },
    (_request, body, done) => done(null, body)
  )
  app.setErrorHandler((error, request, reply) => {
    reply.hijack()
    countAtRoute(request)
    failRequest(
      { response: reply.raw, id: request.id, log },
      bodyLimitError(error, request.routeOptions.bodyLimit ?? bodyLimit) ?? error
    )
  })
  app.decorate('hostLog', log)
  return app
}
