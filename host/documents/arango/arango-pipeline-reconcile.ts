import { hasSucceeded, moviesIn, noItems, objectOr, shownState } from '../pipeline-documents.ts'
import type { ItemCounts, ItemPlace, ItemState, PlannedTask } from '../pipeline-store.ts'
import type { DocumentFields, StoredDocument } from '../stored-document.ts'
import type { ArangoDocuments } from './arango-documents.ts'
import {
  addItems,
  clearFlags,
  counting,
  itemRows,
  resetItems
} from './arango-pipeline-item-statements.ts'
import {
  type ArangoPipelineItems,
  chunks,
  type FlaggedItem,
  type ItemRow,
  type MovieVerdict
} from './arango-pipeline-items.ts'
import { itemKey, placeOf, placesOf, seqIn } from './arango-pipeline-keys.ts'
import { judge } from './arango-pipeline-plan.ts'
import { fold, head, moviePatches } from './arango-pipeline-statements.ts'

/** A pipeline as it stands before it is reconciled. */
interface Head {
  rev: string
  isList: boolean
  /** Null when it is the one that was seen last. */
  document: StoredDocument | null
  orders: Array<{ at: number; movies: string[] }>
  flagged: FlaggedItem[]
}

/** What an item's end says of a movie, for the document. */
interface End {
  movie: string
  task: string
  state: ItemState
}

/** What is known of the items of a movie. */
interface KnownMovie {
  states: Map<string, ItemState>
  /** Of one of them. */
  place: string
}

const NOTHING = { skipped: [], lost: [] }
const STATES = Object.keys(noItems()) as ItemState[]
const RESET_AT_ONCE = 1000
const MOST_SEEN = 1000

/**
 * Brings the documents of pipelines and their items together.
 *
 * An item that ended is flagged until the document shows it and those that wait for it have heard of it;
 * the flag goes last, so that whoever was ended in between leaves all of it to be done again. The whole
 * document and all items are only read when others have written the document.
 */
export class ArangoPipelineReconcile {
  readonly #documents: ArangoDocuments
  readonly #items: ArangoPipelineItems
  /** Of each pipeline the revision whose movies all have their items, and in which plan. */
  readonly #seen = new Map<string, { rev: string; plan: string }>()

  constructor(documents: ArangoDocuments, items: ArangoPipelineItems) {
    this.#documents = documents
    this.#items = items
  }

  /** `PipelineStore.reconcile` of the pipeline with that key. */
  async reconcile(
    key: string,
    tasks: readonly PlannedTask[],
    { again = false }: { again?: boolean }
  ): Promise<Record<string, ItemCounts> | undefined> {
    if (again) await this.#reset(key, tasks)
    const isThere = await this.#documents.insist(() => this.#attempt(key, tasks))
    return isThere ? this.#count(key, tasks) : undefined
  }

  /** The document changed in what is of no concern for its items. */
  passOver(key: string, before: string, now: string): void {
    const seen = this.#seen.get(key)
    if (seen?.rev === before) seen.rev = now
  }

