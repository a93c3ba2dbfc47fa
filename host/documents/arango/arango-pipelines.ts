import { HostError, hostError } from '../../errors.ts'
import { keyIn } from '../document-key.ts'
import { pageOf, pageStart } from '../page.ts'
import {
  checkedChange,
  checkPlan,
  moviesIn,
  newPipeline,
  tasksWithStatus,
  withStates
} from '../pipeline-documents.ts'
import type {
  ItemChange,
  ItemQuery,
  ItemState,
  PipelineChange,
  PipelineCondition,
  PipelineItem,
  PipelineQuery,
  PipelineStore,
  PlannedTask
} from '../pipeline-store.ts'
import { collectionNames, type DocumentFields, type StoredDocument } from '../stored-document.ts'
import type { ArangoDocuments } from './arango-documents.ts'
import { itemListing } from './arango-pipeline-item-statements.ts'
import { ArangoPipelineItems } from './arango-pipeline-items.ts'
import { callId, isPlace, itemKey, NUL, orderKey, placesOf } from './arango-pipeline-keys.ts'
import { ArangoPipelineReconcile } from './arango-pipeline-reconcile.ts'
import { ArangoPipelineRecords } from './arango-pipeline-records.ts'
import {
  bareDocument,
  CALL_FIELD,
  creation,
  creator,
  moviePatches,
  noteOrder,
  pipelineListing,
  update,
  wholeDocument
} from './arango-pipeline-statements.ts'

const COLLECTION = collectionNames.pipelines
/** Movies that are added to an order later stand behind those of the document as it was created. */
const NUMBERS_A_MS = 1000

/**
 * Pipelines in ArangoDB, whose documents other tools read and write meanwhile. Every statement is either
 * done whole or not at all, and can be repeated.
 */
export class ArangoPipelines implements PipelineStore {
  readonly #documents: ArangoDocuments
  readonly #items: ArangoPipelineItems
  readonly #records: ArangoPipelineRecords
  readonly #reconciler: ArangoPipelineReconcile

  constructor(documents: ArangoDocuments, now: () => number) {
    this.#documents = documents
    this.#items = new ArangoPipelineItems(documents)
    this.#records = new ArangoPipelineRecords(documents, this.#items, now)
    this.#reconciler = new ArangoPipelineReconcile(documents, this.#items)
  }

