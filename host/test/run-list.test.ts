import t from 'tap'
import { hostError } from '../errors.ts'
import { runList } from '../jobs/run-list.ts'
import type { RunOutcome } from '../runtime/expert-instance.ts'

const ok = (text: string): RunOutcome => ({ ok: true, text, head: null })
/** An item's outcome. */
const item = (text: string) => ({ ok: true, text })
const failed = (message: string): RunOutcome => ({
  ok: false,
  error: { code: 'X', message, statusCode: 500, exposed: true }
})

/** Items that end when the test says so. */
function heldItems() {
  const running: Array<{ body: string; first: boolean; end: (outcome: RunOutcome) => void }> = []
  const runItem = (body: string, first: boolean) =>
    new Promise<RunOutcome>((resolve) => running.push({ body, first, end: resolve }))
  return { running, runItem }
}

const ignore = () => {}

/** The list with nothing answered before. */
const run = (
  options: Pick<Parameters<typeof runList>[0], 'bodies' | 'parallel' | 'runItem'> &
    Partial<Parameters<typeof runList>[0]>
) => runList({ answered: new Map(), onItem: ignore, onProgress: ignore, ...options })

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('answers stand in the order of the list, at most so many run at once', async (t) => {
  const { running, runItem } = heldItems()
  const progress: number[] = []
  const work = run({
    bodies: ['a', 'b', 'c', 'd'],
    parallel: 2,
    runItem,
    onProgress: (fraction) => progress.push(fraction)
  })
  await turn()
  t.strictSame(
    running.map(({ body, first }) => [body, first]),
    [
      ['a', true],
      ['b', false]
    ]
  )
  running[1]?.end(ok('"B"'))
  await turn()
  t.strictSame(
    running.map(({ body }) => body),
    ['a', 'b', 'c']
  )
  running[2]?.end(ok('"C"'))
  await turn()
  running[3]?.end(ok('"D"'))
  running[0]?.end(ok('"A"'))
  t.strictSame(await work, ['"A"', '"B"', '"C"', '"D"'].map(item))
  t.strictSame(progress, [0.25, 0.5, 0.75, 1])
})

t.test('an item that fails has an error of its own in its place', async (t) => {
  const items = await run({
    bodies: ['a', 'b', 'c', 'd'],
    parallel: 2,
    runItem: async (body) => {
      if (body === 'b') return failed('not this one')
      if (body === 'c') throw hostError('HOST_QUEUE_FULL', ['ocr', 3])
      return ok(`"${body}"`)
    }
  })
  t.match(items, [
    item('"a"'),
    { ok: false, error: { code: 'X', message: 'not this one' } },
    {
      ok: false,
      error: {
        code: 'HOST_QUEUE_FULL',
        statusCode: 503,
        message: "Expert 'ocr' has 3 calls waiting and takes no more"
      }
    },
    item('"d"')
  ])
})

t.test('what is answered already is not run again, and counts as done', async (t) => {
  const ran: string[] = []
  const kept: number[] = []
  const progress: number[] = []
  const items = await run({
    bodies: ['a', 'b', 'c', 'd'],
    answered: new Map([
      [0, '"A"'],
      [2, '"C"']
    ]),
    parallel: 4,
    runItem: async (body) => {
      ran.push(body)
      return ok(`"${body} again"`)
    },
    onItem: (place) => kept.push(place),
    onProgress: (fraction) => progress.push(fraction)
  })
  t.strictSame(items, ['"A"', '"b again"', '"C"', '"d again"'].map(item))
  t.strictSame(ran, ['b', 'd'])
  t.strictSame(kept, [1, 3], 'only what is new is kept')
  t.strictSame(progress, [0.75, 1])
})

t.test('a refusal of the first is thrown to the caller, and nothing is run', async (t) => {
  const seen: string[] = []
  const start = () =>
    run({
      bodies: ['a', 'b', 'c'],
      parallel: 3,
      runItem: (body) => {
        seen.push(body)
        throw hostError('HOST_QUEUE_FULL', ['ocr', 3])
      }
    })
  t.throws(start, { code: 'HOST_QUEUE_FULL' })
  await turn()
  t.strictSame(seen, ['a'])
})

t.test('short lists', async (t) => {
  const runItem = async (body: string) => ok(body)
  t.strictSame(await run({ bodies: [], parallel: 4, runItem }), [])
  t.strictSame(await run({ bodies: ['1'], parallel: 4, runItem }), [item('1')])
})