  /** @returns whether there is such a pipeline; undefined when another wrote it meanwhile */
  async #attempt(key: string, tasks: readonly PlannedTask[]): Promise<boolean | undefined> {
    const plan = JSON.stringify(tasks.map(({ task, dependsOn }) => [task, dependsOn]))
    const seen = this.#seen.get(key)
    const [found] = await this.#documents.query<Head>(
      head(key, seen?.plan === plan ? seen.rev : '')
    )
    if (found === undefined) return false
    // Of a list no statement can see what is said of a movie.
    if (found.isList) {
      await this.#items.unlist(key)
      return this.#attempt(key, tasks)
    }
    const { document, flagged } = found
    await this.#takeFlaggedDone(key, flagged)
    const filled = document === null ? NOTHING : await this.#fill(key, tasks, found, document)
    const skipped = [...filled.skipped, ...(await this.#items.settle(key, flagged, tasks))]
    const ends = [...filled.lost, ...flagged, ...skipped]
    const rev = await this.#fold(key, found.rev, ends)
    if (rev === undefined) return undefined
    this.#remember(key, { rev, plan })
    for (const part of chunks([...flagged, ...skipped])) {
      const folded = part.map(({ key, rev }) => ({ key, rev }))
      await this.#documents.change(clearFlags(folded))
    }
    return true
  }

  /** What was given back may have been done elsewhere while it ran. */
  async #takeFlaggedDone(key: string, flagged: readonly FlaggedItem[]): Promise<void> {
    const waiting = flagged.filter(({ state }) => state === 'ready' || state === 'blocked')
    if (waiting.length === 0) return
    const movies = [...new Set(waiting.map(({ movie }) => movie))]
    const said = await this.#items.statuses(key, movies)
    const done = waiting.filter(({ movie, task }) =>
      hasSucceeded({ status: said.get(movie) }, task)
    )
    await this.#items.takeDone(done.map(({ movie, task }) => ({ pipeline: key, movie, task })))
  }

  /**
   * Makes the items that are missing, and sees what others wrote.
   * @returns what was skipped with it, and ends that the document had lost, when others wrote it from what
   * they had read before
   */
  async #fill(
    key: string,
    tasks: readonly PlannedTask[],
    { orders }: Head,
    document: StoredDocument
  ): Promise<{ skipped: FlaggedItem[]; lost: End[] }> {
    const rows = await this.#documents.query<ItemRow>(itemRows(key))
    const known = new Map<string, KnownMovie>()
    for (const [movie, task, state, place] of rows) {
      const ofMovie = known.get(movie) ?? { states: new Map(), place }
      known.set(movie, ofMovie)
      ofMovie.states.set(task, state)
    }
    const movies = moviesIn(document['movies'])
    const seqOf = numbering(orders, known)
    const done: ItemPlace[] = []
    const made: object[] = []
    const verdicts: MovieVerdict[] = []
    const lost: End[] = []
    for (const [movie, entry] of movies) {
      const seq = seqOf(movie)
      const states = known.get(movie)?.states ?? new Map<string, ItemState>()
      const isDone = (task: string) => hasSucceeded(entry, task)
      const added = tasks.filter(({ task }) => !states.has(task) && !isDone(task))
      for (const { task } of added) states.set(task, 'blocked')
      for (const { task } of tasks) {
        const state = states.get(task)
        if ((state !== 'ready' && state !== 'blocked') || !isDone(task)) continue
        states.set(task, 'success')
        done.push({ pipeline: key, movie, task })
      }
      const judged = judge(tasks, states, isDone)
      for (const { task } of added) {
        const item = { pipeline: key, task, movie }
        // What is skipped becomes so by the verdict, like what was there before.
        const state = states.get(task) === 'ready' ? 'ready' : 'blocked'
        made.push({ _key: itemKey(item), task, movie, place: placeOf(item, seq), state })
      }
      const isMadeReady = new Set(added.map(({ task }) => task))
      for (const verdict of judged) {
        if (verdict.state === 'ready' && isMadeReady.has(verdict.task)) continue
        verdicts.push({ ...verdict, movie })
      }
      const status = new Map(Object.entries(objectOr(entry['status'])))
      for (const [task, state] of states) {
        const word = shownState(state)
        const isEnd = word !== undefined && state !== 'running'
        if (isEnd && status.get(task) !== word) lost.push({ movie, task, state })
      }
    }
    await this.#items.takeDone(done)
    for (const part of chunks(made)) await this.#documents.change(addItems(key, part))
    return { skipped: await this.#items.apply(key, verdicts), lost }
  }

  /** Lays ends over the document. @returns its revision then; undefined when it is another by now */
  async #fold(key: string, rev: string, ends: readonly End[]): Promise<string | undefined> {
    const patches = new Map<string, DocumentFields>()
    for (const { movie, task, state } of ends) {
      const word = shownState(state)
      if (word === undefined || state === 'running') continue
      const patch = patches.get(movie) ?? { status: {} }
      patches.set(movie, { status: { ...(patch['status'] as object), [task]: word } })
    }
    if (patches.size === 0) return rev
    const statement = fold(key, rev, moviePatches(patches))
    const [now] = (await this.#documents.change<string>(statement)) ?? []
    return now
  }

  async #reset(key: string, tasks: readonly PlannedTask[]): Promise<void> {
    for (const { task } of tasks) {
      const statement = resetItems(key, placesOf(task), RESET_AT_ONCE)
      let count: number
      do count = (await this.#documents.change(statement))?.length ?? 0
      while (count === RESET_AT_ONCE)
    }
  }

  async #count(key: string, tasks: readonly PlannedTask[]): Promise<Record<string, ItemCounts>> {
    const counts = new Map<string, ItemCounts>(tasks.map(({ task }) => [task, noItems()]))
    const places = tasks.map(({ task }) => ({ task, ...placesOf(task) }))
    const rows = await this.#documents.query<[string, ItemState, number]>(
      counting(key, places, STATES)
    )
    for (const [task, state, count] of rows) {
      const ofTask = counts.get(task)
      if (ofTask !== undefined) ofTask[state] = count
    }
    return Object.fromEntries(counts)
  }

  /** Of the many pipelines of a long life, the latest. */
  #remember(key: string, seen: { rev: string; plan: string }): void {
    this.#seen.delete(key)
    this.#seen.set(key, seen)
    const [oldest] = this.#seen.keys()
    if (this.#seen.size > MOST_SEEN && oldest !== undefined) this.#seen.delete(oldest)
  }
}

/** Gives the number by which a movie stands in its pipeline: one that is new stands behind all others. */
function numbering(
  orders: Head['orders'],
  known: ReadonlyMap<string, KnownMovie>
): (movie: string) => number {
  const numbers = new Map<string, number>()
  for (const { at, movies } of orders) {
    for (const [place, movie] of movies.entries()) {
      if (!numbers.has(movie)) numbers.set(movie, at + place)
    }
  }
  for (const [movie, { place }] of known) numbers.set(movie, seqIn(place))
  let last = -1
  for (const number of numbers.values()) last = Math.max(last, number)
  return (movie) => numbers.get(movie) ?? ++last
}
