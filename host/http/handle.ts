import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from '../observe/log.ts'
import type { HostedRequest } from './hosted-request.ts'
import { failRequest } from './send.ts'

declare module 'fastify' {
  interface FastifyInstance {
    hostLog: Logger
  }
}

/** What a route's function works with: Node's own request and response, and the parts of the path. */
export interface RouteCall {
  raw: HostedRequest
  response: ServerResponse
  id: string
  log: Logger
  /** Bytes of the body, if there is one. */
  body: unknown
  params: Record<string, string>
  query: Record<string, unknown>
  /** Calls `then` when the caller is gone before it has its answer. */
  onHangUp(then: () => void): void
}

/**
 * Makes a Fastify handler of a function that answers on the raw response, so that the answer is exactly
 * what it writes; whatever it throws is answered as an error.
 */
export function handle(work: (call: RouteCall) => void | Promise<void>) {
  return (request: FastifyRequest, reply: FastifyReply): void => {
    reply.hijack()
    const call: RouteCall = {
      raw: request.raw as HostedRequest,
      response: reply.raw,
      id: request.id,
      log: request.server.hostLog,
      body: request.body,
      params: request.params as Record<string, string>,
      query: request.query as Record<string, unknown>,
      onHangUp: (then) => {
        const look = () => {
          if (!reply.raw.writableEnded) then()
        }
        // It may have gone while its request was read or its job was written down.
        if (reply.raw.destroyed) look()
        else reply.raw.on('close', look)
      }
    }
    try {
      const done = work(call)
      if (done !== undefined) done.catch((error) => failRequest(call, error))
    } catch (error) {
      failRequest(call, error)
    }
  }
}
