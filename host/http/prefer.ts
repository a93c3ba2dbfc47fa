import type { IncomingMessage } from 'node:http'
import type { RouteCall } from './handle.ts'
import { sendValue } from './send.ts'

/** What a caller asks for in `Prefer` (RFC 7240). */
export interface Preferences {
  /** `respond-async`: answer at once that the work is accepted. */
  respondAsync: boolean
  /** `wait=N`: answer after so long at most, milliseconds; null without it. */
  waitMs: number | null
}

/** Reads `Prefer`. What cannot be understood is no preference, as the RFC has it. */
export function preferencesOf(request: IncomingMessage): Preferences {
  const preferences: Preferences = { respondAsync: false, waitMs: null }
  const { prefer } = request.headers
  if (prefer === undefined) return preferences
  for (const word of (Array.isArray(prefer) ? prefer.join(',') : prefer).split(/[,;]/)) {
    const [name = '', value = ''] = word.split('=').map((part) => part.trim().toLowerCase())
    if (name === 'respond-async') preferences.respondAsync = true
    const seconds = value.replaceAll('"', '')
    if (name === 'wait' && /^\d+$/.test(seconds)) preferences.waitMs ??= Number(seconds) * 1000
  }
  return preferences
}

/** `202`, with the place to ask. The seed's own way, `is_async`, is answered `200 {"jobId"}`. */
export function sendAccepted(call: RouteCall, jobId: string): void {
  call.response.setHeader('location', `${call.raw.base ?? ''}/jobs/${jobId}`)
  sendValue(call.response, 202, { jobId })
}
