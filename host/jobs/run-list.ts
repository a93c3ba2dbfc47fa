import type { RunOutcome } from '../runtime/expert-instance.ts'

/**
 * Runs a list item by item, `parallel` at once. An item that fails has an error of its own in its
 * place and takes nothing from the others.
 */
export function runList(options: {
  bodies: string[]
  parallel: number
  /** `first` is true for the item by which the list asks to be admitted; only that may throw. */
  runItem: (body: string, first: boolean) => Promise<RunOutcome>
  onProgress: (fraction: number) => void
}): Promise<RunOutcome> {
  const { bodies, runItem, onProgress } = options
  const answers: string[] = new Array(bodies.length)
  let next = 0
  let finished = 0
  const run = async (place: number, outcome: Promise<RunOutcome>) => {
    answers[place] = await answerOf(outcome)
    finished += 1
    onProgress(finished / bodies.length)
  }
  const work = async (before: Promise<void>) => {
    await before
    while (next < bodies.length) {
      const place = next++
      await run(place, begin(runItem, bodies[place] as string))
    }
  }
  // Begun in this very call, so that a refusal of the list is thrown to its caller.
  const first =
    bodies.length === 0 ? Promise.resolve() : run(next++, runItem(bodies[0] as string, true))
  const others = Array.from({ length: options.parallel - 1 }, () => work(Promise.resolve()))
  return Promise.all([work(first), ...others]).then(() => ({
    ok: true,
    text: `[${answers.join(',')}]`,
    head: null
  }))
}

async function begin(
  runItem: (body: string, first: boolean) => Promise<RunOutcome>,
  body: string
): Promise<RunOutcome> {
  return runItem(body, false)
}

async function answerOf(work: Promise<RunOutcome>): Promise<string> {
  const outcome = await work.catch((error: Error): RunOutcome => {
    const { code = 'HOST_INTERNAL', statusCode = 500 } = error as {
      code?: string
      statusCode?: number
    }
    return { ok: false, error: { code, message: error.message, statusCode, exposed: true } }
  })
  return outcome.ok
    ? outcome.text
    : JSON.stringify({ result: null, error: outcome.error.message, code: outcome.error.code })
}
