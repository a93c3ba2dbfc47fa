import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyRequest, RouteOptions } from 'fastify'
import type { RequestTally, RouteTallies, RouteTally } from '../observe/request-tally.ts'
import type { HostedRequest } from './hosted-request.ts'

/** Counts a request when its answer has ended, for the route to which it came. */
export function followRequest(
  request: IncomingMessage,
  response: ServerResponse,
  requests: RequestTally
): void {
  const begunAt = performance.now()
  requests.inProgress++
  response.on('close', () => {
    requests.inProgress--
    const { tally = requests.ofNoRoute(request.method as string) } = request as HostedRequest
    tally.add(response.headersSent ? response.statusCode : null, performance.now() - begunAt)
  })
}

/** Has a route that is being added say on each of its requests that it is the one. */
export function countRequests(route: RouteOptions, tallies: RouteTallies): void {
  const path = route.config?.declaredPath ?? route.url
  const byMethod = new Map<string, RouteTally>()
  for (const method of [route.method].flat()) byMethod.set(method, tallies.of(method, path))
  route.config = { ...route.config, tallies: byMethod }
  const { handler } = route
  route.handler = function counted(request, reply) {
    const tally = byMethod.get(request.method)
    if (tally !== undefined) (request.raw as HostedRequest).tally = tally
    return handler.call(this, request, reply)
  }
}

/** The same for a request that failed on its way to the route: its body was too large, say. */
export function countAtRoute(request: FastifyRequest): void {
  const tally = request.routeOptions.config.tallies?.get(request.method)
  if (tally !== undefined) (request.raw as HostedRequest).tally = tally
}
