import type { DocumentFields, PageQuery, StoredDocument } from './stored-document.ts'

/** One task of a pipeline: an expert that is to see every movie, after others have. */
export interface PlannedTask {
  /** The key under `tasks` of the document and under each movie's `status`. */
  task: string
  /** Names of other tasks of the plan, or of tasks that only the document's movies know. */
  dependsOn: readonly string[]
}

/**
 * Where one movie stands in one task.
 *
 * ```
 * blocked   a task that it depends on has not ended
 * ready     may be claimed
 * running   is claimed; when the lease runs out it may be claimed again
 * success | fail
 * skipped   a task that it depends on failed
 * ```
 */
export type ItemState = 'blocked' | 'ready' | 'running' | ItemEndState | 'skipped'
export type ItemEndState = 'success' | 'fail'

/** One movie in one task of one pipeline. */
export interface ItemPlace {
  /** Key of the pipeline's document. */
  pipeline: string
  task: string
  /** The movie's `_id`, as it is a key of the document's `movies`. */
  movie: string
}

/** An item that its claimer may run now, as long as it renews the lease. */
export interface ItemClaim extends ItemPlace {
  /** No other claim has or had it: what is recorded under another is refused. */
  token: string
  /** How often it was begun, this time included. */
  attempts: number
}

/** What ran, as the item keeps it. */
export interface ItemRun {
  expert: string
  expert_version: string | null
  /** SHA-256 of the model that ran, in hex; null when the expert names none. */
  model_sha256: string | null
  extra_params: unknown
}

/** What becomes of a claimed item. */
export type ItemChange = { claim: ItemClaim } & (
  | {
      state: ItemEndState
      /** Why it failed; null when it did not. */
      error: string | null
      /** Epoch milliseconds. */
      startedAt: number
      finishedAt: number
      ran: ItemRun
    }
  /** The lease holds for `ITEM_LEASE_MS` more. */
  | { state: 'running' }
  /** Waits again as it did, not before that epoch millisecond; `attempts` as they count now. */
  | { state: 'ready'; notBefore: number | null; attempts: number }
)

/** An item as it is kept. Times are RFC 3339. */
export interface PipelineItem extends ItemPlace, Partial<ItemRun> {
  state: ItemState
  attempts: number
  error: string | null
  started_at: string | null
  finished_at: string | null
}

/** How many items of a task are in each state; a state without any is 0. */
export type ItemCounts = Record<ItemState, number>

/** What is written into a pipeline's document: only what is named is touched. */
export interface PipelineChange {
  /** Fields beside those below; objects in them are replaced whole. */
  fields?: DocumentFields
  /** Laid over `tasks`. */
  tasks?: Record<string, unknown>
  /** Laid over `claims`, which says who has a task; null says that nobody has. */
  claims?: Record<string, unknown>
  /** Laid over `inputs`, one expert's whole; an empty object changes nothing. */
  inputs?: DocumentFields
  /**
   * Merged deeply into `movies`; one that is not there is added, with its `_key`. A `status` that is written
   * over an item that is not running takes the item's place.
   */
  movies?: Record<string, DocumentFields>
}

/** When a change is made at all. */
export interface PipelineCondition {
  /** Only when `tasks` has no such key, or its claim (`claims.<task>.until`, epoch milliseconds) is over. */
  unclaimed?: { task: string; now: number }
  /** Only when the document's `status` is one of these; null stands for a document without. */
  status?: readonly (string | null)[]
}

/** Which pipelines a listing gives. */
export interface PipelineQuery extends PageQuery {
  /** Those of this `status`; null asks for documents without the field. */
  status?: string | null | undefined
  /** Those for which `PipelineCondition.unclaimed` holds. */
  unclaimed?: { task: string; now: number } | undefined
}

/** Which items a listing gives. */
export interface ItemQuery extends PageQuery {
  pipeline: string
  task?: string | undefined
  state?: ItemState | undefined
}

/** How long a claim of an item holds without being renewed, milliseconds. */
export const ITEM_LEASE_MS = 30_000

