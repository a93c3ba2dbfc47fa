import type { Check, Findings } from './issue.ts'
import type { PlainSchema } from './plain-schema.ts'
import { pythonFloat, pythonInt } from './python-number.ts'
import { pythonText } from './python-text.ts'

/** A whole number; fractions are cut off, booleans are 0 and 1, texts read as Python's `int()`. */
export function compileInteger(schema: PlainSchema): Check {
  const limit = compileLimits(schema)
  return (value, found) => {
    const number = toInteger(value)
    if (number === undefined) found.add('value is not a valid integer', 'type_error.integer')
    else if (limit !== undefined) limit(number, found)
    return number
  }
}

/** A double; booleans are 0 and 1, texts are read as Python's `float()`, so `inf` and `nan` too. */
export function compileNumber(schema: PlainSchema): Check {
  const limit = compileLimits(schema)
  return (value, found) => {
    const number = typeof value === 'number' ? value : toNumber(value)
    if (number === undefined) found.add('value is not a valid float', 'type_error.float')
    else if (limit !== undefined) limit(number, found)
    return number
  }
}

function toInteger(value: unknown): number | undefined {
  // Adding 0 makes of -0, which Python's int does not have, a 0.
  if (typeof value === 'number') return Number.isFinite(value) ? Math.trunc(value) + 0 : undefined
  if (typeof value === 'string') return pythonInt(value)
  return typeof value === 'boolean' ? Number(value) : undefined
}

function toNumber(value: unknown): number | undefined {
  if (typeof value === 'string') return pythonFloat(value)
  return typeof value === 'boolean' ? Number(value) : undefined
}

function compileLimits(schema: PlainSchema) {
  const { exclusiveMinimum: gt, minimum: ge, exclusiveMaximum: lt, maximum: le } = schema
  const step = schema.multipleOf
  if ([gt, ge, lt, le, step].every((limit) => limit === undefined)) return undefined

  // Written with ! so that NaN, as in pydantic, is within no limit. One issue a field.
  return (number: number, found: Findings) => {
    if (gt !== undefined && !(number > gt)) addLimit(found, 'greater than', 'not_gt', gt)
    else if (ge !== undefined && !(number >= ge)) {
      addLimit(found, 'greater than or equal to', 'not_ge', ge)
    } else if (lt !== undefined && !(number < lt)) addLimit(found, 'less than', 'not_lt', lt)
    else if (le !== undefined && !(number <= le)) {
      addLimit(found, 'less than or equal to', 'not_le', le)
    } else if (step !== undefined && !isMultiple(number, step)) {
      const msg = `ensure this value is a multiple of ${pythonText(step)}`
      found.add(msg, 'value_error.number.not_multiple', { multiple_of: step })
    }
  }
}

function addLimit(found: Findings, words: string, code: string, limit: number): void {
  const msg = `ensure this value is ${words} ${pythonText(limit)}`
  found.add(msg, `value_error.number.${code}`, { limit_value: limit })
}

// pydantic's own tolerance, so that 0.3 is a multiple of 0.1.
function isMultiple(number: number, step: number): boolean {
  const rest = Math.abs((number / step) % 1)
  return rest <= 1e-8 || Math.abs(rest - 1) <= 1e-8
}
