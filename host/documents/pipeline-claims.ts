import type { PipelineChange, PipelineCondition, PipelineStore } from './pipeline-store.ts'
import { type DocumentFields, isObject, type StoredDocument } from './stored-document.ts'

/** Who has a task of a pipeline, as `claims.<task>` of the document keeps it. */
interface TaskClaim {
  owner: string
  /** Epoch milliseconds; from then on the task may be claimed by another. */
  until: number
  /** How often it was claimed since it ended well. */
  attempts: number
}

/** How long a claim of a whole task holds without being renewed, milliseconds. */
export const TASK_LEASE_MS = 10 * 60_000
/** How often a task that failed is given again. */
const MOST_ATTEMPTS = 3
const PAGE = 100

/** Claims of tasks by the experts of this host; changes of them are made one after the other. */
export class PipelineClaims {
  readonly #pipelines: PipelineStore
  readonly #now: () => number
  #turn: Promise<unknown> = Promise.resolve()

  constructor(pipelines: PipelineStore, now: () => number) {
    this.#pipelines = pipelines
    this.#now = now
  }

  /** Claims the first pipeline, by key, that is for the task and has nobody; undefined when there is none. */
  async claimFirst(owner: string, task: string): Promise<StoredDocument | undefined> {
    const unclaimed = { task, now: this.#now() }
    let cursor: string | undefined
    do {
      const page = await this.#pipelines.list({ limit: PAGE, unclaimed, cursor })
      for (const document of page.documents.filter((candidate) => isFor(candidate, task))) {
        const claimed = await this.begin(owner, document._id, task, { unclaimed })
        // Null when another was faster.
        if (claimed) return this.#pipelines.get(document._id)
      }
      cursor = page.next
    } while (cursor !== undefined)
    return undefined
  }

  /** Claims a task, or renews the claim; undefined when there is no such pipeline, null when the condition does not hold. */
  begin(
    owner: string,
    id: string,
    task: string,
    condition?: PipelineCondition
  ): Promise<StoredDocument | undefined | null> {
    return this.#write(id, condition, (claims) => {
      const before = claimOf(claims, task)
      const isRenewed =
        condition === undefined && before?.owner === owner && before.until > this.#now()
      const attempts = (before?.attempts ?? 0) + (isRenewed ? 0 : 1)
      const claim: TaskClaim = { owner, until: this.#now() + TASK_LEASE_MS, attempts }
      return { tasks: { [task]: 'active' }, claims: { [task]: claim } }
    })
  }

  /** Ends a task. One that failed stays claimed for a while: then it is given again, a few times. */
  end(id: string, task: string, status: string): Promise<StoredDocument | undefined | null> {
    return this.#write(id, undefined, (claims) => {
      const before = claimOf(claims, task)
      const mayAgain = status === 'fail' && before !== undefined && before.attempts < MOST_ATTEMPTS
      const claim = mayAgain ? { ...before, until: this.#now() + TASK_LEASE_MS } : null
      return { tasks: { [task]: status }, claims: { [task]: claim } }
    })
  }

  /** Gives a task back that has not ended: it may be claimed at once, and was no attempt. */
  release(id: string, task: string): Promise<StoredDocument | undefined | null> {
    return this.#write(id, undefined, (claims) => {
      const before = claimOf(claims, task)
      if (before === undefined) return {}
      const claim = { ...before, until: this.#now(), attempts: Math.max(0, before.attempts - 1) }
      return { claims: { [task]: claim } }
    })
  }

  #write(
    id: string,
    condition: PipelineCondition | undefined,
    changeOf: (claims: DocumentFields) => PipelineChange
  ): Promise<StoredDocument | undefined | null> {
    const write = this.#turn.then(async () => {
      const document = await this.#pipelines.get(id, { movies: false })
      if (document === undefined) return undefined
      const claims = isObject(document['claims']) ? document['claims'] : {}
      return this.#pipelines.update(id, changeOf(claims), condition)
    })
    this.#turn = write.catch(() => {})
    return write
  }
}

/** Whether a pipeline names the task in its `inputs` or `plan`; one that has neither is for every task. */
function isFor({ inputs, plan }: StoredDocument, task: string): boolean {
  const named = isObject(inputs) ? Object.keys(inputs) : []
  const planned = (Array.isArray(plan) ? plan : []).map((entry) => entry?.task ?? entry?.expert)
  const all = [...named, ...planned]
  return all.length === 0 || all.includes(task)
}

function claimOf(claims: DocumentFields, task: string): TaskClaim | undefined {
  const claim = Object.hasOwn(claims, task) ? claims[task] : undefined
  if (!isObject(claim)) return undefined
  const { owner, until, attempts } = claim
  return {
    owner: String(owner),
    until: typeof until === 'number' ? until : 0,
    attempts: typeof attempts === 'number' ? attempts : 0
  }
}
