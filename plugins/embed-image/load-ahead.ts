/** What became of one load. */
export type Loaded<T> = { ok: true; value: T } | { ok: false; error: unknown }

/**
 * Loads things while those before them are worked on.
 *
 * @param count - loads 0 to `count - 1`
 * @param ahead - how many are begun before they are asked for
 * @returns what became of each, in order; one that fails takes nothing from the others
 */
export async function* loadAhead<T>(
  count: number,
  ahead: number,
  load: (place: number) => Promise<T>
): AsyncGenerator<Loaded<T>, void> {
  const begun: Array<Promise<Loaded<T>>> = []
  let next = 0
  while (next < count || begun.length > 0) {
    while (next < count && begun.length <= ahead) {
      begun.push(outcomeOf(load(next)))
      next += 1
    }
    yield await begun.shift()!
  }
}

function outcomeOf<T>(work: Promise<T>): Promise<Loaded<T>> {
  return work.then(
    (value) => ({ ok: true, value }),
    (error) => ({ ok: false, error })
  )
}
