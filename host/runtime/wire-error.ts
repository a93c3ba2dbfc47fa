import { type HostErrorCode, hostError, type hostErrors } from '../errors.ts'
import type { WireError } from './messages.ts'

/** A row of the host's table in the form in which outcomes carry errors. */
export function wireError<C extends HostErrorCode>(
  code: C,
  args: Parameters<(typeof hostErrors)[C]['text']>
): WireError {
  const { message, statusCode } = hostError(code, args)
  return { code, message, statusCode, exposed: true }
}
