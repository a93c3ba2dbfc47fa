import { hasSucceeded, moviesIn } from '../pipeline-documents.ts'
import type { ItemPlace, ItemState, PlannedTask } from '../pipeline-store.ts'
import type { ArangoDocuments } from './arango-documents.ts'
import { itemsOfKeys, openItems, takeDone } from './arango-pipeline-item-statements.ts'
import { itemKey } from './arango-pipeline-keys.ts'
import { dependents, judge, type Verdict } from './arango-pipeline-plan.ts'
import { fold, moviePatches, moviesList, statuses } from './arango-pipeline-statements.ts'

/** Movie, task, state and place, as the statements give them. */
export type ItemRow = [string, string, ItemState, string]

/** An item of which the document does not show how it ended, or that is to be looked at again. */
export interface FlaggedItem {
  key: string
  rev: string
  task: string
  movie: string
  state: ItemState
}

/** What becomes of a blocked item of a movie. */
export type MovieVerdict = Verdict & { movie: string }

const CHUNK = 1000

/** Parts of a list that one statement takes. */
export function* chunks<T>(list: readonly T[]): Generator<T[]> {
  for (let start = 0; start < list.length; start += CHUNK) yield list.slice(start, start + CHUNK)
}

/** What items say to each other, as far as they are documents in ArangoDB. */
export class ArangoPipelineItems {
  readonly #documents: ArangoDocuments

  constructor(documents: ArangoDocuments) {
    this.#documents = documents
  }

  /**
   * Lets items go on, or skips them, that wait for what has ended. All of it can be done again, by whoever:
   * only what is still blocked is changed.
   *
   * @param touched - what has ended, or is to be looked at itself
   * @returns what was skipped
   */
  async settle(
    pipeline: string,
    touched: ReadonlyArray<{ task: string; movie: string }>,
    tasks: readonly PlannedTask[]
  ): Promise<FlaggedItem[]> {
    const keys = new Set<string>()
    const looked = new Map<string, PlannedTask[]>()
    for (const [movie, names] of byMovie(touched)) {
      const waiting = dependents(tasks, names)
      const ofMovie = tasks.filter(({ task }) => names.has(task) || waiting.has(task))
      looked.set(movie, ofMovie)
      for (const { task, dependsOn } of ofMovie) {
        // Nothing but a new begin blocks it.
        if (dependsOn.length === 0 && !names.has(task)) continue
        for (const name of [task, ...dependsOn]) keys.add(itemKey({ pipeline, task: name, movie }))
      }
    }
    const known = new Map<string, Map<string, ItemState>>()
    for (const part of chunks([...keys])) {
      const rows = await this.#documents.query<ItemRow>(itemsOfKeys(part))
      for (const [movie, task, state] of rows) {
        const states = known.get(movie) ?? new Map()
        known.set(movie, states.set(task, state))
      }
    }
    const outside = [...known].filter(([movie, states]) =>
      waitsOutside(looked.get(movie) as PlannedTask[], states)
    )
    const movies = outside.map(([movie]) => movie)
    const said = await this.statuses(pipeline, movies)
    const verdicts = [...known].flatMap(([movie, states]) => {
      const says = (task: string) => hasSucceeded({ status: said.get(movie) }, task)
      const judged = judge(looked.get(movie) as PlannedTask[], states, says)
      return judged.map((verdict) => ({ ...verdict, movie }))
    })
    return this.apply(pipeline, verdicts)
  }

  /** @returns what was skipped */
  async apply(pipeline: string, verdicts: readonly MovieVerdict[]): Promise<FlaggedItem[]> {
    const skipped: FlaggedItem[] = []
    for (const part of chunks(verdicts)) {
      const changes = part.map(({ task, movie, state }) => ({
        key: itemKey({ pipeline, task, movie }),
        patch: { state, unfolded: state === 'skipped' }
      }))
      skipped.push(...((await this.#documents.change<FlaggedItem>(openItems(changes))) ?? []))
    }
    return skipped
  }

  /** Ends waiting items of which the document says that they are done. */
  async takeDone(places: readonly ItemPlace[]): Promise<void> {
    for (const part of chunks(places)) await this.#documents.change(takeDone(part.map(itemKey)))
  }

  /** Makes an object of a document's movies that are a list. @returns undefined without a document */
  async unlist(pipeline: string): Promise<{ isList: boolean } | undefined> {
    const [found] = await this.#documents.query<{ rev: string; list: unknown }>(
      moviesList(pipeline)
    )
    if (found === undefined) return undefined
    const isList = found.list !== null
    const movies = moviePatches(moviesIn(found.list))
    // Not when others wrote it meanwhile: then it may be none any more.
    if (isList) await this.#documents.change(fold(pipeline, found.rev, movies))
    return { isList }
  }

  /** What the document says of these movies' tasks. */
  async statuses(pipeline: string, movies: readonly string[]): Promise<Map<string, unknown>> {
    const said = new Map<string, unknown>()
    for (const part of chunks(movies)) {
      const found = await this.#documents.query<unknown>(statuses(pipeline, part))
      for (const [place, movie] of part.entries()) said.set(movie, found[place])
    }
    return said
  }
}

function byMovie(
  touched: ReadonlyArray<{ task: string; movie: string }>
): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>()
  for (const { task, movie } of touched) {
    const ofMovie = names.get(movie)
    if (ofMovie === undefined) names.set(movie, new Set([task]))
    else ofMovie.add(task)
  }
  return names
}

/** Whether only the document can say if something that is waited for has ended. */
function waitsOutside(
  tasks: readonly PlannedTask[],
  states: ReadonlyMap<string, ItemState>
): boolean {
  return tasks.some(({ task, dependsOn }) => {
    return states.get(task) === 'blocked' && dependsOn.some((other) => !states.has(other))
  })
}
