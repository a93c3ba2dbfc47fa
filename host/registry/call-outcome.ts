import type { CallObserver, CallOutcome } from '../observe/observers.ts'
import type { Run, RunOutcome } from '../runtime/expert-instance.ts'

/** Errors of the host that say how a call ended; with any other it failed. */
const OUTCOMES = new Map<string, CallOutcome>([
  ['HOST_CANCELED', 'canceled'],
  ['HOST_RUN_TIMEOUT', 'timed_out'],
  ['HOST_EXPERT_EXITED', 'lost'],
  ['HOST_EXPERT_DRAINED', 'drained'],
  ['HOST_EXPERT_CHANGED', 'rejected']
])

/** Tells an observer how a call has ended. */
export function tellEnd(
  observer: CallObserver,
  expert: string,
  run: Run,
  outcome: RunOutcome
): void {
  const { askedAt, begunAt, endedAt } = run
  const waitedMs = begunAt === undefined ? null : begunAt - (askedAt ?? begunAt)
  const ranMs = begunAt === undefined ? null : (endedAt ?? performance.now()) - begunAt
  observer.callEnded(expert, outcomeOf(outcome), waitedMs, ranMs)
}

function outcomeOf(outcome: RunOutcome): CallOutcome {
  return outcome.ok ? 'succeeded' : (OUTCOMES.get(outcome.error.code) ?? 'failed')
}
