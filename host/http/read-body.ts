import type { IncomingMessage } from 'node:http'
import { hostError } from '../errors.ts'
import { InvalidRequest } from './invalid-request.ts'
import { parseJsonBody } from './json-body.ts'

/** Types that say a body is JSON. */
export const JSON_TYPE = /^\s*application\/([\w.!#$&^-]+\+)?json\s*(;|$)/i

/**
 * Gives a body as the seed's framework reads it: JSON when the type says so or is absent, otherwise the
 * raw text, which no schema of an object fits; undefined when there is none.
 *
 * @throws InvalidRequest for a syntax error, HostError HOST_BODY_UNDECODABLE for bytes that are no text
 */
export function readBody(request: IncomingMessage, bytes: unknown): unknown {
  if (!Buffer.isBuffer(bytes) || bytes.length === 0) return undefined
  const type = request.headers['content-type']
  if (type !== undefined && type !== 'application/json' && !JSON_TYPE.test(type)) {
    return bytes.toString('utf8')
  }
  const parsed = parseJsonBody(bytes)
  if ('undecodable' in parsed) throw hostError('HOST_BODY_UNDECODABLE', [])
  if (parsed.issues !== undefined) throw new InvalidRequest(parsed.issues)
  return parsed.value
}
