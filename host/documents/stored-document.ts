import { hostError } from '../errors.ts'

/** A JSON object as it is kept: `_id` is `<collection>/<_key>`, and `_rev` is another after each write. */
export interface StoredDocument {
  _id: string
  _key: string
  _rev: string
  [field: string]: unknown
}

/** The fields of a document without those that the store gives it. */
export type DocumentFields = Record<string, unknown>

/** Where a page of a listing begins. */
export interface PageQuery {
  /** How many at most; 1 or more. */
  limit: number
  /** `next` of the page before; absent for the first page. */
  cursor?: string | undefined
}

/** What every store keeps its documents in: the names that the system's other tools know. */
export const collectionNames = {
  movies: 'Movies',
  tokens: 'Tokens',
  imageTokens: 'ImageTokens',
  pipelines: 'pipelines',
  pipelineItems: 'pipeline_items',
  changes: 'changes'
} as const

/** What JSON writes of half a surrogate pair; of the other matches there are few. */
const LONE_SURROGATE = /\\ud[89a-f]/i

/**
 * The fields as JSON keeps them, as a copy: NaN is null, what is undefined is absent, half a surrogate pair
 * is U+FFFD, since databases keep text as UTF-8.
 *
 * @throws HostError HOST_DOCUMENT_INVALID when it is no JSON object
 */
export function fieldsOf(document: object, what: string): DocumentFields {
  let copy: unknown
  try {
    const text = JSON.stringify(document)
    copy = JSON.parse(text, LONE_SURROGATE.test(text) ? wellFormed : undefined)
  } catch (error) {
    const why = `${what} cannot be written as JSON: ${(error as Error).message}`
    throw hostError('HOST_DOCUMENT_INVALID', [why], { cause: error })
  }
  if (!isObject(copy)) throw hostError('HOST_DOCUMENT_INVALID', [`${what} is no JSON object`])
  const { _id, _key, _rev, ...fields } = copy
  return fields
}

/** Whether it is an object of JSON, not an array and not null. */
export function isObject(value: unknown): value is DocumentFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function wellFormed(_name: string, value: unknown): unknown {
  if (typeof value === 'string') return Buffer.from(value).toString()
  if (!isObject(value)) return value
  const fields = Object.entries(value).map(([name, inner]) => [Buffer.from(name).toString(), inner])
  return Object.fromEntries(fields)
}
