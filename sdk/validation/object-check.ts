import { compileExtraKeys } from './extra-keys.ts'
import type { Check, Findings } from './issue.ts'
import { own, setOwn } from './own-property.ts'
import type { PlainSchema } from './plain-schema.ts'
import { pythonText } from './python-text.ts'

interface Field {
  name: string
  check: Check
  required: boolean
  /** Makes the value of an absent field; undefined when it has no default. */
  makeDefault: (() => unknown) | undefined
  /** True when `null` is the default, and so allowed whatever the type. */
  nullByDefault: boolean
  /** True when every object has something of that name already, so that it must be read as own. */
  inherited: boolean
}

type CompileNode = (schema: PlainSchema | boolean) => Check

/** An object: declared fields in order with defaults filled in, then the keys that are kept. */
export function compileObject(
  schema: PlainSchema,
  compileNode: CompileNode,
  unknownKeys: 'drop' | 'keep'
): Check {
  const fields = compileFields(schema, compileNode)
  const names = new Set(fields.map((field) => field.name))
  const extra = compileExtraKeys(schema, names, compileNode, unknownKeys)
  const asItIs = fields.length === 0 && extra === 'kept'

  return (value, found) => {
    const input = toObject(value)
    if (input === undefined) {
      found.add('value is not a valid dict', 'type_error.dict')
      return
    }
    if (asItIs) return input
    const output: Record<string, unknown> = {}
    for (let i = 0; i < fields.length; i++) {
      checkField(fields[i]!, input, output, found)
      if (found.full) return
    }
    if (extra === 'kept') keepOthers(input, output, names)
    else if (extra !== 'dropped') extra(input, output, found)
    return output
  }
}

function compileFields(schema: PlainSchema, compileNode: CompileNode): Field[] {
  const properties = schema.properties ?? {}
  const required = schema.required ?? []
  const names = new Set([...Object.keys(properties), ...required])
  return [...names].map((name) => {
    const node = own(properties, name) ?? true
    const hasDefault = typeof node === 'object' && Object.hasOwn(node, 'default')
    const value = hasDefault ? node.default : undefined
    return {
      name,
      check: compileNode(node),
      required: required.includes(name) && !hasDefault,
      makeDefault: hasDefault ? maker(value) : undefined,
      nullByDefault: hasDefault && value === null,
      inherited: name in Object.prototype
    }
  })
}

function checkField(
  field: Field,
  input: Record<string, unknown>,
  output: Record<string, unknown>,
  found: Findings
): void {
  const { name } = field
  const given = field.inherited ? own(input, name) : input[name]
  let value: unknown
  if (given === undefined) {
    if (field.required) found.add('field required', 'value_error.missing', undefined, [name])
    if (field.makeDefault === undefined) return
    value = field.makeDefault()
  } else if (given === null && field.nullByDefault) {
    value = null
  } else {
    const before = found.issues.length
    value = field.check(given, found)
    if (found.issues.length !== before) {
      found.under(before, name)
      return
    }
  }
  if (field.inherited) setOwn(output, name, value)
  else output[name] = value
}

function keepOthers(
  input: Record<string, unknown>,
  output: Record<string, unknown>,
  names: Set<string>
): void {
  for (const key of Object.keys(input)) if (!names.has(key)) setOwn(output, key, input[key])
}

// A default is JSON, and a fresh copy each time: an expert may change what it receives.
function maker(value: unknown): () => unknown {
  if (value === null || typeof value !== 'object') return () => value
  const text = JSON.stringify(value)
  return () => JSON.parse(text)
}

// Python makes a dict of an empty text, an empty list and a list of pairs, too.
function toObject(value: unknown): Record<string, unknown> | undefined {
  if (typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>
  if (value === '') return {}
  if (!Array.isArray(value)) return undefined
  const object = {}
  for (const pair of value) {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] === 'object') return undefined
    setOwn(object, typeof pair[0] === 'string' ? pair[0] : pythonText(pair[0]), pair[1])
  }
  return object
}
