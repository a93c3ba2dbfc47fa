import { type Check, checkAny, type Findings } from './issue.ts'
import { compilePattern, type LinearPattern } from './linear-pattern.ts'
import { setOwn } from './own-property.ts'
import type { PlainSchema } from './plain-schema.ts'

type CheckKeys = (
  input: Record<string, unknown>,
  output: Record<string, unknown>,
  found: Findings
) => void

/** Keywords whose branches may declare keys that `properties` does not know. */
const BRANCHES = [
  ...['$ref', 'allOf', 'anyOf', 'oneOf', 'if', 'dependentSchemas', 'dependencies'],
  'unevaluatedProperties'
]

/** How TypeBox and others write "any key". */
const ANY_KEY = new Set(['', '.*', '^.*$', '^(.*)$', '^.*'])

/** Most refused keys that are worth sorting. */
const MAX_SORTED = 1000

/**
 * What becomes of keys that are not declared: all `kept` or all `dropped` unseen, or a check that
 * copies those that stay and reports the others.
 */
export function compileExtraKeys(
  schema: PlainSchema,
  names: Set<string>,
  compileNode: (schema: PlainSchema | boolean) => Check,
  unknownKeys: 'drop' | 'keep'
): 'kept' | 'dropped' | CheckKeys {
  const patterns = Object.entries(schema.patternProperties ?? {})
  const declaresKeys = schema.properties !== undefined || patterns.length > 0
  const open = !declaresKeys || BRANCHES.some((keyword) => schema[keyword] !== undefined)
  const others = schema.additionalProperties ?? (open || unknownKeys === 'keep' ? true : undefined)
  if (patterns.length === 0 && others === undefined) return 'dropped'

  const rules: { pattern: LinearPattern | undefined; check: Check }[] = []
  for (const [pattern, node] of patterns) {
    const matcher = ANY_KEY.has(pattern) ? undefined : compilePattern(pattern)
    rules.push({ pattern: matcher, check: compileNode(node) })
  }
  const checkOther = others === undefined ? undefined : compileNode(others)
  const allPass = rules.every((rule) => rule.check === checkAny)
  const coversAll = checkOther === checkAny || rules.some((rule) => rule.pattern === undefined)
  if (allPass && coversAll) return 'kept'

  return (input, output, found) => {
    const refused: string[] = []
    for (const key of Object.keys(input)) {
      if (names.has(key)) continue
      if (found.full) return
      const matching = rules.filter(({ pattern }) => pattern === undefined || pattern.test(key))
      const checks = matching.map((rule) => rule.check)
      if (matching.length === 0) {
        if (others === false) refused.push(key)
        if (others === false || checkOther === undefined) continue
        checks.push(checkOther)
      }
      setOwn(output, key, checkKey(key, input[key], checks, found))
    }
    // Sorted as in pydantic, unless there are so many that it only costs.
    if (refused.length <= MAX_SORTED) refused.sort()
    for (const key of refused) {
      found.add('extra fields not permitted', 'value_error.extra', undefined, [key])
    }
  }
}

function checkKey(key: string, given: unknown, checks: Check[], found: Findings): unknown {
  const before = found.issues.length
  let value = given
  for (const check of checks) {
    if (found.issues.length === before) value = check(value, found)
  }
  found.under(before, key)
  return value
}
