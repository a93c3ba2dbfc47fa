import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

const LEGAL = /^[\w.:-]{1,128}$/
const START = randomBytes(6).toString('base64url')
let count = 0

/** The caller's `X-Request-Id` where it is legal, else one of ours. */
export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id']
  if (typeof given === 'string' && LEGAL.test(given)) return given
  count += 1
  return `${START}-${count.toString(36)}`
}
