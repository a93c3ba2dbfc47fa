import { canonicalJson } from './canonical-json.ts'
import { addNoneNotAllowed, type Check } from './issue.ts'
import { pythonRepr } from './python-text.ts'

/** Longest given text that an issue repeats. */
const MAX_ECHO = 1000

/** One of the values of an `enum`, with no coercion. */
export function compileEnum(values: unknown[], nullable: boolean): Check {
  const permitted = values.map(pythonRepr).join(', ')
  const msg = `value is not a valid enumeration member; permitted: ${permitted}`
  return compileChoice(values, nullable, (_, found) => {
    found.add(msg, 'type_error.enum', { enum_values: values })
  })
}

/** One of the values of a `const` or of a union of them (Python's `Literal`), with no coercion. */
export function compileLiteral(values: unknown[], nullable: boolean): Check {
  const msg = `unexpected value; permitted: ${values.map(pythonRepr).join(', ')}`
  return compileChoice(values, nullable, (given, found) => {
    const echo = typeof given === 'string' ? given.slice(0, MAX_ECHO) : given
    const ctx =
      typeof echo === 'object' ? { permitted: values } : { given: echo, permitted: values }
    found.add(msg, 'value_error.const', ctx)
  })
}

function compileChoice(values: unknown[], nullable: boolean, refuse: Check): Check {
  const scalars = new Set(values.filter((value) => typeof value !== 'object' || value === null))
  const others = new Set(values.filter((value) => !scalars.has(value)).map(canonicalJson))
  return (value, found) => {
    if (scalars.has(value)) return value
    if (value === null) return nullable ? null : addNoneNotAllowed(found)
    if (typeof value === 'object' && others.size > 0 && others.has(canonicalJson(value)))
      return value
    return refuse(value, found)
  }
}
