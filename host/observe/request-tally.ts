import { DurationTally } from './duration-tally.ts'

/** How a request was answered, by the hundreds of its status; `hung_up` when its caller was gone before. */
export const answerClasses = ['1xx', '2xx', '3xx', '4xx', '5xx', 'hung_up'] as const
const HUNG_UP = answerClasses.indexOf('hung_up')

/** Upper bounds, seconds: of calls, their waits, and requests. */
export const CALL_BOUNDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60]

/** The requests of one route and method. */
export class RouteTally {
  readonly method: string
  readonly route: string
  /** By place in `answerClasses`. */
  readonly answers = new Float64Array(answerClasses.length)
  readonly durations = new DurationTally(CALL_BOUNDS)

  constructor(method: string, route: string) {
    this.method = method
    this.route = route
  }

  /** @param status - of the answer; null when the caller was gone before it */
  add(status: number | null, milliseconds: number): void {
    const place = status === null ? HUNG_UP : Math.floor(status / 100) - 1
    ;(this.answers[place] as number)++
    this.durations.add(milliseconds)
  }
}

/** The routes of one application: what is counted for them goes on when a new version takes them over. */
export class RouteTallies {
  readonly all = new Map<string, RouteTally>()
  #before: RouteTallies | null

  /** @param before - of the version before: its counts are kept for the routes that are still there */
  constructor(before: RouteTallies | null = null) {
    this.#before = before
  }

  /** It has taken the place of the version before. */
  settle(): void {
    this.#before = null
  }

  /** @param route - its template, never a path that was asked for */
  of(method: string, route: string): RouteTally {
    const key = `${method} ${route}`
    const tally = this.all.get(key) ?? this.#before?.all.get(key) ?? new RouteTally(method, route)
    this.all.set(key, tally)
    return tally
  }
}

/** What is no method of the host's routes is counted as one, so that callers make no series. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** All requests, whichever application they are for. */
export class RequestTally {
  /** Received, and not yet answered to the end. */
  inProgress = 0
  /** Those that came to no route: refused before it, or in search of one that there is not. */
  readonly unrouted = new RouteTallies()

  /** @returns the tally of those of that method that came to no route */
  ofNoRoute(method: string): RouteTally {
    return this.unrouted.of(METHODS.has(method) ? method : 'OTHER', NO_ROUTE)
  }
}

const NO_ROUTE = 'none'
