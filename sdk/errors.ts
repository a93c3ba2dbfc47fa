/**
 * Every failure that the SDK raises itself, with the HTTP status that a caller of a route gets for it.
 *
 * `EXP_MEDIA_*` mean that a picture, video or sound cannot be had or read. On the seed's predict routes they become
 * `200 {"result":null,"error":"…"}`; on an expert's own routes the status below.
 */
export const expertErrorStatus = {
  EXP_BAD_INPUT: 422,
  EXP_MEDIA_ADDRESS: 400,
  EXP_MEDIA_NO_FFMPEG: 501,
  EXP_MEDIA_NOT_FOUND: 400,
  EXP_MEDIA_TIMEOUT: 400,
  EXP_MEDIA_TOO_LARGE: 413,
  EXP_MEDIA_UNREADABLE: 422,
  EXP_CANCELED: 499,
  EXP_MODEL: 500,
  EXP_NO_BATCH: 501,
  EXP_PIPELINE_ID_MISSING: 400,
  EXP_WEBHOOK_SIGNATURE: 401
} as const

export type ExpertErrorCode = keyof typeof expertErrorStatus

/**
 * An error whose message may be shown to the caller. Anything else that an expert throws is answered
 * as `500 Internal Server Error` with the message kept in the log.
 *
 * Recognise it by `name` and `code`, never by `instanceof`: a plugin may carry its own copy of the SDK.
 */
export class ExpertError extends Error {
  override readonly name = 'ExpertError'
  readonly code: string
  /** HTTP status, 400 to 599. */
  readonly statusCode: number

  constructor(
    code: ExpertErrorCode | (string & {}),
    message: string,
    options: { statusCode?: number; cause?: unknown } = {}
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.statusCode = options.statusCode ?? expertErrorStatus[code as ExpertErrorCode] ?? 500
  }
}

/** True for an `ExpertError` of any copy of the SDK. */
export function isExpertError(error: unknown): error is ExpertError {
  return (
    error instanceof Error &&
    error.name === 'ExpertError' &&
    typeof (error as ExpertError).code === 'string' &&
    typeof (error as ExpertError).statusCode === 'number'
  )
}