/**
 * Pipelines: the documents of the collection `pipelines`, which other tools read and write too, and one
 * record for each movie in each task. A driver passes `host/test/pipeline-store-contract.ts`.
 *
 * The document is what its readers know: `tasks` and each movie's `status` say `active`, `success` or
 * `fail` (and `skipped`). The items are what work goes by. `get` shows a movie's `status.<task>` as its item has it: `active` while it
 * runs, `success`, `fail` or `skipped` when it ended, else what the document has. Where other tools read the document itself,
 * `reconcile` brings it up to date.
 *
 * Of documents that other tools broke, what can be read is: `movies` may be a list of `{ _id, _key, status }`; a
 * `status`, `tasks` or `inputs` that is missing or no object counts as empty; and nothing is changed that is not touched.
 * The cost of a call grows with what it is asked for, not with the number of movies; of `get`, `create` and `reconcile` with that.
 *
 * Ids are `pipelines/<key>` or the bare key. Errors are those of `MovieStore`; what is written is kept when a
 * method resolves.
 */
export interface PipelineStore {
  /**
   * Writes a new pipeline under its `_key`, else its `id`, or a UUID; `id` is set to the key, and `movies`, `tasks` and `inputs` to `{}` when
   * they are absent. `movies` may be a list of ids or of entries; it is kept as an object in the order given.
   * @returns the document, without `movies`
   * @throws HostError HOST_DOCUMENT_EXISTS (409) when the key is taken; HOST_DOCUMENT_INVALID for a movie named twice or with an illegal id
   */
  create(document: DocumentFields): Promise<StoredDocument>
  /** The document with all its movies; undefined when there is none. With `movies: false`, without that field. */
  get(id: string, options?: { movies?: boolean }): Promise<StoredDocument | undefined>
  /** A page of the documents without `movies`, by key; like `MovieStore.list`. */
  list(query: PipelineQuery): Promise<{ documents: StoredDocument[]; next: string | undefined }>
  /**
   * Makes a change in one step, as writers of different keys never lose each other's.
   * @returns the document without `movies`; undefined when there is no such pipeline; null when the condition does not hold
   */
  update(
    id: string,
    change: PipelineChange,
    condition?: PipelineCondition
  ): Promise<StoredDocument | undefined | null>
  /**
   * Brings document and items together. Each movie of the document gets an item in each task, unless it has
   * one or its `status` of the task is `success`; blocked ones whose dependencies have ended become ready or
   * skipped (a dependency without an item counts by the document: only `success` has ended well, and nothing else has ended); a waiting one
   * for which the document says `success` is done; the document is brought up to date.
   *
   * Called when a pipeline is begun, every few seconds while it runs, and before it is said to have ended.
   *
   * @param tasks - in an order in which each stands behind what it depends on
   * @param options.again - failed and skipped items are made anew first, with no attempt counted
   * @returns the state of the items by task; undefined when there is no such pipeline
   */
  reconcile(
    id: string,
    tasks: readonly PlannedTask[],
    options?: { again?: boolean }
  ): Promise<Record<string, ItemCounts> | undefined>
  /**
   * Takes up to `limit` items of a task that are ready and due, or running under a lease that has run out, in the order of the
   * document's movies. Each is given to one caller alone.
   */
  claim(
    pipeline: string,
    task: string,
    options: { owner: string; limit: number }
  ): Promise<ItemClaim[]>
  /**
   * Changes claimed items, and with an end those of the tasks that depend on it: `ready` when all of theirs
   * succeeded, `skipped` when one failed, they and what depends on them.
   * @returns of each change in order, whether it was made: not when the claim is lost or ended
   */
  record(changes: readonly ItemChange[], tasks: readonly PlannedTask[]): Promise<boolean[]>
  /** A page of items, by task and then as they stand in the document; `next` is opaque. */
  items(query: ItemQuery): Promise<{ items: PipelineItem[]; next: string | undefined }>
}
