/** How a call of an expert ended. */
export const callOutcomes = [
  'succeeded',
  'failed',
  'rejected',
  'canceled',
  'timed_out',
  'lost',
  'drained'
] as const
export type CallOutcome = (typeof callOutcomes)[number]

/** Hears what becomes of the calls of experts. */
export interface CallObserver {
  /** It was not taken: its expert does not serve, or its queue is full. */
  callRejected(expert: string): void
  /**
   * @param waitedMs - until the run that answered began; null when none had begun
   * @param ranMs - from there to its end; null likewise
   */
  callEnded(
    expert: string,
    outcome: CallOutcome,
    waitedMs: number | null,
    ranMs: number | null
  ): void
}

/** Hears what becomes of the processes of experts. */
export interface ProcessObserver {
  /** One is started again after it, or its start, failed. */
  processRestarted(expert: string): void
}

/** Hears what becomes of accepted jobs. */
export interface JobObserver {
  jobAccepted(expert: string): void
  /** A run was lost with its process, whether or not the job is run again. */
  jobRunLost(expert: string): void
  /** Its end is written. @param tookMs - since it was accepted */
  jobEnded(expert: string, status: 'succeeded' | 'failed' | 'canceled', tookMs: number): void
}

/** Hears what becomes of the items of pipelines. */
export interface ItemObserver {
  /** Its end is written. */
  itemEnded(expert: string, state: 'success' | 'fail'): void
}

/** Hears what becomes of webhooks. */
export interface WebhookObserver {
  webhookTried(outcome: 'delivered' | 'failed'): void
  /** The last try failed. */
  webhookGivenUp(): void
}
