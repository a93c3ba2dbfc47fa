import { createHash, randomUUID } from 'node:crypto'
import { hostError } from '../errors.ts'
import { askedKey, isLegalKey } from './document-key.ts'
import { mergeDocuments } from './merge-documents.ts'
import type {
  ItemCounts,
  ItemState,
  PipelineChange,
  PipelineCondition,
  PlannedTask
} from './pipeline-store.ts'
import { collectionNames, type DocumentFields, fieldsOf, isObject } from './stored-document.ts'
import { movieIdOf } from './token-documents.ts'

const COLLECTION = collectionNames.pipelines
const MOVIE_ID = /^[A-Za-z][A-Za-z0-9_-]{0,255}\//
const MAX_EXTRA_PARAMS = 1000

/** A pipeline as it is written first. */
export interface NewPipeline {
  key: string
  /** All but `movies`. */
  fields: DocumentFields
  /** Entries of `movies` by id, in their order. */
  movies: Map<string, DocumentFields>
}

/** A `PipelineChange` as a copy that was checked; what it does not name is empty. */
export interface CheckedChange {
  fields: DocumentFields
  tasks: DocumentFields
  claims: DocumentFields
  inputs: DocumentFields
  /** By whole id, without `_id` and `_key`. */
  movies: Map<string, DocumentFields>
}

/**
 * What `PipelineStore.create` writes of a document.
 *
 * @throws HostError HOST_DOCUMENT_INVALID
 */
export function newPipeline(document: DocumentFields): NewPipeline {
  const { movies, id, ...fields } = fieldsOf(document, 'pipeline')
  const key = askedKey(COLLECTION, document) ?? keyOfId(id) ?? randomUUID()
  return {
    key,
    fields: { id: key, tasks: {}, inputs: {}, ...fields },
    movies: newMovies(movies ?? {})
  }
}

/**
 * The movies of a document as they can be read: an object by id, or a list of ids or of entries with `_id`
 * or `_key`. What is neither is left out, an entry that is no object is empty.
 */
export function moviesIn(movies: unknown): Map<string, DocumentFields> {
  if (isObject(movies)) {
    return new Map(Object.entries(movies).map(([id, entry]) => [id, objectOr(entry)]))
  }
  const found = new Map<string, DocumentFields>()
  for (const entry of Array.isArray(movies) ? movies : []) {
    const id = idOfListed(entry)
    if (id === undefined || found.has(id)) continue
    const { _id, ...fields } = objectOr(entry)
    found.set(id, fields)
  }
  return found
}

/** The entry of a movie that is added: with its `_key`, and a `status`, since there are readers who expect one. */
export function newMovie(id: string, fields: DocumentFields): DocumentFields {
  const { _id, _key, ...rest } = fields
  return { _key: id.slice(id.indexOf('/') + 1), status: {}, ...rest }
}

/** The entry of a movie when a change of it was made: of the stored one, or of none. */
export function changedMovie(
  id: string,
  stored: DocumentFields | undefined,
  patch: DocumentFields
): DocumentFields {
  return stored === undefined ? newMovie(id, patch) : mergeDocuments(stored, patch)
}

/** The tasks of which a movie's entry, or a change of it, has a status. */
export function tasksWithStatus(movie: DocumentFields): string[] {
  return Object.keys(objectOr(movie['status']))
}

/** Whether a movie's entry says that a task has ended well. */
export function hasSucceeded(movie: DocumentFields, task: string): boolean {
  return ownField(objectOr(movie['status']), task) === 'success'
}

/** What a movie's status says of an item in that state; undefined when the document's own word holds. */
export function shownState(state: ItemState): string | undefined {
  if (state === 'running') return 'active'
  return state === 'blocked' || state === 'ready' ? undefined : state
}

/** A movie's entry with the states of its items, by task, shown in its `status`. */
export function withStates(
  movie: DocumentFields,
  states: Iterable<readonly [task: string, state: ItemState]>
): DocumentFields {
  const shown = [...states].flatMap(([task, state]) => {
    const word = shownState(state)
    return word === undefined ? [] : [[task, word] as const]
  })
  if (shown.length === 0) return movie
  return { ...movie, status: { ...objectOr(movie['status']), ...Object.fromEntries(shown) } }
}

/**
 * A copy of a change, with whole ids of movies.
 *
 * @throws HostError HOST_DOCUMENT_INVALID
 */
export function checkedChange(change: PipelineChange): CheckedChange {
  const copy = fieldsOf(change, 'change')
  const part = (name: string) => {
    const value = copy[name] ?? {}
    if (isObject(value)) return value
    throw hostError('HOST_DOCUMENT_INVALID', [`${name} of the change is no object`])
  }
  // The store gives a document these, and the others have a part of their own.
  const { _id, _key, _rev, id, tasks, claims, inputs, movies, ...fields } = part('fields')
  return {
    fields,
    tasks: part('tasks'),
    claims: part('claims'),
    inputs: part('inputs'),
    movies: byWholeId(Object.entries(part('movies')), (_id, patch) => withoutIds(patch))
  }
}

