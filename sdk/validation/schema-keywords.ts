// Where a JSON Schema (2020-12, with the older spellings) holds further schemas, and what shape its
// keywords have. Whatever is not named here is data.

/** Keywords that hold one schema. `items` may also hold a list of them (draft 7). */
export const NESTED = new Set([
  ...['additionalProperties', 'additionalItems', 'items', 'contains', 'propertyNames', 'not'],
  ...['if', 'then', 'else', 'unevaluatedItems', 'unevaluatedProperties', 'contentSchema']
])

/** Keywords that hold a list of schemas. */
export const LISTS = new Set(['prefixItems', 'anyOf', 'oneOf', 'allOf', 'items'])

/** Keywords that hold schemas by name. */
export const MAPS = new Set([
  ...['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas', 'dependencies']
])

/** Keywords that are left to Ajv. */
export const AJV_KEYWORDS = [
  ...['anyOf', 'oneOf', 'allOf', 'not', 'if', 'then', 'else', 'format', 'contains', 'minContains'],
  ...['maxContains', 'propertyNames', 'minProperties', 'maxProperties', 'dependentRequired'],
  ...['dependentSchemas', 'dependencies', 'unevaluatedItems', 'unevaluatedProperties']
]

/** The values of `type`. */
export const TYPES = new Set<unknown>([
  ...['string', 'integer', 'number', 'boolean', 'object', 'array', 'null']
])

interface Shape {
  fits: (value: unknown) => boolean
  wanted: string
}

const number: Shape = { fits: Number.isFinite, wanted: 'a number' }
const step: Shape = {
  fits: (value) => Number.isFinite(value) && (value as number) > 0,
  wanted: 'a number above 0'
}
const size: Shape = {
  fits: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  wanted: 'a whole number, 0 or more'
}
const text: Shape = { fits: (value) => typeof value === 'string', wanted: 'a string' }
const flag: Shape = { fits: (value) => typeof value === 'boolean', wanted: 'a boolean' }
const list: Shape = {
  fits: (value) => Array.isArray(value) && value.length > 0,
  wanted: 'a list that is not empty'
}
const map: Shape = {
  fits: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  wanted: 'an object'
}
const texts: Shape = {
  fits: (value) => Array.isArray(value) && value.every(text.fits),
  wanted: 'a list of strings'
}
const type: Shape = {
  fits: (value) => text.fits(value) || (list.fits(value) && texts.fits(value)),
  wanted: 'a string or a list of strings'
}
const never: Shape = { fits: () => false, wanted: 'a plain $ref' }

/** What a keyword's value must be. Those that only Ajv reads are checked by Ajv. */
export const SHAPES: Record<string, Shape | undefined> = Object.assign(Object.create(null), {
  type,
  required: texts,
  nullable: flag,
  uniqueItems: flag,
  multipleOf: step,
  enum: list,
  ...each(['pattern', 'format', '$ref', '$id', '$anchor'], text),
  ...each(['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'], number),
  ...each(['minLength', 'maxLength', 'minItems', 'maxItems'], size),
  ...each(['anyOf', 'oneOf', 'allOf', 'prefixItems'], list),
  ...each([...MAPS], map),
  ...each(['$dynamicRef', '$recursiveRef'], never)
})

function each(keywords: string[], shape: Shape): Record<string, Shape> {
  return Object.fromEntries(keywords.map((keyword) => [keyword, shape]))
}
