import type { CallKind } from '../runtime/messages.ts'

/**
 * ```
 * queued → running → succeeded
 *    │        ├────→ failed
 *    └────────┴────→ canceled
 * ```
 * The three on the right are final.
 */
export type JobStatus = 'queued' | 'running' | 'succeeded' | 'failed' | 'canceled'

export function isFinal(status: JobStatus): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'canceled'
}

/** How a job ended. */
export type JobEnd =
  /** `text` is the answer as JSON; of a list, the array of its answers. */
  { ok: true; text: string } | { ok: false; code: string; message: string }

/** One piece of work for an expert. Times are epoch milliseconds. */
export interface Job {
  readonly id: string
  readonly expert: string
  readonly expertVersion: string | null
  /** What the expert is asked for; `images` with `bodies` of one each is run item by item. */
  readonly kind: CallKind
  /** Parameters as JSON: one text, or one for each item of a list. */
  readonly bodies: string[]
  readonly isList: boolean
  readonly timeoutMs: number | null
  readonly createdAt: number
  status: JobStatus
  startedAt: number | null
  finishedAt: number | null
  progress: { fraction: number; note: string | null } | null
  attempts: number
  end: JobEnd | null
}

/** What changes of a job while it lives. */
export type JobPatch = Partial<
  Pick<Job, 'status' | 'startedAt' | 'finishedAt' | 'progress' | 'attempts' | 'end'>
>
