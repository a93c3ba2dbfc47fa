import type { Row, Statement } from '../../sqlite/sqlite-store.ts'
import {
  type CheckedChange,
  changedMovie,
  checkedChange,
  holds,
  laidOver,
  tasksWithStatus
} from '../pipeline-documents.ts'
import type { PipelineChange, PipelineCondition } from '../pipeline-store.ts'
import { collectionNames, type DocumentFields, type StoredDocument } from '../stored-document.ts'
import { documentOf, type SqliteDocuments } from './sqlite-documents.ts'
import { type MovieRow, PIPELINE_NUM, writeMovies } from './sqlite-pipeline-statements.ts'

type Outcome = StoredDocument | undefined | null

interface Waiting {
  change: CheckedChange
  condition: PipelineCondition
  resolve: (outcome: Outcome) => void
  reject: (error: Error) => void
}

/** A pipeline as the changes of one batch find it, each as those before it left it. */
interface Held {
  num: number
  rev: number
  fields: DocumentFields
  lastSeq: number
  movies: Map<string, MovieRow>
}

const MAX_MOVIES = 2000

/**
 * Changes of pipelines' documents and their movies. Those of one pipeline wait in one line, are read in one
 * step and written in the next: nobody else writes the file, so that needs no lock.
 */
export class SqlitePipelineChanges {
  readonly #documents: SqliteDocuments
  readonly #lines = new Map<string, Waiting[]>()

  constructor(documents: SqliteDocuments) {
    this.#documents = documents
  }

  /** `PipelineStore.update` of the pipeline with that key. */
  async update(key: string, change: PipelineChange, condition: PipelineCondition = {}) {
    const checked = checkedChange(change)
    return new Promise<Outcome>((resolve, reject) => {
      const waiting = { change: checked, condition, resolve, reject }
      const line = this.#lines.get(key)
      if (line !== undefined) return line.push(waiting)
      this.#lines.set(key, [waiting])
      void this.#work(key)
    })
  }

  async #work(key: string): Promise<void> {
    const line = this.#lines.get(key) as Waiting[]
    // In the next turn, so that all who ask in this one are of the first batch.
    await new Promise(setImmediate)
    while (line.length > 0) await this.#writeBatch(key, takeBatch(line))
    this.#lines.delete(key)
  }

  async #writeBatch(key: string, batch: Waiting[]): Promise<void> {
    try {
      const held = await this.#read(key, batch)
      const written = new Set<string>()
      const replaced: Array<[movie: string, task: string]> = []
      const outcomes = batch.map(({ change, condition }): Outcome => {
        if (held === undefined) return undefined
        if (!holds(condition, held.fields)) return null
        for (const [id, patch] of change.movies) {
          changeMovie(held, id, patch)
          written.add(id)
          for (const task of tasksWithStatus(patch)) replaced.push([id, task])
        }
        held.fields = laidOver(held.fields, change)
        held.rev++
        return documentOf(rowOf(key, held))
      })
      if (held !== undefined && outcomes.some((outcome) => outcome !== null)) {
        const movies = [...written].map((id) => held.movies.get(id) as MovieRow)
        await this.#documents.run(...statements(held, movies, replaced))
      }
      for (const [place, waiting] of batch.entries()) waiting.resolve(outcomes[place])
    } catch (error) {
      if (batch.length === 1) return batch[0]?.reject(error as Error)
      // One that is too large for the disk must not take the others along.
      for (const waiting of batch) await this.#writeBatch(key, [waiting])
    }
  }

  async #read(key: string, batch: Waiting[]): Promise<Held | undefined> {
    const ids = new Set(batch.flatMap(({ change }) => [...change.movies.keys()]))
    const [found, movies] = await this.#documents.run(
      {
        sql: `SELECT num, rev, body, (
                SELECT coalesce(max(seq), 0) FROM pipeline_movies WHERE pipeline = num
              ) AS last_seq FROM pipelines WHERE key = ?`,
        params: [key]
      },
      {
        sql: `SELECT m.seq, m.movie, m.body FROM json_each(?) AS named
              CROSS JOIN pipeline_movies AS m INDEXED BY pipeline_movies_by_id
                ON m.pipeline = ${PIPELINE_NUM} AND m.movie = named.value`,
        params: [JSON.stringify([...ids]), key]
      }
    )
    const row = found?.rows[0]
    if (row === undefined) return undefined
    return {
      num: row['num'] as number,
      rev: row['rev'] as number,
      fields: JSON.parse(row['body'] as string),
      lastSeq: row['last_seq'] as number,
      movies: new Map(movies?.rows.map((movie) => [movie['movie'] as string, movieOf(movie)]))
    }
  }
}

function takeBatch(line: Waiting[]): Waiting[] {
  let [count, movies] = [0, 0]
  for (const { change } of line) {
    movies += change.movies.size
    if (count > 0 && movies > MAX_MOVIES) break
    count++
  }
  return line.splice(0, count)
}

function changeMovie(held: Held, id: string, patch: DocumentFields): void {
  const stored = held.movies.get(id)
  const seq = stored?.seq ?? ++held.lastSeq
  held.movies.set(id, { seq, movie: id, entry: changedMovie(id, stored?.entry, patch) })
}

function statements(
  held: Held,
  movies: MovieRow[],
  replaced: Array<[movie: string, task: string]>
): Statement[] {
  const { num, rev, fields } = held
  const made: Statement[] = [
    {
      sql: 'UPDATE pipelines SET rev = ?, body = ? WHERE num = ?',
      params: [rev, JSON.stringify(fields), num]
    }
  ]
  if (movies.length > 0) made.push(writeMovies(num, movies))
  if (replaced.length > 0) {
    made.push({
      sql: `DELETE FROM pipeline_items WHERE state <> 'running' AND (task, seq) IN (
              SELECT t.num, m.seq FROM json_each(?) AS named
              CROSS JOIN pipeline_tasks AS t ON t.pipeline = ? AND t.task = named.value ->> 1
              CROSS JOIN pipeline_movies AS m ON m.pipeline = ? AND m.movie = named.value ->> 0)`,
      params: [JSON.stringify(replaced), num, num]
    })
  }
  return made
}

function movieOf(row: Row): MovieRow {
  return {
    seq: row['seq'] as number,
    movie: row['movie'] as string,
    entry: JSON.parse(row['body'] as string)
  }
}

function rowOf(key: string, { rev, fields }: Held) {
  return { collection: collectionNames.pipelines, key, rev, body: JSON.stringify(fields) }
}
