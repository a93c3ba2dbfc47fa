import { baseExpertMark } from './base-expert-mark.ts'
import type { StoredDocument } from './documents.ts'
import { ExpertError } from './errors.ts'
import type { PipelineTask } from './pipeline-task.ts'

/**
 * The parameters of a task: what the pipeline's `plan` has for it, checked as those of a request are, when an
 * expert declares them.
 *
 * @throws ExpertError EXP_BAD_INPUT
 */
export async function taskParams(
  task: PipelineTask,
  document: StoredDocument
): Promise<Record<string, unknown> | null> {
  const plan = Array.isArray(document['plan']) ? (document['plan'] as unknown[]) : []
  const planned = plan.find((entry) => nameOf(entry) === task.getName())
  const { extra_params: given = null } = (planned ?? {}) as { extra_params?: unknown }
  const Expert = task.constructor as { params?: object; [baseExpertMark]?: unknown }
  const schema = Expert[baseExpertMark] === true ? Expert.params : undefined
  if (schema === undefined) return given as Record<string, unknown> | null
  // Loaded here alone: an expert that handles no tasks needs no schemas of its own.
  const { compileSchema } = await import('./validation/index.ts')
  const checked = compileSchema<Record<string, unknown>>(schema, { unknownKeys: 'keep' })(
    given ?? {},
    ['extra_params']
  )
  if (checked.issues === undefined) return checked.value
  const issues = checked.issues.map(({ loc, msg }) => `${loc.join('.')}: ${msg}`)
  throw new ExpertError('EXP_BAD_INPUT', issues.join('; '))
}

/** The name of a step's task: its own, or the expert's. */
function nameOf(entry: unknown): unknown {
  const { task, expert } = (entry ?? {}) as { task?: unknown; expert?: unknown }
  return task ?? expert
}
