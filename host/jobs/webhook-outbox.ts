import type { Job, WebhookEvent } from './job.ts'

/** Something that a job's webhook is to be told, or was not to be reached for. Times are epoch milliseconds. */
export interface WebhookNotice {
  /** The same for each try. */
  id: string
  jobId: string
  expert: string
  event: WebhookEvent
  url: string
  /** Host and port of the URL. */
  origin: string
  state: WebhookState
  createdAt: number
  /** When it is tried next; null when it was given up, or stands behind another one of its job. */
  nextAt: number | null
  /** Tries that have failed. */
  attempts: number
  /** Why the last one did; null before it. */
  error: string | null
}

/** `failed` is what was given up; what was delivered is forgotten. */
export const webhookStates = ['waiting', 'failed'] as const
export type WebhookState = (typeof webhookStates)[number]

/** What is to be sent: the job as it was when the event happened. */
export interface WebhookDelivery extends WebhookNotice {
  job: Job
  /** What of the job was too large to be kept for it, or null. */
  leftOut: 'params' | 'result' | null
}

/** What jobs with a webhook are accepted by. */
export interface WebhookIntake {
  /**
   * Looks at a URL before a job is accepted with it; gives it as it is kept, and its host and port.
   * @throws ExpertError EXP_MEDIA_ADDRESS, EXP_MEDIA_NOT_FOUND
   */
  check(url: string): Promise<{ url: string; origin: string }>
  /** As much waits as may. */
  readonly isFull: boolean
  /** How many may wait. */
  readonly limit: number
}

/** What is claimed. */
export interface WebhookClaim {
  now: number
  limit: number
  /** Jobs of which one is under way: the next waits for its end. */
  busyJobs: string[]
  /** How many more an origin may have under way; asked at most once for each. */
  roomOf: (origin: string) => number
  /** Origins without room. */
  busyOrigins: string[]
}

/** Parameters that go along with `start` and `progress`, bytes; larger ones are left out. */
export const MOST_PARAMS_BYTES = 64 * 1024
/** A result that goes along with `completed`, bytes; a larger one is left out. */
export const MOST_RESULT_BYTES = 1024 * 1024
/** Given up ones that are kept; the oldest go first. */
export const MOST_FAILED = 10_000

/**
 * What webhooks are still to be told: a driver is one file that passes the suite of
 * `host/test/webhook-outbox-contract.ts`.
 *
 * Nothing is put in by a call: the records of the same store do it, in the very write that changes a job, so that
 * none is lost between the two. Of one job the oldest is due first, and the next when that is delivered or
 * given up; a `progress` that waits gives its place, and its wait, to a newer one, which has an id of its own.
 * Each method may throw HostError HOST_STORE_FULL or HOST_STORE_FAILED.
 */
export interface WebhookOutbox {
  /** Called when there may be something new. */
  onNotice: () => void
  /** The longest due of those that may be sent now, at most one of a job. Claims end with the host. */
  claim(claim: WebhookClaim): Promise<WebhookDelivery[]>
  /** The first time after `now` at which one is due; null when there is none. */
  nextAt(now: number): Promise<number | null>
  delivered(notice: WebhookNotice): Promise<void>
  /** It failed, and is tried again at `at`. */
  tryLater(notice: WebhookNotice, at: number, error: string): Promise<void>
  /** It failed for the last time. */
  giveUp(notice: WebhookNotice, now: number, error: string): Promise<void>
  /** Has one tried now, with all its tries before it; false when there is none of that id. */
  retry(id: string, now: number): Promise<boolean>
  /** The oldest `limit` of a state, those after the one of id `after` if there is one. */
  list(query: { state: WebhookState; after?: string; limit: number }): Promise<WebhookNotice[]>
  get(id: string): Promise<WebhookNotice | undefined>
  /** How many wait, and what is kept for them, bytes. */
  waiting(): Promise<{ count: number; bytes: number }>
  /** Forgets what was given up before that time, and what is over `MOST_FAILED`. */
  forgetFailed(before: number): Promise<void>
}
