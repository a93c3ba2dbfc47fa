import type { Check } from './issue.ts'

const truth = new Map<unknown, boolean>([
  ...[1, '1', 'on', 't', 'true', 'y', 'yes'].map((word) => [word, true] as const),
  ...[0, '0', 'off', 'f', 'false', 'n', 'no'].map((word) => [word, false] as const)
])

/** True or false; also 0, 1 and the words that pydantic knows, in any case. */
export const checkBoolean: Check = (value, found) => {
  if (typeof value === 'boolean') return value
  const known = truth.get(typeof value === 'string' ? value.toLowerCase() : value)
  if (known === undefined) {
    found.add('value could not be parsed to a boolean', 'type_error.bool')
  }
  return known
}
