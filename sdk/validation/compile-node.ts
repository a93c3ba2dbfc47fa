import { ajvCompiler } from './ajv-check.ts'
import { compileArray } from './array-check.ts'
import { checkBoolean } from './boolean-check.ts'
import { compileEnum, compileLiteral } from './choice-check.ts'
import { type Check, checkAny } from './issue.ts'
import { compileInteger, compileNumber } from './number-check.ts'
import { compileObject } from './object-check.ts'
import type { PlainSchema } from './plain-schema.ts'
import { AJV_KEYWORDS } from './schema-keywords.ts'
import { type Places, pointerOf } from './schema-references.ts'
import { compileString } from './string-check.ts'
import { compileTypes } from './type-check.ts'

/** How many `$ref`s deep a value may be. */
const MAX_DEPTH = 100

const checkNever: Check = (_, found) => found.add('no value is allowed here', 'value_error.never')

/** Compiles the schemas of one document; each `$ref` target once. */
export function nodeCompiler(places: Places, unknownKeys: 'drop' | 'keep') {
  const targets = new Map<string, Check>()
  const compileAjv = ajvCompiler(places.schemas.get('')!)

  function compileNode(schema: PlainSchema | boolean): Check {
    if (typeof schema === 'boolean') return schema ? checkAny : checkNever
    const checks: Check[] = []
    if (schema.$ref !== undefined) checks.push(compileReference(pointerOf(schema.$ref)))
    const union = compileUnion(schema)
    if (union !== undefined) checks.push(union)
    checks.push(...compileValue(schema), ...compileRest(schema, union !== undefined))
    return inSequence(checks)
  }

  function compileValue(schema: PlainSchema): Check[] {
    const types = [schema.type ?? []].flat()
    const nullable = types.includes('null')
    if (Object.hasOwn(schema, 'const')) return [compileLiteral([schema.const], nullable)]
    const typed = compileTypes(schema, {
      string: () => compileString(schema),
      integer: () => compileInteger(schema),
      number: () => compileNumber(schema),
      boolean: () => checkBoolean,
      array: () => compileArray(schema, compileNode),
      object: () => compileObject(schema, compileNode, unknownKeys)
    })
    if (schema.enum === undefined) return [typed]
    // As pydantic: an Enum of numbers reads its text first, one of texts takes nothing but them.
    const member = compileEnum(schema.enum, nullable)
    const coerces = types.some((type) => ['integer', 'number', 'boolean'].includes(type))
    return coerces ? [typed, member] : [member, typed]
  }

  // `X | null` and unions of literals, the two unions that are coerced here; the rest is Ajv's.
  function compileUnion(schema: PlainSchema): Check | undefined {
    const members = schema.anyOf ?? schema.oneOf
    if (members === undefined || (schema.anyOf && schema.oneOf)) return undefined
    const others = members.filter((member) => !isNull(member))
    const nullable = others.length < members.length
    if (others.length > 0 && others.every(isLiteral)) {
      return compileLiteral(
        others.map((member) => member.const),
        nullable
      )
    }
    if (!nullable || others.length !== 1) return undefined
    const check = compileNode(others[0]!)
    return (value, found) => (value === null ? null : check(value, found))
  }

  function compileRest(schema: PlainSchema, hasUnion: boolean): Check[] {
    const keywords = AJV_KEYWORDS.filter((keyword) => schema[keyword] !== undefined)
    const rest = hasUnion ? keywords.filter((keyword) => !/^(any|one)Of$/.test(keyword)) : keywords
    if (rest.length === 0) return []
    // unevaluated* look at what their neighbours have seen.
    const whole = rest.some((keyword) => keyword.startsWith('unevaluated'))
    const part = Object.fromEntries(rest.map((keyword) => [keyword, schema[keyword]]))
    const path = [...places.schemas].find(([, place]) => place === schema)?.[0] ?? ''
    return [compileAjv(whole ? schema : part, path)]
  }

  function compileReference(pointer: string): Check {
    const known = targets.get(pointer)
    if (known !== undefined) return known
    let target = checkAny
    const reference: Check = (value, found) => {
      if (found.depth >= MAX_DEPTH) {
        found.add('value is nested too deeply', 'value_error.recursion')
        return
      }
      found.depth++
      const result = target(value, found)
      found.depth--
      return result
    }
    // Known before its target is compiled, which may refer to itself.
    targets.set(pointer, reference)
    target = compileNode(places.schemas.get(pointer)!)
    return reference
  }

  return compileNode
}

function inSequence(checks: Check[]): Check {
  const needed = checks.filter((check) => check !== checkAny)
  if (needed.length === 0) return checkAny
  if (needed.length === 1) return needed[0]!
  return (value, found) => {
    const before = found.issues.length
    let result = value
    for (const check of needed) {
      result = check(result, found)
      if (found.issues.length !== before || found.full) return
    }
    return result
  }
}

function isNull(schema: PlainSchema | boolean): boolean {
  return typeof schema === 'object' && (schema.type === 'null' || schema.const === null)
}

function isLiteral(schema: PlainSchema | boolean): schema is PlainSchema {
  return typeof schema === 'object' && schema.const !== undefined && schema.const !== null
}
