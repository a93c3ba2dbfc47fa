import t from 'tap'
import { hostError } from '../errors.ts'
import { runList } from '../jobs/run-list.ts'
import type { RunOutcome } from '../runtime/expert-instance.ts'

const ok = (text: string): RunOutcome => ({ ok: true, text, head: null })
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

const turn = () => new Promise((resolve) => setImmediate(resolve))
const ignore = () => {}

t.test('answers stand in the order of the list, at most so many run at once', async (t) => {
  const { running, runItem } = heldItems()
  const progress: number[] = []
  const work = runList({
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
  t.strictSame(await work, ok('["A","B","C","D"]'))
  t.strictSame(progress, [0.25, 0.5, 0.75, 1])
})

t.test('an item that fails has an error of its own in its place', async (t) => {
  const outcome = await runList({
    bodies: ['a', 'b', 'c', 'd'],
    parallel: 2,
    runItem: async (body) => {
      if (body === 'b') return failed('not this one')
      if (body === 'c') throw hostError('HOST_QUEUE_FULL', ['ocr', 3])
      return ok(`"${body}"`)
    },
    onProgress: ignore
  })
  if (!outcome.ok) throw new Error(outcome.error.message)
  t.strictSame(JSON.parse(outcome.text), [
    'a',
    { result: null, error: 'not this one', code: 'X' },
    {
      result: null,
      error: "Expert 'ocr' has 3 calls waiting and takes no more",
      code: 'HOST_QUEUE_FULL'
    },
    'd'
  ])
})

t.test('a refusal of the first is thrown to the caller, and nothing is run', async (t) => {
  const seen: string[] = []
  const start = () =>
    runList({
      bodies: ['a', 'b', 'c'],
      parallel: 3,
      runItem: (body) => {
        seen.push(body)
        throw hostError('HOST_QUEUE_FULL', ['ocr', 3])
      },
      onProgress: ignore
    })
  t.throws(start, { code: 'HOST_QUEUE_FULL' })
  await turn()
  t.strictSame(seen, ['a'])
})

t.test('short lists', async (t) => {
  const runItem = async (body: string) => ok(body)
  t.strictSame(await runList({ bodies: [], parallel: 4, runItem, onProgress: ignore }), ok('[]'))
  t.strictSame(
    await runList({ bodies: ['1'], parallel: 4, runItem, onProgress: ignore }),
    ok('[1]')
  )
})
