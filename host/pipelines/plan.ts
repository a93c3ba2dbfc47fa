import type { PlannedTask } from '../documents/pipeline-store.ts'
import { type DocumentFields, isObject } from '../documents/stored-document.ts'

/** A task of a pipeline with what it takes to run its items. */
export interface RunnableTask extends PlannedTask {
  expert: string
  extraParams: DocumentFields | null
  /** How often an item is begun whose process is lost under it. */
  attempts: number
  /** How long one item may take, milliseconds; null for the expert's own setting alone. */
  timeoutMs: number | null
}

/** One thing that is wrong with a plan; `loc` is where, from the document on. */
export interface PlanProblem {
  loc: (string | number)[]
  why: string
}

/** What a plan is read against: the experts of this host. */
export interface PlanExperts {
  /** The name under which an expert is served, without regard to case; undefined when there is none. */
  nameOf(name: string): string | undefined
  /** The expert whose results it says that it needs; undefined while it starts and has not said. */
  dependencyOf(name: string): string | null | undefined
  /** What is wrong with parameters for it, as far as it is known. */
  problemsWith(name: string, extraParams: DocumentFields): PlanProblem[]
}

const ATTEMPTS = 3

/** Fields of `inputs.<expert>` that are no parameters of an item: what the seed's requests have around them. */
const REQUEST_FIELDS = new Set(['movies', 'is_async', 'output', 'output_file'])

/**
 * The tasks of a pipeline's document, each behind those that it depends on: of its `plan`, or, where other
 * tools made it and it has none, those experts of this host that its `inputs` name, once they have started.
 */
export function readPlan(
  document: DocumentFields,
  experts: PlanExperts
): { tasks: RunnableTask[]; problems: PlanProblem[] } {
  if (!Array.isArray(document.plan))
    return { tasks: inOrder(fromInputs(document, experts)), problems: [] }
  const tasks: RunnableTask[] = []
  const problems: PlanProblem[] = []
  const names = new Map<string, number>()
  for (const [at, step] of document.plan.entries()) {
    const read = readStep(step)
    if (typeof read === 'string') {
      problems.push({ loc: ['plan', at], why: read })
      continue
    }
    const other = names.get(read.task)
    if (other === undefined) {
      names.set(read.task, at)
      tasks.push(read)
      continue
    }
    const why = `task '${shown(read.task)}' is also that of step ${other}: name one of them otherwise`
    problems.push({ loc: ['plan', at, 'task'], why })
  }
  const circle = problems.length === 0 ? circleIn(tasks) : null
  if (circle !== null) {
    const at = names.get(circle[0] as string) as number
    const way = [...circle, circle[0] as string].map(shown).join(' → ')
    const why = `these tasks wait for each other: ${way}`
    problems.push({ loc: ['plan', at, 'depends_on'], why })
  }
  return { tasks: inOrder(tasks), problems }
}

/** Everything that is wrong with a plan as a whole; its steps fit their schema. */
export function checkPlan(plan: readonly unknown[], experts: PlanExperts): PlanProblem[] {
  const problems: PlanProblem[] = []
  const names = new Set([...tasksInPlace(plan)].map(([, { task }]) => task))
  for (const [at, { task, expert, dependsOn, extraParams }] of tasksInPlace(plan)) {
    if (!isKeepable(task)) {
      const why = 'a name has no NUL and no half of a surrogate pair'
      problems.push({ loc: ['plan', at, 'task'], why })
    }
    if (experts.nameOf(expert) === undefined) {
      const why = `there is no expert named '${shown(expert)}'`
      problems.push({ loc: ['plan', at, 'expert'], why })
    }
    for (const { loc, why } of experts.problemsWith(expert, extraParams ?? {})) {
      problems.push({ loc: ['plan', at, 'extra_params', ...loc], why })
    }
    for (const [index, dependency] of dependsOn.entries()) {
      const loc = ['plan', at, 'depends_on', index]
      if (!names.has(dependency)) {
        problems.push({ loc, why: `there is no task '${shown(dependency)}' in the plan` })
      } else if (dependency === task) {
        problems.push({ loc, why: `task '${shown(task)}' depends on itself` })
      }
    }
  }
  // A task that depends on itself is a circle too, and has been told.
  const whole = readPlan({ plan }, experts).problems
  const isTold = problems.some(({ loc }) => loc.includes('depends_on'))
  const others = whole.filter(({ loc }) => !isTold || loc.at(-1) !== 'depends_on')
  return [...problems, ...others].sort((a, b) => Number(a.loc[1]) - Number(b.loc[1]))
}

