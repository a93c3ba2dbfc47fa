import { createRequire } from 'node:module'
import type { Ajv2020, Options, ValidateFunction } from 'ajv/dist/2020.js'
import { allDifferent } from './canonical-json.ts'
import { type Check, type Issue, MAX_ISSUES } from './issue.ts'
import { ajvPattern } from './linear-pattern.ts'
import type { PlainSchema } from './plain-schema.ts'
import { SchemaError } from './schema-error.ts'
import { COUNT_STEP, DOCUMENT } from './schema-references.ts'

// Ajv is loaded when the first schema asks for it: few do, and every expert's process would pay.
const require = createRequire(import.meta.url)

/** How many `$ref`s one check may follow: a recursive union could double at each level. */
const MAX_STEPS = 100_000
/** Values of more parts than this get the first issue only. */
const MAX_PARTS = 1000
/** Longest text whose `url` is checked; the expression for it is quadratic. */
const MAX_URL = 2083

class TooManySteps extends Error {}

/** Of the check that runs; checks do not wait, so there is one at a time. */
let steps = 0

/** Compiles one part of a document; `path` is where it stands. */
export type CompileAjv = (keywords: PlainSchema, path: string) => Check

/**
 * Gives the compiler of the keywords that pydantic has no words for. What it compiles is to be run
 * on values that are coerced already.
 *
 * @param document - the whole schema, for its `$ref`s
 */
export function ajvCompiler(document: PlainSchema | boolean): CompileAjv {
  let quick: Ajv2020 | undefined
  let thorough: Ajv2020 | undefined

  return (keywords, path) => {
    quick ??= createAjv(document, false)
    const first = compilePart(quick, keywords, path)
    let all: ValidateFunction | undefined
    return (value, found) => {
      let issues = issuesOf(first, value)
      if (issues === undefined) return value
      // Finding every issue means no shortcut, so it is tried on small values only.
      if (issues !== tooCostly && isSmall(value)) {
        thorough ??= createAjv(document, true)
        all ??= thorough.compile(keywords)
        const more = issuesOf(all, value)
        if (more !== undefined && more !== tooCostly) issues = more
      }
      for (const { msg, type, ctx, loc } of issues) found.add(msg, type, ctx, [...loc])
      return value
    }
  }
}

function compilePart(ajv: Ajv2020, keywords: PlainSchema, path: string): ValidateFunction {
  try {
    return ajv.compile(keywords)
  } catch (cause) {
    throw new SchemaError(path, (cause as Error).message)
  }
}

function createAjv(document: PlainSchema | boolean, allErrors: boolean): Ajv2020 {
  const { Ajv2020 } = require('ajv/dist/2020.js') as typeof import('ajv/dist/2020.js')
  const { fullFormats } =
    require('ajv-formats/dist/formats.js') as typeof import('ajv-formats/dist/formats.js')
  const url = fullFormats.url as RegExp
  const options: Options = {
    strict: false,
    allErrors,
    // With them references could multiply at compile time.
    inlineRefs: false,
    meta: false,
    validateSchema: false,
    addUsedSchema: false,
    ownProperties: true,
    logger: false,
    code: { regExp: ajvPattern },
    formats: { ...fullFormats, url: (text: string) => text.length <= MAX_URL && url.test(text) }
  }
  const ajv = new Ajv2020(options)
  // Ajv's own compares every pair.
  ajv.removeKeyword('uniqueItems').addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    error: { message: 'must NOT have duplicate items' },
    validate: (unique: boolean, list: unknown[]) => !unique || allDifferent(list)
  })
  return countReferences(ajv).addSchema(document, DOCUMENT)
}

function countReferences(ajv: Ajv2020): Ajv2020 {
  return ajv.addKeyword({
    keyword: COUNT_STEP,
    before: '$ref',
    errors: false,
    validate: () => {
      if (++steps > MAX_STEPS) throw new TooManySteps()
      return true
    }
  })
}

const tooCostly: Issue[] = [
  { loc: [], msg: 'value is too deep or too large to be checked', type: 'value_error.recursion' }
]

function issuesOf(validate: ValidateFunction, value: unknown): Issue[] | undefined {
  steps = 0
  try {
    if (validate(value)) return undefined
  } catch (error) {
    // RangeError: the stack is full.
    if (error instanceof TooManySteps || error instanceof RangeError) return tooCostly
    throw error
  }
  return (validate.errors ?? []).slice(0, MAX_ISSUES).map((error) => ({
    loc: location(error.instancePath, value),
    msg: error.message ?? 'value is not valid',
    type: `value_error.${error.keyword.replaceAll(' ', '_')}`
  }))
}

function location(instancePath: string, root: unknown): Issue['loc'] {
  let place = root
  return instancePath
    .split('/')
    .slice(1)
    .map((token) => {
      const key = token.replaceAll('~1', '/').replaceAll('~0', '~')
      const isIndex = Array.isArray(place)
      place = (place as Record<string, unknown> | undefined)?.[key]
      return isIndex ? Number(key) : key
    })
}

function isSmall(value: unknown): boolean {
  const parts = [value]
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]
    if (typeof part !== 'object' || part === null) continue
    for (const item of Object.values(part)) if (parts.push(item) > MAX_PARTS) return false
  }
  return true
}
