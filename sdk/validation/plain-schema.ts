import { compilePattern } from './linear-pattern.ts'
import { setOwn } from './own-property.ts'
import { SchemaError } from './schema-error.ts'
import { LISTS, MAPS, NESTED, SHAPES, TYPES } from './schema-keywords.ts'
import { addReferences, type Places } from './schema-references.ts'

/** A schema after `plainSchema`: a private copy of plain JSON that is safe to compile. */
export interface PlainSchema {
  $ref?: string
  type?: string | string[]
  default?: unknown
  enum?: unknown[]
  const?: unknown
  anyOf?: (PlainSchema | boolean)[]
  oneOf?: (PlainSchema | boolean)[]
  properties?: Record<string, PlainSchema | boolean>
  patternProperties?: Record<string, PlainSchema | boolean>
  additionalProperties?: PlainSchema | boolean
  required?: string[]
  prefixItems?: (PlainSchema | boolean)[]
  items?: PlainSchema | boolean
  minItems?: number
  maxItems?: number
  uniqueItems?: boolean
  minLength?: number
  maxLength?: number
  pattern?: string
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
  exclusiveMaximum?: number
  multipleOf?: number
  [keyword: string]: unknown
}

const MAX_BYTES = 256 * 1024
const MAX_LEVELS = 32
const MAX_NODES = 2000

/**
 * Copies a schema that may come from anywhere, or refuses it: so that compiling costs little and
 * what is compiled cannot change afterwards. Local `$ref`s are resolved, older spellings
 * (`nullable`, lists under `items`) are rewritten to the 2020 dialect.
 *
 * Symbols and properties that are not enumerable are left behind: TypeBox keeps its marks there.
 *
 * @returns the root and every schema in it by JSON pointer
 * @throws SchemaError naming the place
 */
export function plainSchema(schema: unknown): Places {
  const places: Places = { schemas: new Map(), names: new Map() }
  let nodes = 0

  function enter(value: unknown, path: string, parents: object[]): void {
    if (parents.length >= MAX_LEVELS) {
      throw new SchemaError(path, `it is nested deeper than ${MAX_LEVELS} levels`)
    }
    if (parents.includes(value as object)) throw new SchemaError(path, 'it contains itself')
    if (++nodes > MAX_NODES) throw new SchemaError(path, `it has more than ${MAX_NODES} nodes`)
  }

  function copySchema(value: unknown, path: string, parents: object[]): PlainSchema | boolean {
    if (typeof value === 'boolean') {
      places.schemas.set(path, value)
      return value
    }
    if (!isPlainObject(value)) {
      throw new SchemaError(
        path,
        `found ${kindOf(value)}, wanted a schema (an object or a boolean)`
      )
    }
    enter(value, path, parents)
    const inner = [...parents, value]
    const copy: PlainSchema = {}
    places.schemas.set(path, copy)
    for (const [keyword, given] of Object.entries(value)) {
      if (given !== undefined) setOwn(copy, keyword, copyKeyword(keyword, given, path, inner))
    }
    modernise(copy)
    if (typeof copy.$id === 'string') places.names.set(copy.$id, path)
    if (typeof copy.$anchor === 'string') places.names.set(`#${copy.$anchor}`, path)
    return copy
  }

  function copyKeyword(
    keyword: string,
    given: unknown,
    parent: string,
    parents: object[]
  ): unknown {
    const path = `${parent}/${escapeToken(keyword)}`
    checkShape(keyword, given, path)
    if (NESTED.has(keyword) && !Array.isArray(given)) return copySchema(given, path, parents)
    if (LISTS.has(keyword)) {
      return (given as unknown[]).map((item, i) => copySchema(item, `${path}/${i}`, parents))
    }
    if (!MAPS.has(keyword)) return copyData(given, path, parents)
    const copy = {}
    for (const [name, item] of Object.entries(given as object)) {
      const place = `${path}/${escapeToken(name)}`
      if (keyword === 'patternProperties') checkPattern(name, place)
      const isList = keyword === 'dependencies' && Array.isArray(item)
      setOwn(copy, name, isList ? copyData(item, place, parents) : copySchema(item, place, parents))
    }
    return copy
  }

  function copyData(value: unknown, path: string, parents: object[]): unknown {
    if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
    if (typeof value === 'number' && Number.isFinite(value)) return value
    if (!Array.isArray(value) && !isPlainObject(value)) {
      throw new SchemaError(path, `found ${kindOf(value)}, wanted plain JSON`)
    }
    enter(value, path, parents)
    const inner = [...parents, value]
    if (Array.isArray(value)) return value.map((item, i) => copyData(item, `${path}/${i}`, inner))
    const copy = {}
    for (const [name, item] of Object.entries(value)) {
      if (item === undefined) continue
      setOwn(copy, name, copyData(item, `${path}/${escapeToken(name)}`, inner))
    }
    return copy
  }

  const bytes = Buffer.byteLength(JSON.stringify(copySchema(schema, '', [])))
  if (bytes > MAX_BYTES)
    throw new SchemaError('', `${bytes} bytes of JSON, at most ${MAX_BYTES} allowed`)
  addReferences(places)
  return places
}

function checkShape(keyword: string, given: unknown, path: string): void {
  const shape = SHAPES[keyword]
  if (shape !== undefined && !shape.fits(given)) {
    throw new SchemaError(path, `found ${kindOf(given)}, wanted ${shape.wanted}`)
  }
  if (keyword === 'pattern') checkPattern(given as string, path)
  if (keyword !== 'type') return
  for (const type of Array.isArray(given) ? given : [given]) {
    if (TYPES.has(type)) continue
    throw new SchemaError(path, `found '${type}', wanted one of ${[...TYPES].join(', ')}`)
  }
}

function checkPattern(pattern: string, path: string): void {
  try {
    compilePattern(pattern)
  } catch (cause) {
    const why = (cause as Error).message
    throw new SchemaError(
      path,
      `pattern ${pattern.slice(0, 100)} is not one that RE2 can run (${why})`
    )
  }
}

function modernise(schema: PlainSchema): void {
  if (Array.isArray(schema.items)) {
    schema.prefixItems = schema.items
    delete schema.items
    if (schema.additionalItems !== undefined) schema.items = schema.additionalItems as PlainSchema
  }
  if (schema.nullable === true && schema.type !== undefined) {
    schema.type = [...new Set([schema.type, 'null'].flat())]
  }
  delete schema.nullable
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && Object.prototype.toString.call(value) === '[object Object]'
}

/** One step of a JSON pointer. */
function escapeToken(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return `'${value.slice(0, 40)}'`
  if (typeof value !== 'object') return `${typeof value} ${String(value).slice(0, 40)}`
  return `an object (${Object.prototype.toString.call(value).slice(8, -1)})`
}