  async create(document: DocumentFields): Promise<StoredDocument> {
    const { key, fields, movies } = newPipeline(document)
    const created = callId()
    const order = { at: 0, movies: [...movies.keys()], created }
    const rows = await this.#documents.change<StoredDocument>(
      creation(
        { ...fields, movies: Object.fromEntries(movies), _key: key },
        { ...order, _key: orderKey(key), pipeline: key, state: 'order' }
      )
    )
    if (rows?.[0] !== undefined) return shown(rows[0])
    // Perhaps by this very call, whose answer was lost.
    const [by] = await this.#documents.query<string>(creator(orderKey(key)))
    const found = by === created ? await this.get(key, { movies: false }) : undefined
    if (found === undefined) throw hostError('HOST_DOCUMENT_EXISTS', [`${COLLECTION}/${key}`])
    return found
  }

  async get(
    id: string,
    { movies = true }: { movies?: boolean } = {}
  ): Promise<StoredDocument | undefined> {
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    if (!movies) {
      const [found] = await this.#documents.query<StoredDocument>(bareDocument(key))
      return found === undefined ? undefined : shown(found)
    }
    const [found] = await this.#documents.query<{
      document: StoredDocument
      orders: string[][]
      states: Array<[string, string, ItemState]>
    }>(wholeDocument(key))
    return found === undefined ? undefined : projected(found)
  }

  async list(query: PipelineQuery) {
    const statement = pipelineListing(query, pageStart(query))
    const found = await this.#documents.query<StoredDocument>(statement)
    return pageOf(found.map(shown), query)
  }

  async update(
    id: string,
    change: PipelineChange,
    condition: PipelineCondition = {}
  ): Promise<StoredDocument | undefined | null> {
    const { movies, ...parts } = checkedChange(change)
    const key = keyIn(COLLECTION, id)
    if (key === undefined) return undefined
    const when = conditionOf(condition)
    // By it a change is known whose answer was lost: its condition does not hold any more then, and its
    // movies are not new any more.
    const isMarked = !when.anyStatus || !when.anyTask || movies.size > 0
    const mark = isMarked ? { [CALL_FIELD]: when.call } : {}
    const changed = { ...parts, fields: { ...parts.fields, ...mark } }
    const laid = movies.size === 0 ? undefined : laidOver(key, movies)
    const { document } = await this.#documents.insist(async () => {
      const rows = await this.#documents.change<Updated>(update(key, changed, when, laid))
      const written = rows?.[0]
      if (written !== undefined) {
        await this.#follow(key, written)
        return { document: shown(written.document) }
      }
      if (laid === undefined) {
        return {
          document: (await this.get(key, { movies: false })) === undefined ? undefined : null
        }
      }
      const found = await this.#items.unlist(key)
      if (found === undefined) return { document: undefined }
      return found.isList ? undefined : { document: null }
    })
    return document
  }

  async reconcile(id: string, tasks: readonly PlannedTask[], options: { again?: boolean } = {}) {
    checkPlan(tasks)
    const key = keyIn(COLLECTION, id)
    return key === undefined ? undefined : this.#reconciler.reconcile(key, tasks, options)
  }

  async claim(pipeline: string, task: string, options: { owner: string; limit: number }) {
    const key = keyIn(COLLECTION, pipeline)
    return key === undefined ? [] : this.#records.claim(key, task, options)
  }

  async record(changes: readonly ItemChange[], tasks: readonly PlannedTask[]): Promise<boolean[]> {
    checkPlan(tasks)
    return this.#records.record(changes, tasks)
  }

  async items(query: ItemQuery) {
    const { cursor = '' } = query
    if (cursor !== '' && !isPlace(cursor)) {
      throw hostError('HOST_DOCUMENT_INVALID', [
        `cursor is ${JSON.stringify(cursor).slice(0, 300)}, not the next of a page`
      ])
    }
    const { count } = pageStart({ limit: query.limit })
    const key = keyIn(COLLECTION, query.pipeline)
    if (key === undefined || query.task?.includes(NUL)) return { items: [], next: undefined }
    const { from, to } = placesOf(query.task)
    const page = { after: cursor > from ? cursor : from, to, count }
    const found = await this.#documents.query<StoredItem>(itemListing(key, query.state, page))
    const rows = found.slice(0, count - 1)
    const next = found.length > rows.length ? rows.at(-1)?.place : undefined
    return { items: rows.map(itemOf), next }
  }

  /** What a change of the document asks of what else is kept of it. */
  async #follow(key: string, { document, before, added }: Updated): Promise<void> {
    if (before !== undefined) this.#reconciler.passOver(key, before, document._rev)
    if (added === undefined || added.length === 0) return
    const at = Date.now() * NUMBERS_A_MS
    const order = { _key: callId(), pipeline: key, state: 'order', at, movies: added }
    try {
      await this.#documents.change(noteOrder(order))
    } catch (error) {
      // The change is made; without it they stand as the server gives them.
      if (!(error instanceof HostError)) throw error
    }
  }
}

/** What the statement of an update gives: without movies the revision before, else which may be new. */
interface Updated {
  document: StoredDocument
  before?: string
  added?: string[]
}

type StoredItem = PipelineItem & { place: string }

function conditionOf({ status, unclaimed }: PipelineCondition) {
  return {
    call: callId(),
    anyStatus: status === undefined,
    status: status ?? [],
    anyTask: unclaimed === undefined,
    task: unclaimed?.task ?? '',
    now: unclaimed?.now ?? 0
  }
}

function laidOver(pipeline: string, movies: ReadonlyMap<string, DocumentFields>) {
  const replaced = [...movies].flatMap(([movie, patch]) =>
    tasksWithStatus(patch).map((task) => itemKey({ pipeline, task, movie }))
  )
  return { patches: moviePatches(movies), replaced }
}

/** A document without what is nobody's business. */
function shown(document: StoredDocument): StoredDocument {
  const { [CALL_FIELD]: _call, ...fields } = document
  return fields as StoredDocument
}

/** A document with its movies in their order, and the states of their items in each. */
function projected({
  document,
  orders,
  states
}: {
  document: StoredDocument
  orders: string[][]
  states: Array<[string, string, ItemState]>
}): StoredDocument {
  const movies = moviesIn(document['movies'])
  const ordered = new Map<string, DocumentFields>()
  for (const id of [...orders.flat(), ...movies.keys()]) {
    const entry = movies.get(id)
    if (entry !== undefined) ordered.set(id, entry)
  }
  for (const [movie, task, state] of states) {
    const entry = ordered.get(movie)
    if (entry !== undefined) ordered.set(movie, withStates(entry, [[task, state]]))
  }
  return { ...shown(document), movies: Object.fromEntries(ordered) }
}

function itemOf(item: StoredItem): PipelineItem {
  const { pipeline, task, movie, state, attempts } = item
  const { expert, expert_version = null, model_sha256 = null, extra_params = null } = item
  const ran = { expert, expert_version, model_sha256, extra_params }
  return {
    ...{ pipeline, task, movie, state, attempts },
    error: item.error ?? null,
    started_at: item.started_at ?? null,
    finished_at: item.finished_at ?? null,
    ...(typeof expert === 'string' ? ran : {})
  }
}
