import { hostError } from '../../errors.ts'
import type { Row, Statement } from '../../sqlite/sqlite-store.ts'
import { pageStart } from '../page.ts'
import type { ItemQuery, ItemState, PipelineItem } from '../pipeline-store.ts'
import type { SqliteDocuments } from './sqlite-documents.ts'
import { type ItemRow, PIPELINE_NUM } from './sqlite-pipeline-statements.ts'

const COLUMNS = `seq, movie, state, attempts, error, expert, expert_version, model_sha256,
  extra_params, started_at, finished_at`

/** `PipelineStore.items` of the pipeline with that key. */
export async function listItems(documents: SqliteDocuments, pipeline: string, query: ItemQuery) {
  const { after, count } = pageStart(query)
  const from = placeIn(after)
  const { task, state } = query
  const items: PipelineItem[] = []
  const places: ItemRow[] = []
  if (task?.includes('\0')) return { items, next: undefined }
  const [tasks] = await documents.run({
    sql: `SELECT num, task FROM pipeline_tasks
          WHERE pipeline = ${PIPELINE_NUM} AND num >= ? ORDER BY num`,
    params: [pipeline, from.task]
  })
  for (const { num, task: name } of tasks?.rows ?? []) {
    if (items.length === count) break
    if (task !== undefined && name !== task) continue
    const seq = num === from.task ? from.seq : 0
    const [found] = await documents.run(
      page({ task: num as number, seq }, state, count - items.length)
    )
    for (const row of found?.rows ?? []) {
      items.push(itemOf(pipeline, name as string, row))
      places.push({ task: num as number, seq: row['seq'] as number })
    }
  }
  if (items.length < count) return { items, next: undefined }
  const last = places[count - 2] as ItemRow
  return { items: items.slice(0, -1), next: `${last.task}.${last.seq}` }
}

function placeIn(cursor: string): ItemRow {
  if (cursor === '') return { task: 0, seq: 0 }
  const place = /^\d{1,15}\.\d{1,15}$/.test(cursor) ? cursor.split('.').map(Number) : undefined
  if (place !== undefined) return { task: place[0] as number, seq: place[1] as number }
  throw hostError('HOST_DOCUMENT_INVALID', [
    `cursor is ${JSON.stringify(cursor)}, not the next of a page`
  ])
}

/** The items of a task behind a place. */
function page({ task, seq }: ItemRow, state: ItemState | undefined, limit: number): Statement {
  if (state === undefined) {
    return {
      sql: `SELECT ${COLUMNS} FROM pipeline_items WHERE task = ? AND seq > ? ORDER BY seq LIMIT ?`,
      params: [task, seq, limit]
    }
  }
  const stretch = (due: string) => `SELECT * FROM (
    SELECT seq FROM pipeline_items INDEXED BY pipeline_items_by_state
    WHERE task = ? AND state = ? AND due ${due} AND seq > ?
    ORDER BY seq LIMIT ?)`
  return {
    // Most of one state have no due and lie in order in the index; the others are few.
    sql: `SELECT ${COLUMNS} FROM pipeline_items WHERE task = ? AND seq IN (
            ${stretch('IS NULL')} UNION ALL ${stretch(`> ${Number.MIN_SAFE_INTEGER}`)}
          ) ORDER BY seq LIMIT ?`,
    params: [task, ...[task, state, seq, limit], ...[task, state, seq, limit], limit]
  }
}

function itemOf(pipeline: string, task: string, row: Row): PipelineItem {
  const { movie, state, attempts, error, expert, expert_version, model_sha256 } = row
  const params = row['extra_params'] as string | null
  const ran =
    expert === null
      ? {}
      : { expert, expert_version, model_sha256, extra_params: JSON.parse(params as string) }
  return {
    ...{ pipeline, task, movie, state, attempts, error },
    ...ran,
    started_at: timeOf(row['started_at']),
    finished_at: timeOf(row['finished_at'])
  } as PipelineItem
}

function timeOf(milliseconds: unknown): string | null {
  return milliseconds === null ? null : new Date(milliseconds as number).toISOString()
}
