import t from 'tap'
import type { Dispatch } from '../jobs/dispatch.ts'

/** What every driver of `Dispatch` promises. `make` gives an empty one. */
export function dispatchContract(
  driver: string,
  make: () => Promise<{ dispatch: Dispatch; close: () => Promise<void> }>
): void {
  const prepare = async () => {
    const { dispatch, close } = await make()
    t.teardown(close)
    const push = async (...entries: Array<[expert: string, id: string, priority?: number]>) => {
      for (const [expert, id, priority = 0] of entries) await dispatch.push(expert, id, priority)
    }
    const claim = async (expert: string, limit: number) =>
      (await dispatch.claim(expert, limit)).map((claim) => claim.jobId)
    return { dispatch, push, claim }
  }

  t.test(`${driver}: first come, first served; higher priorities first`, async (t) => {
    const { dispatch, push, claim } = await prepare()
    await push(['ocr', 'a'], ['ocr', 'b', 5], ['ocr', 'c'], ['ocr', 'd', 5], ['ocr', 'e', -1])
    t.equal(await dispatch.waiting(), 5)
    t.strictSame(await claim('ocr', 3), ['b', 'd', 'a'])
    t.equal(await dispatch.waiting(), 2)
    t.strictSame(await claim('ocr', 10), ['c', 'e'])
    t.strictSame(await claim('ocr', 10), [])
    t.equal(await dispatch.waiting(), 0)
  })

  t.test(`${driver}: each expert has a line of its own`, async (t) => {
    const { dispatch, push, claim } = await prepare()
    await push(['ocr', 'a'], ['signs', 'b'], ['ocr', 'c'])
    t.strictSame(await dispatch.claim('signs', 10), [{ jobId: 'b', expert: 'signs' }])
    t.strictSame(await claim('nobody', 10), [])
    t.equal(await dispatch.waiting(), 2)
    t.strictSame(await claim('ocr', 10), ['a', 'c'])
  })

  t.test(`${driver}: each job is claimed once, however many claim at once`, async (t) => {
    const { push, claim } = await prepare()
    const ids = Array.from({ length: 100 }, (_, i) => `job-${i}`)
    await push(...ids.map((id): [string, string] => ['ocr', id]))
    const claims = await Promise.all(Array.from({ length: 30 }, () => claim('ocr', 7)))
    t.strictSame(claims.flat().sort(), [...ids].sort())
    t.ok(claims.every((list) => list.length <= 7))
  })

  t.test(`${driver}: a job that waits can be dropped, once; a claimed one cannot`, async (t) => {
    const { dispatch, push, claim } = await prepare()
    await push(['ocr', 'a'], ['ocr', 'b'], ['signs', 'c'])
    t.equal(await dispatch.drop('b'), true)
    t.equal(await dispatch.drop('b'), false)
    t.equal(await dispatch.drop('never'), false)
    t.equal(await dispatch.waiting(), 2)
    t.strictSame(await claim('ocr', 10), ['a'])
    t.equal(await dispatch.drop('a'), false)
    await dispatch.done({ jobId: 'a', expert: 'ocr' })
    t.equal(await dispatch.waiting(), 1)
    t.strictSame(await claim('ocr', 10), [], 'what has ended does not come again')
    await push(['ocr', 'b'])
    t.strictSame(await claim('ocr', 10), ['b'], 'what was dropped may be put in line again')
  })
}
