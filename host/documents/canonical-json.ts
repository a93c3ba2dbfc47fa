import { isObject } from './stored-document.ts'

/** The JSON of a value, the same for objects whose fields are in another order: databases change it. */
export function canonicalJson(value: unknown): string {
  // Most are: a replacer costs as much as all the rest of planning ten thousand tokens.
  if (isScalar(value) || (Array.isArray(value) && value.every(isScalar))) {
    return JSON.stringify(value)
  }
  return JSON.stringify(value, (_name, inner) =>
    isObject(inner) ? Object.fromEntries(Object.entries(inner).sort(byName)) : inner
  )
}

function isScalar(value: unknown): boolean {
  return typeof value !== 'object' || value === null
}

function byName([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1
}
