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

/** The schemas that documents name, as `components/schemas/{name}`. */
export const sharedSchemas = [
  named('ImageParam', ImageParam),
  named('PredictParam', PredictParam),
  named('PredictImageParam', PredictImageParam),
  named('PredictImagesParam', { ...PredictImagesParam }),
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

/** Points at one of them. */
export const ref = (name: string) => ({ $ref: `${name}#` })

/** The answers that every operation documents. */
export function answers(success: object, description = 'Successful Response') {
  return {
    200: { description, ...success },
    422: { description: 'Validation Error', ...ref('HTTPValidationError') }
  }
}

function named(name: string, schema: object) {
  return { ...schema, $id: name }
}
