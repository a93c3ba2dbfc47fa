import type { Check, Findings } from './issue.ts'
import { compilePattern } from './linear-pattern.ts'
import type { PlainSchema } from './plain-schema.ts'
import { pythonText } from './python-text.ts'

/** A text; numbers and booleans become the text that Python prints. */
export function compileString(schema: PlainSchema): Check {
  const limit = compileLimits(schema)
  return (value, found) => {
    if (typeof value === 'string') return limit === undefined ? value : limit(value, found)
    if (typeof value === 'number' || typeof value === 'boolean') {
      const text = pythonText(value)
      return limit === undefined ? text : limit(text, found)
    }
    found.add('str type expected', 'type_error.str')
  }
}

function compileLimits(schema: PlainSchema) {
  const min = schema.minLength ?? 0
  const max = schema.maxLength ?? Number.POSITIVE_INFINITY
  const source = schema.pattern
  if (min === 0 && max === Number.POSITIVE_INFINITY && source === undefined) return undefined
  const pattern = source === undefined ? undefined : compilePattern(source)

  return (text: string, found: Findings) => {
    if (isShorter(text, min)) {
      const msg = `ensure this value has at least ${min} characters`
      found.add(msg, 'value_error.any_str.min_length', { limit_value: min })
    } else if (!isShorter(text, max + 1)) {
      const msg = `ensure this value has at most ${max} characters`
      found.add(msg, 'value_error.any_str.max_length', { limit_value: max })
    } else if (pattern !== undefined && !pattern.test(text)) {
      const msg = `string does not match regex "${source}"`
      found.add(msg, 'value_error.str.regex', { pattern: source })
    }
    return text
  }
}

// Lengths are in code points, as in Python and JSON Schema; a code point is one or two units, so
// they are counted only where that decides.
function isShorter(text: string, length: number): boolean {
  if (text.length < length) return true
  if (text.length >= length * 2) return false
  let points = 0
  for (const _ of text) points++
  return points < length
}