/** The fields of a document, without `movies`, when a change was made. Neither argument is changed. */
export function laidOver(fields: DocumentFields, change: CheckedChange): DocumentFields {
  const changed = { ...fields, ...change.fields }
  for (const part of ['tasks', 'claims', 'inputs'] as const) {
    // One that is empty must not repair what it does not touch.
    if (Object.keys(change[part]).length === 0) continue
    changed[part] = { ...objectOr(fields[part]), ...change[part] }
  }
  return changed
}

/** Whether a document is such that a change may be made. */
export function holds(condition: PipelineCondition, fields: DocumentFields): boolean {
  const { unclaimed, status } = condition
  if (status !== undefined && !status.includes((fields['status'] ?? null) as string | null)) {
    return false
  }
  if (unclaimed === undefined) return true
  const { task, now } = unclaimed
  if (!Object.hasOwn(objectOr(fields['tasks']), task)) return true
  const { until } = objectOr(ownField(objectOr(fields['claims']), task))
  return typeof until === 'number' && until <= now
}

/**
 * Refuses a plan that no store can keep.
 *
 * @throws HostError HOST_DOCUMENT_INVALID for a task that is named twice, and for a NUL in a name
 */
export function checkPlan(tasks: readonly PlannedTask[]): void {
  const names = new Set<string>()
  for (const { task, dependsOn } of tasks) {
    if (names.has(task)) {
      throw hostError('HOST_DOCUMENT_INVALID', [`the plan has the task ${brief(task)} twice`])
    }
    names.add(task)
    const illegal = [task, ...dependsOn].find((name) => name.includes('\0'))
    if (illegal !== undefined) {
      throw hostError('HOST_DOCUMENT_INVALID', [`the name of the task ${brief(illegal)} has a NUL`])
    }
  }
}

/** The `extra_params` of a run as an item keeps them: what is long, as a hash that tells it from others. */
export function keptExtraParams(extraParams: unknown): unknown {
  const text = JSON.stringify(extraParams ?? null)
  if (text.length <= MAX_EXTRA_PARAMS) return extraParams ?? null
  return { sha256: createHash('sha256').update(text).digest('hex') }
}

/** A reason as every driver can keep it: without NUL, and well-formed. */
export function keptReason(error: string | null): string | null {
  return error === null ? null : Buffer.from(error.replaceAll('\0', '\ufffd')).toString()
}

/** Counts of no items. */
export function noItems(): ItemCounts {
  return { blocked: 0, ready: 0, running: 0, success: 0, fail: 0, skipped: 0 }
}

/** The object, or an empty one for what is none. */
export function objectOr(value: unknown): DocumentFields {
  return isObject(value) ? value : {}
}

function newMovies(movies: unknown): Map<string, DocumentFields> {
  if (isObject(movies)) return byWholeId(Object.entries(movies), newMovie)
  if (!Array.isArray(movies)) {
    throw hostError('HOST_DOCUMENT_INVALID', ['movies is neither an object nor a list'])
  }
  const listed = movies.map((entry, place): [string, unknown] => {
    const id = idOfListed(entry)
    if (id !== undefined) return [id, objectOr(entry)]
    throw hostError('HOST_DOCUMENT_INVALID', [
      `movie ${place} is ${brief(entry)}, neither an id nor an object with _id or _key`
    ])
  })
  return byWholeId(listed, newMovie)
}

function withoutIds(patch: DocumentFields): DocumentFields {
  const { _id, _key, ...fields } = patch
  return fields
}

/** Entries of movies by whole id, none of them twice. */
function byWholeId(
  entries: Array<[string, unknown]>,
  make: (id: string, entry: DocumentFields) => DocumentFields
): Map<string, DocumentFields> {
  const made = new Map<string, DocumentFields>()
  for (const [given, entry] of entries) {
    const id = movieIdOf(given)
    if (!MOVIE_ID.test(id) || !isLegalKey(id.slice(id.indexOf('/') + 1))) {
      throw hostError('HOST_DOCUMENT_INVALID', [`${brief(given)} is no id of a movie`])
    }
    if (made.has(id)) {
      throw hostError('HOST_DOCUMENT_INVALID', [`the movie ${brief(id)} is named twice`])
    }
    made.set(id, make(id, entryOf(id, entry)))
  }
  return made
}

function entryOf(id: string, entry: unknown): DocumentFields {
  if (isObject(entry)) return entry
  throw hostError('HOST_DOCUMENT_INVALID', [`the movie ${brief(id)} is no object`])
}

function idOfListed(entry: unknown): string | undefined {
  const { _id, _key } = objectOr(entry)
  const id = [entry, _id, _key].find((value) => typeof value === 'string' && value !== '')
  return id === undefined ? undefined : movieIdOf(id as string)
}

function keyOfId(id: unknown): string | undefined {
  if (id === undefined || id === null) return undefined
  if (isLegalKey(id)) return id
  throw hostError('HOST_DOCUMENT_INVALID', [`id is ${brief(id)}, which can be no key`])
}

/** Not by the field's name alone: of an object that lacks it, `constructor` is there too. */
function ownField(fields: DocumentFields, name: string): unknown {
  return Object.hasOwn(fields, name) ? fields[name] : undefined
}

function brief(value: unknown): string {
  return String(JSON.stringify(value)).slice(0, 300)
}
