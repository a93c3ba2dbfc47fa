import type { ItemCounts } from '../documents/pipeline-store.ts'
import { isObject, type StoredDocument } from '../documents/stored-document.ts'
import type { RunnableTask } from './plan.ts'

/** How many items of each task are in which state. */
export type TaskCounts = Record<string, ItemCounts>

/** What a document's `tasks` should say of each task, and how the pipeline ended, or null while it has not. */
export interface Conclusion {
  taskStatus: Record<string, unknown>
  end: 'succeeded' | 'failed' | null
}

const ENDED = new Set<unknown>(['success', 'fail'])

/**
 * Says how far a pipeline is.
 *
 * A task has ended when all its items have and those that it depends on have; a task of which an item
 * failed or was skipped has failed. The pipeline has ended when every expected task has, or when it stops
 * because of a failure and nothing of it runs any more.
 */
export function conclude(situation: {
  document: StoredDocument
  tasks: readonly RunnableTask[]
  expected: readonly string[]
  counts: TaskCounts
  isStopping: boolean
}): Conclusion {
  const { document, tasks, expected, counts, isStopping } = situation
  // A Map, because a task may be called like what every object has.
  const statuses = new Map(isObject(document.tasks) ? Object.entries(document.tasks) : [])
  const runs = Object.values(counts).reduce((sum, { running }) => sum + running, 0)
  for (const { task, dependsOn } of tasks) {
    const states = counts[task] as ItemCounts
    const hasBegun = states.running + states.success + states.fail > 0
    const isFree = dependsOn.every((other) => ENDED.has(statuses.get(other)))
    const open = states.ready + states.running
    // What still waits for a task that has ended waits for other tools, which have given those movies up.
    const hasEnded = isFree && open === 0 && !(isStopping && states.blocked > 0)
    if (hasEnded) {
      const isGood = states.fail + states.skipped + states.blocked === 0
      statuses.set(task, isGood ? 'success' : 'fail')
    } else if (isStopping && runs === 0 && hasBegun) statuses.set(task, 'fail')
    // What an earlier run of it said does not count any more.
    else if (hasBegun || ENDED.has(statuses.get(task))) statuses.set(task, 'active')
  }
  const taskStatus = Object.fromEntries(statuses)
  const hasStopped = isStopping && runs === 0
  const hasEnded = expected.every((task) => ENDED.has(statuses.get(task)))
  if (!hasStopped && !hasEnded) return { taskStatus, end: null }
  const isGood = expected.every((task) => statuses.get(task) === 'success')
  return { taskStatus, end: isGood ? 'succeeded' : 'failed' }
}
