import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { hostError } from '../errors.ts'

/**
 * Lets a request change the host: with `NEBULA_ADMIN_KEY` as a bearer token, or, where no key is set,
 * from this machine alone.
 *
 * @throws HostError HOST_FORBIDDEN, saying which of the two is wanted
 */
export function requireAdmin(request: IncomingMessage, adminKey: string | null): void {
  if (adminKey === null) {
    if (isLoopback(request.socket.remoteAddress ?? '')) return
    throw hostError('HOST_FORBIDDEN', [
      'Without NEBULA_ADMIN_KEY this answers on loopback alone: set the key and send it as a bearer token'
    ])
  }
  const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (given !== undefined && timingSafeEqual(digest(given), digest(adminKey))) return
  throw hostError('HOST_FORBIDDEN', ['This needs NEBULA_ADMIN_KEY as a bearer token'])
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address)
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
