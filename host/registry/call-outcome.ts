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

/** Has an observer told how a call ends that its expert has taken. */
export function followCall(expert: string, run: Run, observer: CallObserver): void {
  const askedAt = performance.now()
  const { done } = run
  run.done = (outcome) => {
    const { begunAt } = run
    if (begunAt === undefined) observer.callEnded(expert, outcomeOf(outcome), null, null)
    else {
      const ranMs = performance.now() - begunAt
      observer.callEnded(expert, outcomeOf(outcome), begunAt - askedAt, ranMs)
    }
    done(outcome)
  }
}

function outcomeOf(outcome: RunOutcome): CallOutcome {
  return outcome.ok ? 'succeeded' : (OUTCOMES.get(outcome.error.code) ?? 'failed')
}