/** Whether every store gives a name back as it was. */
function isKeepable(name: string): boolean {
  return !name.includes('\0') && Buffer.from(name).toString() === name
}

function* tasksInPlace(plan: readonly unknown[]): Generator<[number, RunnableTask]> {
  for (const [at, step] of plan.entries()) {
    const read = readStep(step)
    if (typeof read !== 'string') yield [at, read]
  }
}

/** A step as it stands in a document, which other tools may have written. @returns why it is none */
function readStep(step: unknown): RunnableTask | string {
  if (!isObject(step)) return 'it is no object'
  const { expert, task = expert, depends_on: dependsOn = [], extra_params: extra = null } = step
  if (typeof expert !== 'string') return 'its expert is no text'
  if (typeof task !== 'string') return 'its task is no text'
  const isList = Array.isArray(dependsOn) && dependsOn.every((name) => typeof name === 'string')
  if (!isList && dependsOn !== null) return 'its depends_on is no list of tasks'
  const { attempts, timeout_ms: timeoutMs } = step
  return {
    task,
    expert,
    dependsOn: [...new Set((dependsOn ?? []) as string[])],
    extraParams: isObject(extra) ? extra : null,
    attempts: typeof attempts === 'number' ? attempts : ATTEMPTS,
    timeoutMs: typeof timeoutMs === 'number' ? timeoutMs : null
  }
}

function fromInputs(document: DocumentFields, experts: PlanExperts): RunnableTask[] {
  const inputs = isObject(document.inputs) ? document.inputs : {}
  const tasks = isObject(document.tasks) ? document.tasks : {}
  return Object.keys(inputs).flatMap((name) => {
    const expert = experts.nameOf(name)
    if (expert === undefined) return []
    const needs = experts.dependencyOf(expert)
    if (needs === undefined) return []
    const isKnown = needs !== null && (Object.hasOwn(inputs, needs) || Object.hasOwn(tasks, needs))
    const asked = inputs[name]
    const params = isObject(asked)
      ? Object.entries(asked).filter(([field]) => !REQUEST_FIELDS.has(field))
      : []
    return {
      task: name,
      expert,
      dependsOn: isKnown && needs !== name ? [needs] : [],
      extraParams: params.length === 0 ? null : Object.fromEntries(params),
      attempts: ATTEMPTS,
      timeoutMs: null
    }
  })
}

/** Each task behind those of the list that it depends on; those of a circle at the end. */
function inOrder(tasks: RunnableTask[]): RunnableTask[] {
  const ordered: RunnableTask[] = []
  let open = tasks
  while (open.length > 0) {
    const waiting = new Set(open.map(({ task }) => task))
    const free = open.filter(({ dependsOn }) => !dependsOn.some((task) => waiting.has(task)))
    if (free.length === 0) return [...ordered, ...open]
    ordered.push(...free)
    open = open.filter((task) => !free.includes(task))
  }
  return ordered
}

/** Tasks that wait for each other, in order; null when there are none. */
function circleIn(tasks: readonly RunnableTask[]): string[] | null {
  const byName = new Map(tasks.map((task) => [task.task, task]))
  const done = new Set<string>()
  const follow = (name: string, path: string[]): string[] | null => {
    const at = path.indexOf(name)
    if (at !== -1) return path.slice(at)
    if (done.has(name)) return null
    for (const next of byName.get(name)?.dependsOn ?? []) {
      const circle = follow(next, [...path, name])
      if (circle !== null) return circle
    }
    done.add(name)
    return null
  }
  for (const { task } of tasks) {
    const circle = follow(task, [])
    if (circle !== null) return circle
  }
  return null
}

function shown(name: string): string {
  return name.slice(0, 100)
}
