import type { ServerResponse } from 'node:http'
import { hostError } from '../errors.ts'
import type { HostedRequest } from './hosted-request.ts'
import { requestIdOf } from './request-id.ts'
import type { Miss, RouteTable } from './route-table.ts'
import { sendError } from './send.ts'

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
