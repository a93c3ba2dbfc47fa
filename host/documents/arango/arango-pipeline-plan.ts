import type { ItemState, PlannedTask } from '../pipeline-store.ts'

/** What becomes of a blocked item. */
export interface Verdict {
  task: string
  state: 'ready' | 'skipped'
}

/**
 * Which of one movie's blocked items may go on, each as those before it have become.
 *
 * @param states - of its items by task; what goes on is changed in it
 * @param hasSucceeded - what the document says, of tasks without an item
 */
export function judge(
  tasks: readonly PlannedTask[],
  states: Map<string, ItemState>,
  hasSucceeded: (task: string) => boolean
): Verdict[] {
  const verdicts: Verdict[] = []
  for (const { task, dependsOn } of tasks) {
    if (states.get(task) !== 'blocked') continue
    const before = dependsOn.map(
      (other) => states.get(other) ?? (hasSucceeded(other) ? 'success' : 'blocked')
    )
    const isLost = before.some((state) => state === 'fail' || state === 'skipped')
    if (!isLost && before.some((state) => state !== 'success')) continue
    const state = isLost ? 'skipped' : 'ready'
    states.set(task, state)
    verdicts.push({ task, state })
  }
  return verdicts
}

/** The tasks that wait for one of these, directly or not. */
export function dependents(tasks: readonly PlannedTask[], of: ReadonlySet<string>): Set<string> {
  const waiting = new Set<string>()
  for (const { task, dependsOn } of tasks) {
    if (dependsOn.some((other) => of.has(other) || waiting.has(other))) waiting.add(task)
  }
  return waiting
}
