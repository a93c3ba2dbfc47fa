import type { PlainSchema } from './plain-schema.ts'
import { SchemaError } from './schema-error.ts'

/** Every schema of a document by its JSON pointer, and the names that lead to one. */
export interface Places {
  schemas: Map<string, PlainSchema | boolean>
  /** `$id`s, and `$anchor`s with `#` in front, to JSON pointers. */
  names: Map<string, string>
}

/** What every resolved `$ref` starts with; Ajv knows the document by this name. */
export const DOCUMENT = 'schema:document'

/** A keyword of our own beside each `$ref`, by which Ajv counts how many it follows. */
export const COUNT_STEP = 'countStep'

/**
 * Rewrites every `$ref` to `schema:document#<pointer>` and takes away the names that could change
 * what a reference means.
 *
 * @throws SchemaError for a `$ref` that leads out of the document, or nowhere in it
 */
export function addReferences(places: Places): void {
  for (const [path, schema] of places.schemas) {
    if (typeof schema === 'boolean') continue
    if (schema.$ref !== undefined) {
      const pointer = resolve(schema.$ref, places, `${path}/$ref`)
      schema.$ref = `${DOCUMENT}#${encodePointer(pointer)}`
      schema[COUNT_STEP] = true
    }
    for (const name of ['$id', '$anchor', '$schema', '$dynamicAnchor', '$vocabulary']) {
      delete schema[name]
    }
  }
}

/** The JSON pointer of a `$ref` that `addReferences` wrote. */
export function pointerOf(ref: string): string {
  return decodeURIComponent(ref.slice(DOCUMENT.length + 1))
}

function resolve(ref: string, places: Places, path: string): string {
  const [base = '', fragment = ''] = ref.split('#', 2)
  const start = base === '' ? '' : places.names.get(base)
  if (start === undefined) {
    throw new SchemaError(path, `'${ref}' leads out of this schema, wanted one like '#/$defs/Name'`)
  }
  const named = places.names.get(`#${fragment}`)
  const pointer = fragment !== '' && named !== undefined ? named : start + decoded(fragment)
  const modern = pointer.replace(/\/items\/(?=\d+(\/|$))/g, '/prefixItems/')
  const found = [pointer, modern].find((candidate) => places.schemas.has(candidate))
  if (found === undefined) {
    const known = [...places.schemas.keys()].filter((place) =>
      /^\/(\$defs|definitions)\//.test(place)
    )
    const wanted = known.length > 0 ? known.slice(0, 10).map((place) => `#${place}`) : ['#']
    throw new SchemaError(path, `'${ref}' leads nowhere, wanted one of ${wanted.join(', ')}`)
  }
  return found
}

function decoded(fragment: string): string {
  try {
    return decodeURIComponent(fragment)
  } catch {
    return fragment
  }
}

function encodePointer(pointer: string): string {
  return pointer.split('/').map(encodeURIComponent).join('/')
}
