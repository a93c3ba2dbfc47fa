import type { StoredDocument } from './documents.ts'

/** A movie of a pipeline: how far it is in each task, beside what else is known of it. */
export interface PipelineMovie {
  /** `active`, `success` or `fail` by task; a task that has not begun is absent. */
  status: Record<string, unknown>
  readonly [field: string]: unknown
}

/** Movies of a pipeline by their `_id`. */
export type PipelineMovies = Record<string, PipelineMovie>

/** What is to be merged into each movie. */
export type MovieChanges = Record<string, Record<string, unknown>>

/** The movies of a document; older ones have a list, some movies have no `status`. */
export function allMovies({ movies }: StoredDocument): PipelineMovies {
  return Object.fromEntries(
    entriesOf(movies).map(([id, entry]) => {
      const fields = isObject(entry) ? entry : {}
      return [id, { ...fields, status: isObject(fields['status']) ? fields['status'] : {} }]
    })
  )
}

/** Those for which the task has not succeeded. */
export function pendingMovies(movies: PipelineMovies, task: string): PipelineMovies {
  const isPending = ({ status }: PipelineMovie) =>
    !Object.hasOwn(status, task) || status[task] !== 'success'
  return Object.fromEntries(Object.entries(movies).filter(([, movie]) => isPending(movie)))
}

/**
 * What an update means for each movie: the status of this task alone, since what an entry says of other tasks
 * may be long out of date.
 */
export function statusChanges(
  task: string,
  given: Record<string, unknown> | readonly unknown[]
): MovieChanges {
  return Object.fromEntries(
    entriesOf(given).map(([id, entry]) => {
      if (!isObject(entry)) return [id, { status: { [task]: entry } }]
      const { _id, _key, status, ...fields } = entry
      const isNamed = isObject(status) && Object.hasOwn(status, task)
      return [id, { ...fields, status: isNamed ? { [task]: status[task] } : {} }]
    })
  )
}

/** Of movies that are there already, what they say beside their status is older than what is kept. */
export function withFieldsOnlyOfNew(changes: MovieChanges, known: PipelineMovies): MovieChanges {
  return Object.fromEntries(
    Object.entries(changes).map(([id, change]) => [
      id,
      Object.hasOwn(known, id) ? { status: change['status'] } : change
    ])
  )
}

function entriesOf(movies: unknown): Array<[string, unknown]> {
  if (isObject(movies)) return Object.entries(movies)
  if (!Array.isArray(movies)) return []
  return movies.flatMap((entry): Array<[string, unknown]> => {
    if (typeof entry === 'string') return [[entry, {}]]
    const { _id, _key } = (entry ?? {}) as { _id?: unknown; _key?: unknown }
    if (typeof _id === 'string') return [[_id, entry]]
    return typeof _key === 'string' ? [[`Movies/${_key}`, entry]] : []
  })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
