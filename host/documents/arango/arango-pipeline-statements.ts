import { collectionNames, type DocumentFields } from '../stored-document.ts'
import type { ArangoStatement } from './arango-statements.ts'

/** What is laid over a movie's entry in a document; `key` is its `_key` when the document has none. */
export interface MoviePatch {
  id: string
  key: string
  patch: DocumentFields
}

/** Movies by id as a statement takes them. */
export function moviePatches(movies: ReadonlyMap<string, DocumentFields>): MoviePatch[] {
  return [...movies].map(([id, patch]) => ({ id, key: id.slice(id.indexOf('/') + 1), patch }))
}

/** When a document may be changed, as `PipelineCondition`; `call` tells this change when it is repeated. */
export interface UpdateCondition {
  call: string
  anyStatus: boolean
  status: readonly (string | null)[]
  anyTask: boolean
  task: string
  now: number
}

/** The field in which a document says which change was made last that must be known when it is repeated. */
export const CALL_FIELD = 'nebula_change'

const PIPELINES = { '@pipelines': collectionNames.pipelines }
const ITEMS = { '@items': collectionNames.pipelineItems }
const BOTH = { ...PIPELINES, ...ITEMS }

/** Refused with a conflict when the document is not the one any more that the statement read. */
const WRITING =
  'OPTIONS { waitForSync: true, keepNull: true, mergeObjects: false, ignoreRevs: false }'
const MERGING =
  'OPTIONS { waitForSync: true, keepNull: true, mergeObjects: true, ignoreRevs: false }'

/** A claim may be void, or the task not there; see `PipelineCondition`. */
const isUnclaimed = (document: string) =>
  `!(IS_OBJECT(${document}.tasks) && HAS(${document}.tasks, @task)) || ` +
  `(IS_NUMBER(${document}.claims[@task].until) && ${document}.claims[@task].until <= @now)`

const THE_MOVIES = 'LET movies = IS_OBJECT(p.movies) ? p.movies : {} '
const PATCHES =
  'LET patches = (FOR m IN @movies RETURN { [m.id]: HAS(movies, m.id) ? m.patch : ' +
  'MERGE({ _key: m.key, status: {} }, m.patch) }) '

/** Writes a new pipeline and the order of its movies, which an object does not keep. */
export function creation(document: object, order: object): ArangoStatement {
  return {
    query:
      "INSERT @document INTO @@pipelines OPTIONS { waitForSync: true, overwriteMode: 'conflict' } " +
      'LET made = NEW ' +
      "INSERT @order INTO @@items OPTIONS { waitForSync: true, overwriteMode: 'replace' } " +
      "RETURN UNSET(made, 'movies')",
    bindVars: { ...BOTH, document, order }
  }
}

/** By which call a pipeline was created. */
export function creator(key: string): ArangoStatement {
  return {
    query: 'FOR o IN @@items FILTER o._key == @key RETURN o.created',
    bindVars: { ...ITEMS, key }
  }
}

/** More movies of a known order. */
export function noteOrder(order: object): ArangoStatement {
  return {
    query: "INSERT @order INTO @@items OPTIONS { waitForSync: true, overwriteMode: 'ignore' }",
    bindVars: { ...ITEMS, order }
  }
}

/** The document without its movies. */
export function bareDocument(key: string): ArangoStatement {
  return {
    query: "FOR p IN @@pipelines FILTER p._key == @key RETURN UNSET(p, 'movies')",
    bindVars: { ...PIPELINES, key }
  }
}

/** The document, the order of its movies, and the states of those items that it does not show. */
export function wholeDocument(key: string): ArangoStatement {
  return {
    query:
      'FOR p IN @@pipelines FILTER p._key == @key ' +
      "LET orders = (FOR o IN @@items FILTER o.pipeline == @key FILTER o.state == 'order' " +
      'SORT o.at RETURN o.movies) ' +
      "LET running = (FOR d IN @@items FILTER d.pipeline == @key FILTER d.state == 'running' " +
      'RETURN [d.movie, d.task, d.state]) ' +
      'LET ended = (FOR d IN @@items FILTER d.pipeline == @key FILTER d.unfolded == true ' +
      'RETURN [d.movie, d.task, d.state]) ' +
      'RETURN { document: p, orders: orders, states: APPEND(running, ended) }',
    bindVars: { ...BOTH, key }
  }
}

/** A page of documents without their movies; ordered as `listing` orders them. */
export function pipelineListing(
  asked: {
    status?: string | null | undefined
    unclaimed?: { task: string; now: number } | undefined
  },
  { after, count }: { after: string; count: number }
): ArangoStatement {
  const { status, unclaimed } = asked
  const conditions =
    (status === undefined ? '' : 'FILTER p.status == @status ') +
    (unclaimed === undefined ? '' : `FILTER ${isUnclaimed('p')} `)
  return {
    query:
      `FOR p IN @@pipelines ${conditions}LET place = TO_HEX(p._key) FILTER place > @after ` +
      "SORT place LIMIT @count RETURN UNSET(p, 'movies')",
    bindVars: {
      ...PIPELINES,
      ...(status === undefined ? {} : { status }),
      ...(unclaimed ?? {}),
      after: Buffer.from(after).toString('hex'),
      count
    }
  }
}

