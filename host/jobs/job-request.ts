import type { Expert } from '../registry/expert.ts'
import type { AnswerHead, CallKind, WireError } from '../runtime/messages.ts'
import type { IdempotencyKey, Job, JobEnd, JobOutput, WebhookWish } from './job.ts'
import { stamp } from './job-journal.ts'
import type { WorkOutcome } from './work.ts'

const MAX_ATTEMPTS = 3

/** What a route asks for. */
export interface JobRequest {
  expert: Expert
  kind: CallKind
  /** Parameters as JSON: one text, or one for each item of a list. */
  bodies: string[]
  isList?: boolean
  /** Default 0. */
  priority?: number
  /** How long one run may take; default: as long as the expert's setting allows. */
  timeoutMs?: number | null
  /** Where the answer goes too; default: nowhere. */
  output?: JobOutput | null
  /** Name of the folder of its uploaded files. Of an accepted job it is kept, and is the job's id. */
  upload?: string | null
}

/** A request that somebody waits for. */
export interface WaitedRequest extends JobRequest {
  /** Keep a record from the start; without it, one is made only when the caller's wait ends first. */
  recorded: boolean
  /** Called when the work has truly ended, whoever still waits: frees what was uploaded for it. */
  onEnd?: (() => void) | undefined
  /** Given what to call when the caller hangs up before the answer. */
  onHangUp?: (cancel: () => void) => void
}

/** A request that is accepted now and run when its turn comes. */
export interface DurableRequest extends JobRequest {
  /** Default 3. */
  maxAttempts?: number
  idempotency?: IdempotencyKey | null
  retryOf?: string | null
  /** Checked by `JobService.webhooks` before. */
  webhook?: WebhookWish | null
}

/** What a caller who waited gets. */
export type Answer =
  | { ok: true; jobId: string; text: string; head: AnswerHead | null; fileError?: string }
  | {
      ok: false
      jobId: string
      error: WireError
      /** The wait ended, not the work: it goes on under the id. */
      isLate: boolean
    }

/** The job that a request asks for, before anything has become of it. */
export function newJob(id: string, request: DurableRequest): Job {
  return {
    id,
    expert: request.expert.name,
    expertVersion: request.expert.version,
    kind: request.kind,
    bodies: request.bodies,
    isList: request.isList === true,
    priority: request.priority ?? 0,
    timeoutMs: request.timeoutMs ?? null,
    maxAttempts: request.maxAttempts ?? MAX_ATTEMPTS,
    idempotency: request.idempotency ?? null,
    upload: request.upload ?? null,
    output: request.output ?? null,
    retryOf: request.retryOf ?? null,
    webhook: request.webhook ?? null,
    createdAt: stamp(),
    status: 'queued',
    startedAt: null,
    finishedAt: null,
    progress: null,
    attempts: 0,
    end: null
  }
}

/** What the caller who waited is given of an end. */
export function answerOf(jobId: string, end: JobEnd | WorkOutcome): Answer {
  if (!end.ok) {
    const error = 'error' in end ? end.error : end
    return { ok: false, jobId, error, isLate: false }
  }
  const { text, head, fileError } = end
  return fileError ? { ok: true, jobId, text, head, fileError } : { ok: true, jobId, text, head }
}
