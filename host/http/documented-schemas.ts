import {
  ImageParam,
  PredictImageParam,
  PredictImagesParam,
  PredictParam
} from '@nebula-experts/sdk/schemas'
import { Type } from 'typebox'

const ValidationError = Type.Object({
  loc: Type.Array(Type.Union([Type.String(), Type.Integer()])),
  msg: Type.String(),
  type: Type.String()
})
const error = {
  code: Type.String({ description: 'Stays the same from version to version' }),
  request_id: Type.String({ description: 'Stands in the log beside what went wrong' })
}

/** Keywords whose value is data. */
const DATA = new Set(['default', 'const', 'enum', 'examples'])

/**
 * The schemas that documents name, as `components/schemas/{name}`.
 * @param extraParams - the expert's own schema of `extra_params`, or null
 */
export function sharedSchemas(extraParams: object | null): Array<{ $id: string }> {
  const predict = (name: string, schema: object) =>
    named(name, withExtraParams(asInput(schema), extraParams))
  return [
    named('ImageParam', asInput(ImageParam)),
    predict('PredictParam', PredictParam),
    predict('PredictImageParam', PredictImageParam),
    predict('PredictImagesParam', PredictImagesParam),
    named('ValidationError', ValidationError),
    named(
      'HTTPValidationError',
      Type.Object({
        detail: Type.Array(Type.Unsafe<unknown>({ $ref: 'ValidationError#' })),
        ...error
      })
    ),
    named('HTTPError', Type.Object({ detail: Type.String(), ...error })),
    named('AcceptedJob', Type.Object({ jobId: Type.String({ format: 'uuid' }) }))
  ]
}

/** Shows what the expert takes as `extra_params` in place of "any object". */
function withExtraParams(schema: object, extraParams: object | null): object {
  // A reference inside would point into the wrong document.
  if (extraParams === null || JSON.stringify(extraParams).includes('"$ref"')) return schema
  const { properties, examples, ...others } = schema as {
    properties: Record<string, object>
    examples: object[]
  }
  const [example = {}] = (extraParams as { examples?: unknown[] }).examples ?? []
  const own = { anyOf: [asInput(extraParams), { type: 'null' }], default: null }
  return {
    ...others,
    properties: { ...properties, extra_params: own },
    examples: examples.map((given) => ({ ...given, extra_params: example }))
  }
}

/** Headers by which a caller says how a job is to be answered. */
export const jobHeaders = Type.Object({
  prefer: Type.Optional(
    Type.String({
      description: '`respond-async`: 202 at once; `wait=N`: the answer, or 202 after N seconds',
      examples: ['respond-async', 'wait=10']
    })
  ),
  'idempotency-key': Type.Optional(
    Type.String({
      maxLength: 255,
      description: 'The same request sent again under the same key finds its first job'
    })
  )
})

/** Points at one of them. */
export const ref = (name: string) => ({ $ref: `${name}#` })

/** The answers that every operation documents. */
export function answers(success: object, description = 'Successful Response') {
  return {
    200: { description, ...success },
    422: { description: 'Validation Error', ...ref('HTTPValidationError') }
  }
}

/**
 * A schema as a client has to fulfil it: what has a default may be left out. TypeBox counts such a
 * field as required, for after the check it is there.
 */
export function asInput<T extends object>(schema: T): T {
  const entries = Object.entries(schema).map(([key, value]) =>
    typeof value !== 'object' || value === null || DATA.has(key)
      ? [key, value]
      : [key, asInput(value)]
  )
  if (Array.isArray(schema)) return entries.map(([, value]) => value) as T
  const { properties = {}, required, ...others } = Object.fromEntries(entries)
  if (!Array.isArray(required)) return Object.fromEntries(entries)
  const left = required.filter((key) => properties[key]?.default === undefined)
  return { ...others, properties, ...(left.length === 0 ? {} : { required: left }) }
}

function named(name: string, schema: object) {
  return { ...schema, $id: name }
}
