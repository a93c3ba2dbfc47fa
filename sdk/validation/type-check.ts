import { addNoneNotAllowed, type Check, checkAny } from './issue.ts'
import type { PlainSchema } from './plain-schema.ts'

type Kind = 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object'
type Compilers = Record<Kind, () => Check>

/** Which keywords say something about a value of which kind, where `type` does not. */
const keywordsOf: Partial<Record<Kind, string[]>> = {
  string: ['minLength', 'maxLength', 'pattern'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems'],
  object: ['properties', 'patternProperties', 'additionalProperties', 'required']
}

/** Compiles what `type` and the keywords of each type ask for. */
export function compileTypes(schema: PlainSchema, compilers: Compilers): Check {
  if (schema.type === undefined) return compileUntyped(schema, compilers)
  const types = [schema.type].flat()
  const kinds = types.filter((type) => type !== 'null') as Kind[]
  const nullable = kinds.length < types.length
  const check = compileKinds(kinds, compilers)
  return (value, found) => {
    if (value !== null) return check(value, found)
    return nullable ? null : addNoneNotAllowed(found)
  }
}

// Without a `type` nothing is coerced: each keyword holds for values of its kind, others pass.
function compileUntyped(schema: PlainSchema, compilers: Compilers): Check {
  const checks = new Map<Kind, Check>()
  for (const [kind, keywords] of Object.entries(keywordsOf) as [Kind, string[]][]) {
    if (keywords.some((keyword) => schema[keyword] !== undefined)) {
      checks.set(kind, compilers[kind]())
    }
  }
  if (checks.size === 0) return checkAny
  return (value, found) => {
    if (value === null) return null
    const check = checks.get(kindOf(value))
    return check === undefined ? value : check(value, found)
  }
}

function compileKinds(kinds: Kind[], compilers: Compilers): Check {
  if (kinds.length === 1) return compilers[kinds[0]!]()
  const checks = kinds.map((kind) => ({ kind, check: compilers[kind]() }))
  if (kinds.length === 0) return (_, found) => found.add('value is not None', 'type_error.not_none')

  // A value that already is of one of the types stays so; else the first that it can become.
  return (value, found) => {
    const exact = checks.find(({ kind }) => isOfKind(value, kind))
    if (exact !== undefined) return exact.check(value, found)
    const before = found.issues.length
    for (const { check } of checks) {
      const start = found.issues.length
      const result = check(value, found)
      if (found.issues.length === start && !found.full) {
        found.issues.length = before
        return result
      }
    }
    return undefined
  }
}

function isOfKind(value: unknown, kind: Kind): boolean {
  return kind === 'integer' ? Number.isInteger(value) : kindOf(value) === kind
}

function kindOf(value: unknown): Kind {
  return Array.isArray(value) ? 'array' : (typeof value as Kind)
}
