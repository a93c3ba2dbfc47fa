import type { HostError } from '../errors.ts'
import type { AnswerHead, CallKind, WireError } from '../runtime/messages.ts'

/**
 * ```
 * queued ⇄ running → succeeded
 *    │        ├────→ failed
 *    └────────┴────→ canceled
 * ```
 * The three on the right are final. A job goes back to `queued` when what ran it was lost.
 */
export const jobStatuses = ['queued', 'running', 'succeeded', 'failed', 'canceled'] as const
export type JobStatus = (typeof jobStatuses)[number]

/** What a job is that has ended so. */
export function statusOf(end: JobEnd): 'succeeded' | 'failed' | 'canceled' {
  if (end.ok) return 'succeeded'
  return end.code === 'HOST_CANCELED' ? 'canceled' : 'failed'
}

export function isFinal(status: JobStatus): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'canceled'
}

/** How a job ended. */
export type JobEnd =
  /**
   * `text` is the answer as JSON; of a list, the array of its answers. A route's reply may have a `head`
   * with its status and type, or with a file in place of the text. Of a list, `fileError` says why it could
   * not be written to its `output_file`.
   */
  | { ok: true; text: string; head: AnswerHead | null; fileError?: string }
  | ({ ok: false } & Omit<WireError, 'stack'>)

/** What is done with an answer before its caller has it. */
export type JobOutput =
  /** Written to a file under the output root. */
  | { to: 'file'; file: string | null }
  /** Its records are saved; `keepsRecords` leaves them in the answer, else their ids take their place. */
  | { to: 'db'; keepsRecords: boolean }

/** The caller's name for a request, and a hash of what it asked for. */
export interface IdempotencyKey {
  key: string
  fingerprint: string
}

/** What a webhook can be told of, in the order in which a job comes to it. */
export const webhookEvents = ['start', 'progress', 'completed'] as const
export type WebhookEvent = (typeof webhookEvents)[number]

/** Who wants to be told what becomes of a job. */
export interface WebhookWish {
  url: string
  /** Host and port of the URL: what is bounded together. */
  origin: string
  events: readonly WebhookEvent[]
}

/** One piece of work for an expert. Times are epoch milliseconds; fractions keep the order of one millisecond. */
export interface Job {
  readonly id: string
  readonly expert: string
  readonly expertVersion: string | null
  /** What the expert is asked for; `image` with `isList` is run item by item. */
  readonly kind: CallKind
  /** Parameters as JSON: one text, or one for each item of a list. */
  readonly bodies: string[]
  readonly isList: boolean
  /** Higher first; first come, first served within one. */
  readonly priority: number
  /** How long one run may take; null for as long as the expert's own setting allows. */
  readonly timeoutMs: number | null
  /** Runs that may be lost before the job fails. */
  readonly maxAttempts: number
  readonly idempotency: IdempotencyKey | null
  /** The folder of its uploaded files, by name. */
  readonly upload: string | null
  /** Where its answer goes beside to its caller; null for nowhere. */
  readonly output: JobOutput | null
  /** The job that this one does again. */
  readonly retryOf: string | null
  readonly webhook: WebhookWish | null
  readonly createdAt: number
  status: JobStatus
  startedAt: number | null
  finishedAt: number | null
  progress: JobProgress | null
  /** Runs that have begun, without those that the host itself took back. */
  attempts: number
  end: JobEnd | null
}

export interface JobProgress {
  /** 0 to 1. */
  fraction: number
  note: string | null
}

/** What changes of a job while it lives. */
export type JobPatch = Partial<
  Pick<Job, 'status' | 'startedAt' | 'finishedAt' | 'progress' | 'attempts' | 'end'>
>

/** When it was made, or has ended: what listings are ordered by. */
export function lastChange(job: Job): number {
  return job.finishedAt ?? job.createdAt
}

/** What a job counts for among those that are kept, and in a listing. */
export function keptBytes(job: Job): number {
  let bytes = 500
  for (const body of job.bodies) bytes += body.length
  if (job.end?.ok === true) bytes += job.end.text.length
  return bytes
}

/** The end of a job that the host itself gave up. */
export function failure(error: HostError): JobEnd {
  const { code, message, statusCode } = error
  return { ok: false, code, message, statusCode, exposed: true }
}

/** What of a job never changes and is never asked for: drivers keep it as JSON, which holds any string. */
export type FixedFields = Pick<
  Job,
  | 'expertVersion'
  | 'kind'
  | 'isList'
  | 'timeoutMs'
  | 'maxAttempts'
  | 'upload'
  | 'output'
  | 'retryOf'
> & { fingerprint: string | null }
