import { type HostError, hostError } from '../errors.ts'

/** Fastify's error for a body over the limit, in the host's words; null for any other. */
export function bodyLimitError(error: unknown, limit: number): HostError | null {
  const code = (error as { code?: string }).code
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return hostError('HOST_BODY_TOO_LARGE', [limit])
  const status = (error as { statusCode?: number }).statusCode
  // What else Fastify finds wrong with a request before a route sees it (a length that is a lie, say).
  return typeof status === 'number' && status >= 400 && status < 500
    ? hostError('HOST_BAD_REQUEST', [(error as Error).message])
    : null
}
