import { randomBytes } from 'node:crypto'
import type { Row, Statement } from '../../sqlite/sqlite-store.ts'
import { keptExtraParams, keptReason } from '../pipeline-documents.ts'
import {
  ITEM_LEASE_MS,
  type ItemChange,
  type ItemClaim,
  type PlannedTask
} from '../pipeline-store.ts'
import type { SqliteDocuments } from './sqlite-documents.ts'
import {
  entrySucceeded,
  type ItemRow,
  PIPELINE_NUM,
  unblock
} from './sqlite-pipeline-statements.ts'

const TASK_NUM = `(SELECT num FROM pipeline_tasks WHERE pipeline = ${PIPELINE_NUM} AND task = ?)`
/**
 * What is claimed of the items of pipelines, and what becomes of it. A claim is held until another takes the
 * item, even if its lease has run out: nobody else has worked on it since.
 */
export class SqlitePipelineClaims {
  readonly #documents: SqliteDocuments
  readonly #now: () => number
  /** No other run of a host has it: tokens are never given twice. */
  readonly #run = randomBytes(6).toString('base64url')
  #claims = 0

  constructor(documents: SqliteDocuments, now: () => number) {
    this.#documents = documents
    this.#now = now
  }

  /** `PipelineStore.claim` of the pipeline with that key. */
  async claim(
    pipeline: string,
    task: string,
    { owner, limit }: { owner: string; limit: number }
  ): Promise<ItemClaim[]> {
    // The store refuses NUL, and no task has it.
    if (!(limit >= 1) || task.includes('\0')) return []
    const count = Math.min(Math.trunc(limit), Number.MAX_SAFE_INTEGER)
    const now = Math.trunc(this.#now())
    const [, claimed] = await this.#documents.run(
      {
        sql: `UPDATE pipeline_items SET due = NULL
              WHERE task = ${TASK_NUM} AND state = 'ready' AND due <= ?`,
        params: [pipeline, task, now]
      },
      {
        sql: `WITH place AS MATERIALIZED (SELECT ${TASK_NUM} AS num)
              UPDATE pipeline_items SET state = 'running', attempts = attempts + 1, owner = ?,
                token = ? || task || '.' || seq, due = ?
              WHERE task = (SELECT num FROM place) AND seq IN (
                SELECT seq FROM (
                  SELECT * FROM (
                    SELECT seq FROM pipeline_items WHERE task = (SELECT num FROM place)
                      AND state = 'ready' AND due IS NULL ORDER BY seq LIMIT ?
                  ) UNION ALL SELECT * FROM (
                    SELECT seq FROM pipeline_items WHERE task = (SELECT num FROM place)
                      AND state = 'running' AND due <= ? ORDER BY seq LIMIT ?
                  )
                ) ORDER BY seq LIMIT ?
              ) RETURNING seq, movie, token, attempts`,
        params: [
          ...[pipeline, task],
          ...[owner, `${this.#run}.${++this.#claims}.`, now + ITEM_LEASE_MS],
          ...[count, now, count, count]
        ]
      }
    )
    // Rows that a change gives back are in no order.
    return (claimed?.rows ?? []).sort(bySeq).map((row) => ({
      pipeline,
      task,
      movie: row['movie'] as string,
      token: row['token'] as string,
      attempts: row['attempts'] as number
    }))
  }

  /** `PipelineStore.record`, and `more` in the same step. */
  async record(
    changes: readonly ItemChange[],
    tasks: readonly PlannedTask[],
    more: readonly Statement[]
  ): Promise<boolean[]> {
    const effective = effectiveChanges(changes)
    if (effective.size === 0) return changes.map(() => false)
    const [changed] = await this.#documents.run(
      this.#change(effective),
      ...lookAtPutBack(effective),
      ...unblockings(effective, tasks),
      ...more
    )
    const made = new Set(changed?.rows.map((row) => row['token']))
    const over = new Set<string>()
    return changes.map(({ claim: { token }, state }) => {
      const isMade = made.has(token) && !over.has(token)
      if (state !== 'running') over.add(token)
      return isMade
    })
  }

  #change(effective: Map<string, EffectiveChange>): Statement {
    const now = Math.trunc(this.#now())
    const rows = [...effective.values()].map((change) => [
      change.place.task,
      change.place.seq,
      change.claim.token,
      change.claim.movie,
      change.state,
      ...valuesOf(change, now)
    ])
    return {
      sql: `WITH change AS MATERIALIZED (
              SELECT value ->> 0 AS task, value ->> 1 AS seq, value ->> 2 AS token,
                value ->> 3 AS movie, value ->> 4 AS state, value ->> 5 AS due,
                value ->> 6 AS attempts, value ->> 7 AS error, value ->> 8 AS started_at,
                value ->> 9 AS finished_at, value ->> 10 AS expert, value ->> 11 AS expert_version,
                value ->> 12 AS model_sha256, value ->> 13 AS extra_params
              FROM json_each(?)
            )
            UPDATE pipeline_items AS item SET state = change.state, due = change.due,
              attempts = coalesce(change.attempts, item.attempts), error = change.error,
              started_at = change.started_at, finished_at = change.finished_at,
              expert = change.expert, expert_version = change.expert_version,
              model_sha256 = change.model_sha256, extra_params = change.extra_params
            FROM change
            WHERE item.task = change.task AND item.seq = change.seq AND item.state = 'running'
              AND item.token = change.token AND item.movie = change.movie
            RETURNING token`,
      params: [JSON.stringify(rows)]
    }
  }
}

