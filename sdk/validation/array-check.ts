import { allDifferent } from './canonical-json.ts'
import { type Check, checkAny, type Findings } from './issue.ts'
import type { PlainSchema } from './plain-schema.ts'

type CompileNode = (schema: PlainSchema | boolean) => Check

/** A list; `prefixItems` are its first items, `items` the rest. */
export function compileArray(schema: PlainSchema, compileNode: CompileNode): Check {
  const first = (schema.prefixItems ?? []).map(compileNode)
  const rest = compileNode(schema.items ?? true)
  const checkSize = compileSize(schema, first.length, schema.items === false)
  const asItIs = first.length === 0 && rest === checkAny

  return (value, found) => {
    if (!Array.isArray(value)) {
      const type = first.length > 0 ? 'tuple' : 'list'
      found.add(`value is not a valid ${type}`, `type_error.${type}`)
      return
    }
    // Before the items, as pydantic does: a list that is too long is not walked.
    if (!checkSize(value, found) || asItIs) return value
    const items: unknown[] = new Array(value.length)
    for (let i = 0; i < value.length && !found.full; i++) {
      const check = first[i] ?? rest
      const before = found.issues.length
      items[i] = check(value[i], found)
      if (found.issues.length !== before) found.under(before, i)
    }
    return items
  }
}

function compileSize(schema: PlainSchema, length: number, closed: boolean) {
  const { minItems: min = 0, maxItems: max = Number.POSITIVE_INFINITY, uniqueItems } = schema
  return (list: unknown[], found: Findings): boolean => {
    const before = found.issues.length
    if (closed && (list.length > length || (min === length && list.length < length))) {
      const ctx = { actual_length: list.length, expected_length: length }
      const msg = `wrong tuple length ${list.length}, expected ${length}`
      found.add(msg, 'value_error.tuple.length', ctx)
    } else if (list.length < min) {
      const msg = `ensure this value has at least ${min} items`
      found.add(msg, 'value_error.list.min_items', { limit_value: min })
    } else if (list.length > max) {
      const msg = `ensure this value has at most ${max} items`
      found.add(msg, 'value_error.list.max_items', { limit_value: max })
    } else if (uniqueItems === true && !allDifferent(list)) {
      found.add('the list has duplicated items', 'value_error.list.unique_items')
    }
    return found.issues.length === before
  }
}