/**
 * Lays a change over a document, if the condition holds; what is written over items that do not run takes
 * their place. Without `movies`, these are not even read; a list of them is not changed.
 */
export function update(
  key: string,
  change: { fields: object; tasks: object; claims: object; inputs: object },
  condition: UpdateCondition,
  movies?: { patches: readonly MoviePatch[]; replaced: readonly string[] }
): ArangoStatement {
  const found =
    'FOR p IN @@pipelines FILTER p._key == @key ' +
    `FILTER p.${CALL_FIELD} == @call || ((@anyStatus || p.status IN @status) && ` +
    `(@anyTask || ${isUnclaimed('p')})) `
  const changed =
    'MERGE(@fields, ' +
    'LENGTH(@tasks) == 0 ? {} : { tasks: MERGE(IS_OBJECT(p.tasks) ? p.tasks : {}, @tasks) }, ' +
    'LENGTH(@claims) == 0 ? {} : { claims: MERGE(IS_OBJECT(p.claims) ? p.claims : {}, @claims) }, ' +
    'LENGTH(@inputs) == 0 ? {} : { inputs: MERGE(IS_OBJECT(p.inputs) ? p.inputs : {}, @inputs) }'
  const bindVars = { ...PIPELINES, key, ...condition, ...change }
  if (movies === undefined) {
    return {
      query:
        `${found}UPDATE p WITH ${changed}) IN @@pipelines ${WRITING} ` +
        "RETURN { document: UNSET(NEW, 'movies'), before: OLD._rev }",
      bindVars
    }
  }
  return {
    query:
      `${found}FILTER !IS_ARRAY(p.movies) ${THE_MOVIES}${PATCHES}` +
      // Of a repeated change all: which of them were new is not known any more.
      `LET added = (FOR m IN @movies FILTER p.${CALL_FIELD} == @call || !HAS(movies, m.id) ` +
      'RETURN m.id) ' +
      `UPDATE p WITH ${changed}, { movies: MERGE_RECURSIVE(movies, MERGE(patches)) }) ` +
      `IN @@pipelines ${WRITING} ` +
      'LET made = NEW ' +
      'LET removed = (FOR key IN @replaced FOR d IN @@items FILTER d._key == key ' +
      "FILTER d.state != 'running' " +
      'REMOVE d IN @@items OPTIONS { waitForSync: true, ignoreRevs: false } RETURN 1) ' +
      "RETURN { document: UNSET(made, 'movies'), added: added, removed: LENGTH(removed) }",
    bindVars: { ...bindVars, ...ITEMS, movies: movies.patches, replaced: movies.replaced }
  }
}

/** Whether a document is there, and whether its movies are a list; these then too. */
export function moviesList(key: string): ArangoStatement {
  return {
    query:
      'FOR p IN @@pipelines FILTER p._key == @key ' +
      'RETURN { rev: p._rev, list: IS_ARRAY(p.movies) ? p.movies : null }',
    bindVars: { ...PIPELINES, key }
  }
}

/** What a document says of some movies' tasks, in their order. */
export function statuses(key: string, movies: readonly string[]): ArangoStatement {
  return {
    query: 'FOR p IN @@pipelines FILTER p._key == @key FOR m IN @movies RETURN p.movies[m].status',
    bindVars: { ...PIPELINES, key, movies }
  }
}

/** Lays movies over the document of that revision. Gives its new revision. */
export function fold(key: string, rev: string, movies: readonly MoviePatch[]): ArangoStatement {
  return {
    query:
      `FOR p IN @@pipelines FILTER p._key == @key FILTER p._rev == @rev ${THE_MOVIES}${PATCHES}` +
      `UPDATE p WITH { movies: MERGE(patches) } IN @@pipelines ${MERGING} RETURN NEW._rev`,
    bindVars: { ...PIPELINES, key, rev, movies }
  }
}

/**
 * The revision of a document and what is to be folded into it; the document itself and the order of its
 * movies only when it is another than the one of the revision `seen`.
 */
export function head(key: string, seen: string): ArangoStatement {
  return {
    query:
      'FOR p IN @@pipelines FILTER p._key == @key ' +
      "LET orders = (FOR o IN @@items FILTER o.pipeline == @key FILTER o.state == 'order' " +
      'FILTER p._rev != @seen SORT o.at RETURN { at: o.at, movies: o.movies }) ' +
      'LET flagged = (FOR d IN @@items FILTER d.pipeline == @key FILTER d.unfolded == true ' +
      'RETURN { key: d._key, rev: d._rev, task: d.task, movie: d.movie, state: d.state }) ' +
      'RETURN { rev: p._rev, isList: IS_ARRAY(p.movies), ' +
      'document: p._rev == @seen ? null : p, orders: orders, flagged: flagged }',
    bindVars: { ...BOTH, key, seen }
  }
}