type EffectiveChange = ItemChange & { place: ItemRow }

/** Of the changes under one token the one that counts in the end: no other follows an end. */
function effectiveChanges(changes: readonly ItemChange[]): Map<string, EffectiveChange> {
  const effective = new Map<string, EffectiveChange>()
  for (const change of changes) {
    const { token } = change.claim
    const before = effective.get(token)
    if (before !== undefined && before.state !== 'running') continue
    const place = placeOf(token)
    if (place !== undefined) effective.set(token, { ...change, place })
  }
  return effective
}

/** The item that a token was given for; whether it holds is for the row to say. */
function placeOf(token: string): ItemRow | undefined {
  const [task, seq] = token.split('.').slice(2).map(Number)
  return Number.isSafeInteger(task) && Number.isSafeInteger(seq)
    ? { task: task as number, seq: seq as number }
    : undefined
}

/** From `due` on, in the order of `SqlitePipelineClaims.#change`. */
function valuesOf(change: ItemChange, now: number): unknown[] {
  if (change.state === 'running') return [now + ITEM_LEASE_MS]
  if (change.state === 'ready') {
    const { notBefore, attempts } = change
    return [notBefore === null ? null : Math.ceil(notBefore), Math.trunc(attempts)]
  }
  const { error, startedAt, finishedAt, ran } = change
  return [
    ...[null, null, keptReason(error), Math.trunc(startedAt), Math.trunc(finishedAt)],
    ...[ran.expert, ran.expert_version, ran.model_sha256],
    JSON.stringify(keptExtraParams(ran.extra_params))
  ]
}

/** What waits again, though the document came to say meanwhile that it is done, must be looked at. */
function lookAtPutBack(effective: Map<string, EffectiveChange>): Statement[] {
  const putBack = [...effective.values()].filter(({ state }) => state === 'ready')
  if (putBack.length === 0) return []
  const rows = putBack.map(({ claim, place }) => [claim.pipeline, place.seq, claim.task])
  return [
    {
      sql: `WITH back AS MATERIALIZED (
              SELECT named.key + 1 AS place, pipelines.num AS pipeline,
                named.value ->> 1 AS seq, named.value ->> 2 AS task
              FROM json_each(?) AS named CROSS JOIN pipelines ON pipelines.key = named.value ->> 0
            )
            UPDATE pipeline_movies AS m SET changed = back.place + (
              SELECT max(changed) FROM pipeline_movies AS other WHERE other.pipeline = m.pipeline
            )
            FROM back
            WHERE m.pipeline = back.pipeline AND m.seq = back.seq AND ${entrySucceeded('back.task')}`,
      params: [JSON.stringify(rows)]
    }
  ]
}

/** What the ends let go on, task by task, so that what is skipped takes along what depends on it. */
function unblockings(
  effective: Map<string, EffectiveChange>,
  tasks: readonly PlannedTask[]
): Statement[] {
  const statements: Statement[] = []
  for (const [pipeline, { ended, fallen }] of endsByPipeline(effective)) {
    for (const planned of tasks) {
      const { task, dependsOn } = planned
      const falling = dependsOn.flatMap((name) => [...(fallen.get(name) ?? [])])
      const seqs = new Set([...dependsOn.flatMap((name) => ended.get(name) ?? []), ...falling])
      if (seqs.size === 0) continue
      statements.push(unblock(pipeline, planned, JSON.stringify([...seqs])))
      if (falling.length > 0) fallen.set(task, new Set([...(fallen.get(task) ?? []), ...falling]))
    }
  }
  return statements
}

/** By pipeline and task, what ended, and of it what takes others along. */
function endsByPipeline(effective: Map<string, EffectiveChange>) {
  const pipelines = new Map<
    string,
    { ended: Map<string, number[]>; fallen: Map<string, Set<number>> }
  >()
  for (const { claim, place, state } of effective.values()) {
    if (state !== 'success' && state !== 'fail') continue
    const { pipeline, task } = claim
    const ends = pipelines.get(pipeline) ?? { ended: new Map(), fallen: new Map() }
    pipelines.set(pipeline, ends)
    ends.ended.set(task, ends.ended.get(task) ?? [])
    ends.ended.get(task)?.push(place.seq)
    if (state === 'success') continue
    ends.fallen.set(task, ends.fallen.get(task) ?? new Set())
    ends.fallen.get(task)?.add(place.seq)
  }
  return pipelines
}

function bySeq(a: Row, b: Row): number {
  return (a['seq'] as number) - (b['seq'] as number)
}
