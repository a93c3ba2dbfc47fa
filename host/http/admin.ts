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
    if (isOperatorHere(request)) return
    throw hostError('HOST_FORBIDDEN', [
      "Without NEBULA_ADMIN_KEY this answers on loopback alone, and neither a browser's page nor a proxy: set the key and send it as a bearer token"
    ])
  }
  const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (given !== undefined && timingSafeEqual(digest(given), digest(adminKey))) return
  throw hostError('HOST_FORBIDDEN', ['This needs NEBULA_ADMIN_KEY as a bearer token'])
}

/**
 * True for a program on this machine that speaks for itself. A page of another origin in a local browser,
 * a name that was made to resolve to this machine, and a proxy in front of the world come by loopback too.
 */
function isOperatorHere(request: IncomingMessage): boolean {
  const { headers, socket } = request
  if (!isLoopback(socket.remoteAddress ?? '')) return false
  if (PROXY_HEADERS.some((name) => headers[name] !== undefined)) return false
  const host = hostNameOf(`http://${headers.host ?? ''}`)
  if (host !== 'localhost' && host !== '[::1]' && !isLoopback(host)) return false
  return headers.origin === undefined || hostNameOf(headers.origin) === host
}

const PROXY_HEADERS = ['x-forwarded-for', 'forwarded', 'via', 'x-real-ip']

function hostNameOf(url: string): string {
  try {
    return new URL(url).hostname
  } catch {
    return ''
  }
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address)
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
