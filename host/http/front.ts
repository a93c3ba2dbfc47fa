import type { ServerResponse } from 'node:http'
import { hostError } from '../errors.ts'
import type { Expert } from '../registry/expert.ts'
import type { Registry } from '../registry/registry.ts'
import type { ExpertApp } from './expert-app.ts'
import type { HostedRequest } from './hosted-request.ts'
import { requestIdOf } from './request-id.ts'
import { sendError } from './send.ts'

type Handler = (request: HostedRequest, response: ServerResponse) => void

/** First segments at the root that are the host's, whatever expert also answers there. */
const HOST_PATHS = new Set([
  'experts',
  'docs',
  'jobs',
  'log-level',
  'health',
  'metrics',
  'events',
  'manage',
  'movies',
  'tokens',
  'pipelines',
  'webhooks'
])
/** Paths that every expert has: at the root without a default expert they get a hint. */
const EXPERT_PATHS = new Set(['predict', 'status', 'cfg', 'set', 'tasks', 'redoc'])
const EXPERTS = '/experts/'
/** What those who watch over the host ask for, also while it stops. */
const WATCHED = /^\/(health\/|metrics(\?|$))/

/**
 * Hands each request to the application it is for, in front of all routing: an expert's own, by its
 * base or at the root, or the host's. It knows no route.
 */
export class Front {
  readonly #registry: Registry
  readonly #appOf: (expert: Expert) => ExpertApp | undefined
  /** Set when the host stops: what comes now on open connections is refused. */
  isStopping = false

  constructor(registry: Registry, appOf: (expert: Expert) => ExpertApp | undefined) {
    this.#registry = registry
    this.#appOf = appOf
  }

  handle(request: HostedRequest, response: ServerResponse, host: Handler): void {
    const url = request.url as string
    if (this.isStopping && !WATCHED.test(url)) {
      response.setHeader('connection', 'close')
      sendError(response, requestIdOf(request), hostError('HOST_STOPPING', []))
      return
    }
    if (url.startsWith(EXPERTS) && url.length > EXPERTS.length) {
      this.#byName(request, response, url)
      return
    }
    const first = firstSegment(url)
    if (HOST_PATHS.has(first)) {
      host(request, response)
      return
    }
    const root = this.#registry.rootExpert
    if (root !== null) {
      this.#toExpert(root, '', request, response)
    } else if (EXPERT_PATHS.has(first)) {
      const bases = this.#registry.all.map((expert) => expert.base).join(', ')
      sendError(response, requestIdOf(request), hostError('HOST_NO_DEFAULT_EXPERT', [bases]))
    } else {
      host(request, response)
    }
  }

  #byName(request: HostedRequest, response: ServerResponse, url: string): void {
    const end = endOfSegment(url, EXPERTS.length)
    const name = url.slice(EXPERTS.length, end)
    const expert = this.#registry.get(name)
    if (expert === undefined) {
      sendError(response, requestIdOf(request), hostError('HOST_EXPERT_UNKNOWN', [shown(name)]))
      return
    }
    const rest = url.slice(end)
    request.url = rest.startsWith('/') ? rest : `/${rest}`
    this.#toExpert(expert, url.slice(0, end), request, response)
  }

  #toExpert(expert: Expert, base: string, request: HostedRequest, response: ServerResponse): void {
    request.base = base
    const app = this.#appOf(expert)
    if (app === undefined || !expert.isServing) {
      // Its routes are not known yet, or never will be. A seed's client that waits for it polls this.
      if (expert.state === 'STARTING' && request.url === '/status' && request.method === 'GET') {
        response.setHeader('content-type', 'application/json')
        response.end('{"status":"STARTING"}')
        return
      }
      const error =
        expert.refusal ??
        hostError('HOST_EXPERT_NOT_READY', [expert.name, 'its routes are not known'])
      sendError(response, requestIdOf(request), error)
      return
    }
    app.handle(request, response)
  }
}

function firstSegment(url: string): string {
  return url.slice(1, endOfSegment(url, 1))
}

function endOfSegment(url: string, from: number): number {
  for (let i = from; i < url.length; i++) {
    const char = url.charCodeAt(i)
    // '/' or '?'
    if (char === 47 || char === 63) return i
  }
  return url.length
}

function shown(name: string): string {
  try {
    return decodeURIComponent(name).slice(0, 100)
  } catch {
    return name.slice(0, 100)
  }
}
