/** What an HTTP caller, a job record or a log line is told when the host itself says no. */
interface ErrorRow {
  /** HTTP status. */
  status: number
  /** Who can mend it: the caller (`user`), or whoever runs the host or wrote the expert (`system`). */
  kind: 'user' | 'system'
  text: (...args: never[]) => string
}

/**
 * Every error code of the host. A code never changes its meaning; `docs/errors.md` explains each.
 */
export const hostErrors = {
  HOST_NOT_FOUND: { status: 404, kind: 'user', text: () => 'Not Found' },
  HOST_METHOD_NOT_ALLOWED: { status: 405, kind: 'user', text: () => 'Method Not Allowed' },
  HOST_BAD_REQUEST: { status: 400, kind: 'user', text: (what: string) => what },
  HOST_BODY_UNDECODABLE: {
    status: 400,
    kind: 'user',
    text: () => 'There was an error parsing the body'
  },
  HOST_INVALID: { status: 422, kind: 'user', text: () => 'The request does not fit its schema' },
  HOST_BODY_TOO_LARGE: {
    status: 413,
    kind: 'user',
    text: (limit: number) => `The body is over the limit of ${limit} bytes`
  },
  HOST_FORBIDDEN: {
    status: 403,
    kind: 'user',
    text: (how: string) => how
  },
  HOST_EXPERT_UNKNOWN: {
    status: 404,
    kind: 'user',
    text: (name: string) => `There is no expert named '${name}'`
  },
  HOST_EXPERT_ABSENT: {
    status: 404,
    kind: 'user',
    text: (name: string, reason: string) => `Expert '${name}' is not served: ${reason}`
  },
  HOST_EXPERT_NOT_READY: {
    status: 503,
    kind: 'system',
    text: (name: string, reason: string) => `Expert '${name}' is not ready: ${reason}`
  },
  HOST_NO_DEFAULT_EXPERT: {
    status: 404,
    kind: 'user',
    text: (bases: string) =>
      `This path needs the base of an expert in front (${bases}), or EXPERT_DEFAULT to name one`
  },
  HOST_QUEUE_FULL: {
    status: 503,
    kind: 'user',
    text: (name: string, size: number) =>
      `Expert '${name}' has ${size} calls waiting and takes no more`
  },
  HOST_BACKLOG_FULL: {
    status: 503,
    kind: 'user',
    text: (size: number) => `${size} jobs are waiting and no more are taken`
  },
  HOST_HELD_BYTES: {
    status: 503,
    kind: 'user',
    text: (limit: number) => `Unfinished calls hold ${limit} bytes of parameters; no more is taken`
  },
  HOST_DOCUMENT_EXISTS: {
    status: 409,
    kind: 'user',
    text: (id: string) => `There is a document '${id}' already`
  },
  HOST_DOCUMENT_INVALID: { status: 422, kind: 'user', text: (what: string) => what },
  HOST_DOCUMENT_UNKNOWN: {
    status: 404,
    kind: 'user',
    text: (id: string) => `There is no document '${id}'`
  },
  HOST_DOCUMENTS_FAILED: {
    status: 503,
    kind: 'system',
    text: (why: string) => `The document store does not work: ${why}`
  },
  HOST_PIPELINE_STATE: {
    status: 409,
    kind: 'user',
    text: (why: string) => `That cannot be done with the pipeline: ${why}`
  },
  HOST_STORE_FULL: {
    status: 503,
    kind: 'system',
    text: () => 'The store of the host is full: nothing more can be accepted until there is room'
  },
  HOST_STORE_FAILED: {
    status: 503,
    kind: 'system',
    text: (why: string) => `The store of the host does not work: ${why}`
  },
  HOST_STOPPING: { status: 503, kind: 'system', text: () => 'The host is stopping' },
  HOST_EXPERT_FAILED: { status: 500, kind: 'system', text: () => 'Internal Server Error' },
  HOST_INTERNAL: { status: 500, kind: 'system', text: () => 'Internal Server Error' },
  HOST_EXPERT_EXITED: {
    status: 502,
    kind: 'system',
    text: (name: string, how: string) => `The process of expert '${name}' ${how} before it answered`
  },
  HOST_EXPERT_DRAINED: {
    status: 503,
    kind: 'system',
    text: (name: string) => `Expert '${name}' was taken out of service before it answered`
  },
  HOST_EXPERT_CHANGED: {
    status: 409,
    kind: 'user',
    text: (name: string, version: string, why: string) =>
      `Expert '${name}' of version ${version} does not take the call, which another version accepted: ${why}`
  },
  HOST_QUESTION_UNKNOWN: {
    status: 400,
    kind: 'user',
    text: (what: string) => `An expert cannot ask its host for '${what}'`
  },
  HOST_RELOAD_FAILED: {
    status: 409,
    kind: 'system',
    text: (name: string, why: string) => `Expert '${name}' was not changed: ${why}`
  },
  HOST_RUN_TIMEOUT: {
    status: 504,
    kind: 'user',
    text: (ms: number) => `The run took longer than its timeout_ms of ${ms} and was stopped`
  },
  HOST_WAIT_TIMEOUT: {
    status: 504,
    kind: 'user',
    text: (seconds: number) =>
      `No answer within MAX_WAIT_PREDICT_TIME (${seconds} s); the work goes on under this jobId`
  },
  HOST_JOB_UNKNOWN: { status: 404, kind: 'user', text: (id: string) => `There is no job '${id}'` },
  HOST_JOB_UNFINISHED: {
    status: 409,
    kind: 'user',
    text: (status: string) => `The job has no result yet: it is ${status}`
  },
  HOST_JOB_FAILED: {
    status: 409,
    kind: 'user',
    text: (why: string) => `The job has no result: ${why}`
  },
  HOST_JOB_ENDED: {
    status: 409,
    kind: 'user',
    text: (status: string) => `The job has ended and cannot be canceled: it is ${status}`
  },
  HOST_JOB_NOT_RETRIABLE: {
    status: 409,
    kind: 'user',
    text: (why: string) => `The job cannot be run again: ${why}`
  },
  HOST_JOB_LOST: {
    status: 502,
    kind: 'system',
    text: (attempts: number, how: string) =>
      `The job was begun ${attempts} times and lost each time, the last: ${how}`
  },
  HOST_JOB_ABANDONED: {
    status: 503,
    kind: 'system',
    text: (seconds: number, why: string) =>
      `The job waited ${seconds} s for an expert that does not serve: ${why}`
  },
  HOST_RESULT_LOST: {
    status: 500,
    kind: 'system',
    text: (why: string) => `The run ended, but the file that it answered could not be kept: ${why}`
  },
  HOST_RESULT_ELSEWHERE: {
    status: 409,
    kind: 'user',
    text: () => 'The job answered a file, which is at another host: the one that ran it'
  },
  HOST_KEY_REUSED: {
    status: 422,
    kind: 'user',
    text: (id: string) => `The Idempotency-Key was used for another request: job ${id} has it`
  },
  HOST_WEBHOOK_UNKNOWN: {
    status: 404,
    kind: 'user',
    text: (id: string) => `There is no webhook '${id}' that waits or was given up`
  },
  HOST_WEBHOOKS_FULL: {
    status: 503,
    kind: 'system',
    text: (size: number) =>
      `${size} webhooks or more wait for their receivers: no job is taken that names one`
  },
  HOST_CANCELED: { status: 499, kind: 'user', text: () => 'The run was canceled' }
} as const satisfies Record<string, ErrorRow>

export type HostErrorCode = keyof typeof hostErrors
type Args<C extends HostErrorCode> = Parameters<(typeof hostErrors)[C]['text']>

/** An error of the table above. */
export class HostError extends Error {
  override readonly name = 'HostError'
  readonly code: HostErrorCode
  readonly statusCode: number
  /** Fields beside `detail` in the answer, such as `jobId`. */
  readonly extra: Record<string, unknown>

  constructor(
    code: HostErrorCode,
    message: string,
    options: { cause?: unknown; extra?: Record<string, unknown> } = {}
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.statusCode = hostErrors[code].status
    this.extra = options.extra ?? {}
  }
}

/** Makes an error of the table; a wrong code or argument does not compile. */
export function hostError<C extends HostErrorCode>(
  code: C,
  args: Args<C>,
  options?: { cause?: unknown; extra?: Record<string, unknown> }
): HostError {
  const text = hostErrors[code].text as (...args: unknown[]) => string
  return new HostError(code, text(...args), options)
}
