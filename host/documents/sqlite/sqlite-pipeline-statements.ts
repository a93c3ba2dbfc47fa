import type { Statement } from '../../sqlite/sqlite-store.ts'
import type { DocumentFields } from '../stored-document.ts'

/** Number of the pipeline with the key that is its parameter. */
export const PIPELINE_NUM = '(SELECT num FROM pipelines WHERE key = ?)'

/** One row of `pipeline_movies`. */
export interface MovieRow {
  seq: number
  movie: string
  entry: DocumentFields
}

/** What tells one row of `pipeline_items` from another. */
export interface ItemRow {
  task: number
  seq: number
}

/** Whether the entry of a movie, aliased `m`, says that the task `name` has ended well. */
export function entrySucceeded(name: string): string {
  return `EXISTS (SELECT 1 FROM json_each(m.body, '$.status') AS said
    WHERE said.key = ${name} AND said.value = 'success')`
}

/** Writes movies of a pipeline, new ones or over those of their `seq`, as the latest that changed. */
export function writeMovies(pipeline: number, movies: readonly MovieRow[]): Statement {
  const rows = movies.map(({ seq, movie, entry }, at) => [
    seq,
    movie,
    JSON.stringify(entry),
    at + 1
  ])
  return {
    sql: `INSERT INTO pipeline_movies (pipeline, seq, movie, body, changed)
          SELECT ?, value ->> 0, value ->> 1, value ->> 2, (value ->> 3) +
            (SELECT coalesce(max(changed), 0) FROM pipeline_movies WHERE pipeline = ?)
          FROM json_each(?) WHERE true
          ON CONFLICT (pipeline, seq) DO UPDATE SET body = excluded.body, changed = excluded.changed`,
    params: [pipeline, pipeline, JSON.stringify(rows)]
  }
}

/**
 * Lets blocked items of a task be ready, when all that it depends on has ended well, or be skipped, when
 * some of it has not.
 *
 * @param seqs - of the items that may have become so, as a JSON array
 */
export function unblock(
  pipeline: string,
  { task, dependsOn }: { task: string; dependsOn: readonly string[] },
  seqs: string
): Statement {
  return {
    sql: `WITH place AS MATERIALIZED (
            SELECT num, pipeline FROM pipeline_tasks WHERE pipeline = ${PIPELINE_NUM} AND task = ?
          ),
          dependency AS MATERIALIZED (
            SELECT value AS name, (
              SELECT num FROM pipeline_tasks
              WHERE pipeline = (SELECT pipeline FROM place) AND task = value
            ) AS num FROM json_each(?)
          ),
          judged AS MATERIALIZED (
            SELECT item.seq, (
              SELECT max(CASE
                WHEN other.state = 'success' THEN 0
                WHEN other.state IN ('fail', 'skipped') THEN 2
                WHEN other.state IS NULL AND (
                  SELECT ${entrySucceeded('dependency.name')} FROM pipeline_movies AS m
                  WHERE m.pipeline = (SELECT pipeline FROM place) AND m.seq = item.seq
                ) THEN 0
                ELSE 1 END)
              FROM dependency LEFT JOIN pipeline_items AS other
                ON other.task = dependency.num AND other.seq = item.seq
            ) AS verdict
            FROM pipeline_items AS item
            -- By their seqs: of the blocked ones there may be a hundred thousand.
            WHERE item.task = (SELECT num FROM place) AND +item.state = 'blocked'
              AND item.seq IN (SELECT value FROM json_each(?))
          )
          UPDATE pipeline_items SET state = iif(judged.verdict = 2, 'skipped', 'ready')
          FROM judged
          WHERE pipeline_items.task = (SELECT num FROM place) AND pipeline_items.seq = judged.seq
            AND judged.verdict IS NOT 1`,
    params: [pipeline, task, JSON.stringify(dependsOn), seqs]
  }
}
