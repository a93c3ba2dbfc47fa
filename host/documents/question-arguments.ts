import { hostError } from '../errors.ts'
import { type DocumentFields, isObject } from './stored-document.ts'

// What experts send is foreign input: each argument is checked, and the error names it.

const DEFAULT_LIMIT = 100
const MOST = 1000

/** What an expert asks, answered with a value that is JSON. */
export type Question = (expert: string, args: unknown[]) => Promise<unknown>

/** @throws HostError HOST_DOCUMENT_INVALID that says what is wrong with which argument */
export function textOf(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw invalid(name, 'no string')
}

/** Like `textOf`. */
export function objectOf(value: unknown, name: string): DocumentFields {
  if (isObject(value)) return value
  throw invalid(name, 'no object')
}

/** Like `textOf`; absent and null are undefined. */
export function objectOrNone(value: unknown, name: string): DocumentFields | undefined {
  return value === undefined || value === null ? undefined : objectOf(value, name)
}

/** Like `textOf`. */
export function listOf(value: unknown, name: string): DocumentFields[] {
  if (Array.isArray(value) && value.every(isObject)) return value
  throw invalid(name, 'no list of objects')
}

/** A whole number from `least` on; like `textOf`. */
export function countOf(value: unknown, name: string, least: number): number {
  if (Number.isSafeInteger(value) && (value as number) >= least) return value as number
  throw invalid(name, `no whole number from ${least} on`)
}

/** A query with its limit, which need not be given. */
export function pageOf(query: unknown): DocumentFields & { limit: number } {
  const asked = objectOrNone(query, 'query') ?? {}
  const limit = asked.limit ?? DEFAULT_LIMIT
  if (!Number.isInteger(limit) || (limit as number) < 1 || (limit as number) > MOST) {
    throw hostError('HOST_DOCUMENT_INVALID', [`limit is ${limit}, not 1 to ${MOST}`])
  }
  return { ...asked, limit: limit as number }
}

function invalid(name: string, what: string) {
  return hostError('HOST_DOCUMENT_INVALID', [`${name} is ${what}`])
}
