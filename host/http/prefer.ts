import type { IncomingMessage } from 'node:http'
import type { RouteCall } from './handle.ts'
import { sendValue } from './send.ts'

/** True when the caller sent `Prefer: respond-async` (RFC 7240). */
export function prefersAsync(request: IncomingMessage): boolean {
  const prefer = request.headers.prefer
  if (prefer === undefined) return false
  const words = (Array.isArray(prefer) ? prefer.join(',') : prefer).split(',')
  return words.some((word) => word.trim().toLowerCase() === 'respond-async')
}

/** `200 {"jobId"}` as the seed; `202` with the place to ask for a caller who used the standard header. */
export function sendAccepted(call: RouteCall, jobId: string, standard: boolean): void {
  if (standard) {
    call.response.setHeader('location', `${call.raw.base ?? ''}/jobs/${jobId}`)
    call.response.setHeader('preference-applied', 'respond-async')
  }
  sendValue(call.response, standard ? 202 : 200, { jobId })
}
