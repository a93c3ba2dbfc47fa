import { HostError } from '../../errors.ts'
import { keptExtraParams, keptReason } from '../pipeline-documents.ts'
import {
  ITEM_LEASE_MS,
  type ItemChange,
  type ItemClaim,
  type PlannedTask
} from '../pipeline-store.ts'
import type { ArangoDocuments } from './arango-documents.ts'
import { claiming, recording } from './arango-pipeline-item-statements.ts'
import type { ArangoPipelineItems } from './arango-pipeline-items.ts'
import { callId, itemKey, NUL, placesOf } from './arango-pipeline-keys.ts'

/** A change on its way into a statement. */
interface Planned {
  /** Its place among all. */
  at: number
  key: string
  token: string
  /** The item keeps it: so a change is known that was made, though its answer was lost. */
  call: string
  patch: object
}

const MOST_CHANGES = 1000
const MOST_CHARACTERS = 4_000_000
/** How many calls are kept of which it is not known whether they were done. */
const MOST_UNCERTAIN = 10_000

/**
 * Claims of items, and what becomes of them.
 *
 * What a statement writes names the call, so that a call whose answer was lost is not done twice and not
 * forgotten: neither when the connection tries again, nor when the caller does, to whom it had failed.
 */
export class ArangoPipelineRecords {
  readonly #documents: ArangoDocuments
  readonly #items: ArangoPipelineItems
  readonly #now: () => number
  readonly #uncertain = new Map<string, string>()

  constructor(documents: ArangoDocuments, items: ArangoPipelineItems, now: () => number) {
    this.#documents = documents
    this.#items = items
    this.#now = now
  }

  /** `PipelineStore.claim` of the pipeline with that key. */
  async claim(
    pipeline: string,
    task: string,
    { owner, limit }: { owner: string; limit: number }
  ): Promise<ItemClaim[]> {
    if (!(limit >= 1) || task.includes(NUL)) return []
    const name = JSON.stringify([pipeline, task, owner])
    const call = this.#uncertain.get(name) ?? callId()
    // Not for another call that is made meanwhile.
    this.#uncertain.delete(name)
    const now = this.#now()
    const statement = claiming({
      ...{ pipeline, ...placesOf(task), call, owner, now },
      limit: Math.min(Math.trunc(limit), Number.MAX_SAFE_INTEGER),
      until: now + ITEM_LEASE_MS
    })
    try {
      const rows = await this.#documents.change<[string, string, number]>(statement)
      return (rows ?? []).map(([movie, token, attempts]) => {
        return { pipeline, task, movie, token, attempts }
      })
    } catch (error) {
      this.#doubt(name, call)
      throw error
    }
  }

  /** `PipelineStore.record`. */
  async record(changes: readonly ItemChange[], tasks: readonly PlannedTask[]): Promise<boolean[]> {
    const call = callId()
    const now = this.#now()
    const planned = changes.map((change, at): Planned => {
      const { claim } = change
      const known = this.#uncertain.get(nameOf(change))
      const itsCall = known ?? `${call}.${at}`
      const patch = { ...patchOf(change, now), recorded: itsCall }
      return { at, key: itemKey(claim), token: claim.token, call: itsCall, patch }
    })
    const made = changes.map(() => false)
    try {
      for (const round of rounds(planned)) {
        const rows = await this.#documents.change<number>(recording(round))
        for (const at of rows ?? []) made[at] = true
      }
    } catch (error) {
      for (const { at, call } of planned) this.#doubt(nameOf(changes[at] as ItemChange), call)
      throw error
    }
    for (const change of changes) this.#uncertain.delete(nameOf(change))
    const ended = changes.filter(({ state }, at) => made[at] === true && isEnd(state))
    await this.#tell(ended, tasks)
    return made
  }

  /** Tells those that wait for what has ended. */
  async #tell(ended: readonly ItemChange[], tasks: readonly PlannedTask[]): Promise<void> {
    const touched = new Map<string, ItemClaim[]>()
    for (const { claim } of ended) {
      const ofPipeline = touched.get(claim.pipeline)
      if (ofPipeline === undefined) touched.set(claim.pipeline, [claim])
      else ofPipeline.push(claim)
    }
    for (const [pipeline, claims] of touched) {
      try {
        await this.#items.settle(pipeline, claims, tasks)
      } catch (error) {
        // The ends are written, and their flags have the next look tell the others.
        if (!(error instanceof HostError)) throw error
      }
    }
  }

  #doubt(name: string, call: string): void {
    this.#uncertain.set(name, call)
    const [oldest] = this.#uncertain.keys()
    if (this.#uncertain.size > MOST_UNCERTAIN && oldest !== undefined) {
      this.#uncertain.delete(oldest)
    }
  }
}

/** What a call is known by that is made again. */
function nameOf({ claim, state }: ItemChange): string {
  return `${state} ${claim.token}`
}

function isEnd(state: ItemChange['state']): boolean {
  return state === 'success' || state === 'fail'
}

/** Groups for one statement each: of a bounded size, and no item twice, since one sees only what was before. */
function* rounds(planned: readonly Planned[]): Generator<Planned[]> {
  let round: Planned[] = []
  let keys = new Set<string>()
  let length = 0
  for (const change of planned) {
    const more = JSON.stringify(change.patch).length
    const isFull = round.length === MOST_CHANGES || length + more > MOST_CHARACTERS
    if (round.length > 0 && (isFull || keys.has(change.key))) {
      yield round
      round = []
      keys = new Set()
      length = 0
    }
    round.push(change)
    keys.add(change.key)
    length += more
  }
  if (round.length > 0) yield round
}

function patchOf(change: ItemChange, now: number): object {
  if (change.state === 'running') return { lease_until: now + ITEM_LEASE_MS }
  if (change.state === 'ready') {
    const { state, attempts, notBefore } = change
    // Flagged, since its document may have come to say that it is done.
    return { state, attempts, not_before: notBefore ?? 0, owner: null, token: null, unfolded: true }
  }
  const { state, error, startedAt, finishedAt, ran } = change
  return {
    state,
    error: keptReason(error),
    started_at: new Date(startedAt).toISOString(),
    finished_at: new Date(finishedAt).toISOString(),
    expert: ran.expert,
    expert_version: ran.expert_version,
    model_sha256: ran.model_sha256,
    extra_params: keptExtraParams(ran.extra_params),
    unfolded: true
  }
}
