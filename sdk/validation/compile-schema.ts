import type { TSchema } from 'typebox'
import { nodeCompiler } from './compile-node.ts'
import { type Check, type Checked, Findings, type Issue } from './issue.ts'
import { plainSchema } from './plain-schema.ts'

/** Where the value comes from: the first parts of every issue's location, such as `['body']`. */
type CheckValue<T> = (value: unknown, loc: Issue['loc']) => Checked<T>

/**
 * Compiles a JSON Schema (or TypeBox schema) into a check that coerces as pydantic v1 does and
 * reports what is wrong in its words: fields in the order they are declared, at most 100 issues.
 *
 * The check never changes what it is given. It builds objects anew: declared fields first, defaults
 * filled in, keys that are not declared dropped or kept. Parts about which the schema says nothing
 * are handed on as they are, by reference.
 *
 * `undefined` means that there is no value at all: it is the schema's default, or `field required`.
 * A body that is JSON `null` counts as absent in FastAPI: give `body ?? undefined`.
 *
 * @param options.unknownKeys - what becomes of keys that an object with `properties` does not
 *   declare; `drop` (the default) is pydantic's way
 * @throws SchemaError for a schema that is not plain JSON, too large, too deep, with a `$ref` that
 *   leads nowhere, an unknown `type`, or a pattern that RE2 cannot run
 */
export function compileSchema<T = unknown>(
  schema: TSchema | object,
  options: { unknownKeys?: 'drop' | 'keep' } = {}
): CheckValue<T> {
  const places = plainSchema(schema)
  const root = places.schemas.get('')!
  const check = nodeCompiler(places, options.unknownKeys ?? 'drop')(root)
  const hasDefault = typeof root === 'object' && Object.hasOwn(root, 'default')

  return (given, loc) => {
    const value = given === undefined && hasDefault ? structuredClone(root.default) : given
    if (value === null && hasDefault && root.default === null) return { value: value as T }
    const found = new Findings()
    const result = value === undefined ? addMissing(found) : runCheck(check, value, found)
    if (found.issues.length === 0) return { value: result as T }
    for (const issue of found.issues) issue.loc.unshift(...loc)
    return { issues: found.issues }
  }
}

function addMissing(found: Findings): void {
  found.add('field required', 'value_error.missing')
}

function runCheck(check: Check, value: unknown, found: Findings): unknown {
  try {
    return check(value, found)
  } catch (error) {
    // The stack is full: the value is deeper than any parser here would let through.
    if (!(error instanceof RangeError)) throw error
    found.add('value is nested too deeply', 'value_error.recursion')
  }
}
