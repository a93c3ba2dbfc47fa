import { compileSchema } from '@nebula-experts/sdk/schemas'
import { type Static, type TSchema, Type } from 'typebox'
import { InvalidRequest } from './invalid-request.ts'

/** The parameters of a listing in pages. */
export const paging = {
  limit: Type.Integer({ default: 100, minimum: 1, maximum: 1000, description: 'How many at most' }),
  cursor: Type.Optional(Type.String({ description: '`next` of the page before' }))
}

/** Reads a query against its schema. @throws InvalidRequest naming each parameter that is wrong */
export function queryReader<S extends TSchema>(schema: S) {
  const check = compileSchema<Static<S>>(schema)
  return (query: Record<string, unknown>): Static<S> => {
    const single = Object.entries(query).map(([key, value]) => [
      key,
      Array.isArray(value) ? value.at(-1) : value
    ])
    const checked = check(Object.fromEntries(single), ['query'])
    if (checked.issues !== undefined) throw new InvalidRequest(checked.issues)
    return checked.value as Static<S>
  }
}
