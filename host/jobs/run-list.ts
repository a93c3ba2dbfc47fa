import type { RunOutcome } from '../runtime/expert-instance.ts'
import type { WireError } from '../runtime/messages.ts'

/** How one item ended. */
export type ItemOutcome = { ok: true; text: string } | { ok: false; error: WireError }

/**
 * Runs a list item by item, `parallel` at once. An item that fails has an error of its own in its
 * place and takes nothing from the others. Those that are `answered` already are not run.
 */
export function runList(options: {
  bodies: string[]
  answered: Map<number, string>
  parallel: number
  /** `first` is true for the item by which the list asks to be admitted; only that may throw. */
  runItem: (body: string, first: boolean) => Promise<RunOutcome>
  onItem: (place: number, item: ItemOutcome) => void
  onProgress: (fraction: number) => void
}): Promise<ItemOutcome[]> {
  const { bodies, answered, runItem, onItem, onProgress } = options
  const items: ItemOutcome[] = new Array(bodies.length)
  const open: number[] = []
  for (const place of bodies.keys()) {
    const text = answered.get(place)
    if (text === undefined) open.push(place)
    else items[place] = { ok: true, text }
  }
  let finished = bodies.length - open.length
  const run = async (place: number, work: Promise<RunOutcome>) => {
    const item = await itemOf(work)
    items[place] = item
    finished += 1
    onItem(place, item)
    onProgress(finished / bodies.length)
  }
  const work = async (before: Promise<void>) => {
    await before
    for (let place = open.shift(); place !== undefined; place = open.shift()) {
      await run(place, begin(runItem, bodies[place] as string))
    }
  }
  // Begun in this very call, so that a refusal of the list is thrown to its caller.
  const place = open.shift()
  const first =
    place === undefined ? Promise.resolve() : run(place, runItem(bodies[place] as string, true))
  const others = Array.from({ length: options.parallel - 1 }, () => work(Promise.resolve()))
  return Promise.all([work(first), ...others]).then(() => items)
}

async function begin(
  runItem: (body: string, first: boolean) => Promise<RunOutcome>,
  body: string
): Promise<RunOutcome> {
  return runItem(body, false)
}

async function itemOf(work: Promise<RunOutcome>): Promise<ItemOutcome> {
  const outcome = await work.catch((error: Error): RunOutcome => {
    const { code = 'HOST_INTERNAL', statusCode = 500 } = error as {
      code?: string
      statusCode?: number
    }
    return { ok: false, error: { code, message: error.message, statusCode, exposed: true } }
  })
  return outcome.ok ? { ok: true, text: outcome.text } : outcome
}
