import t, { type Test } from 'tap'
import { type Claim, type Dispatch, LEASE_MS, type Place } from '../jobs/dispatch.ts'

/** What every driver of `Dispatch` promises. `make` gives an empty one, to which `now` tells the time. */
export function dispatchContract(
  driver: string,
  make: (now: () => number) => Promise<{ dispatch: Dispatch; close: () => Promise<void> }>
): void {
  const prepare = async (t: Test) => {
    const clock = { now: 1_000_000 }
    const { dispatch, close } = await make(() => clock.now)
    t.teardown(close)
    const push = async (
      ...entries: Array<[expert: string, id: string, place?: Partial<Place>]>
    ) => {
      for (const [expert, id, place] of entries) {
        await dispatch.push(expert, id, { priority: 0, ...place })
      }
    }
    const claim = async (expert: string, limit: number) =>
      (await dispatch.claim(expert, limit)).map((claim) => claim.jobId)
    const claimOne = async (expert: string) => (await dispatch.claim(expert, 1))[0] as Claim
    const waiting = async () => Object.fromEntries(await dispatch.waiting())
    return { dispatch, clock, push, claim, claimOne, waiting }
  }

  t.test(`${driver}: first come, first served; higher priorities first`, async (t) => {
    const { push, claim, waiting } = await prepare(t)
    await push(['ocr', 'a'], ['ocr', 'b', { priority: 5 }], ['ocr', 'c'])
    await push(['ocr', 'd', { priority: 5 }], ['ocr', 'e', { priority: -1 }])
    t.strictSame(await waiting(), { ocr: 5 })
    t.strictSame(await claim('ocr', 3), ['b', 'd', 'a'])
    t.strictSame(await waiting(), { ocr: 2 })
    t.strictSame(await claim('ocr', 0), [])
    t.strictSame(await claim('ocr', 10), ['c', 'e'])
    t.strictSame(await claim('ocr', 10), [])
    t.strictSame(await waiting(), {})
  })

  t.test(`${driver}: each expert has a line of its own`, async (t) => {
    const { dispatch, push, claim, waiting } = await prepare(t)
    await push(['ocr', 'a'], ['signs', 'b'], ['ocr', 'c'])
    t.strictSame(await waiting(), { ocr: 2, signs: 1 })
    const [first, ...more] = await dispatch.claim('signs', 10)
    t.match(first, { jobId: 'b', expert: 'signs', alone: false })
    t.strictSame(more, [])
    t.strictSame(await claim('nobody', 10), [])
    t.strictSame(await waiting(), { ocr: 2 })
    t.strictSame(await claim('ocr', 10), ['a', 'c'])
  })

  t.test(`${driver}: each job is claimed once, however many claim at once`, async (t) => {
    const { push, claim } = await prepare(t)
    const ids = Array.from({ length: 100 }, (_, i) => `job-${i}`)
    await push(...ids.map((id): [string, string] => ['ocr', id]))
    const claims = await Promise.all(Array.from({ length: 30 }, () => claim('ocr', 7)))
    t.strictSame(claims.flat().sort(), [...ids].sort())
    t.ok(claims.every((list) => list.length <= 7))
  })

  t.test(`${driver}: a job stands in line once`, async (t) => {
    const { dispatch, push, claim, claimOne, waiting } = await prepare(t)
    await push(['ocr', 'a'], ['ocr', 'b'], ['ocr', 'a', { priority: 9 }], ['signs', 'a'])
    t.strictSame(await waiting(), { ocr: 2 })
    const held = await claimOne('ocr')
    t.equal(held.jobId, 'a')
    await push(['ocr', 'a'])
    t.strictSame(await claim('ocr', 10), ['b'], 'nor while it is claimed')
    await dispatch.done(held)
    await push(['ocr', 'a'])
    t.strictSame(await claim('ocr', 10), ['a'], 'but when it has ended')
  })

  t.test(`${driver}: a job can be dropped once, waiting or claimed`, async (t) => {
    const { dispatch, push, claim, claimOne, waiting } = await prepare(t)
    await push(['ocr', 'a'], ['ocr', 'b'], ['signs', 'c'])
    t.equal(await dispatch.drop('b'), true)
    t.equal(await dispatch.drop('b'), false)
    t.equal(await dispatch.drop('never'), false)
    t.equal(await dispatch.drop('a\0'), false)
    t.strictSame(await waiting(), { ocr: 1, signs: 1 })
    const held = await claimOne('ocr')
    t.equal(held.jobId, 'a')
    t.equal(await dispatch.drop('a'), true)
    t.equal(await dispatch.drop('a'), false)
    t.strictSame(await dispatch.renew([held]), [held])
    await dispatch.release(held, { priority: 0 })
    t.strictSame(await waiting(), { signs: 1 })
    t.strictSame(await claim('ocr', 10), [])
    await push(['ocr', 'b'])
    t.strictSame(await claim('ocr', 10), ['b'], 'what was dropped may be put in line again')
  })

  t.test(`${driver}: tokens grow with every claim of a job`, async (t) => {
    const { dispatch, clock, push, claimOne } = await prepare(t)
    await push(['ocr', 'a'])
    const first = await claimOne('ocr')
    t.ok(first.token > 0)
    await dispatch.release(first, { priority: 0 })
    const second = await claimOne('ocr')
    t.ok(second.token > first.token, 'after a release')
    clock.now += LEASE_MS + 1
    const third = await claimOne('ocr')
    t.ok(third.token > second.token, 'after its lease ran out')
    await dispatch.drop('a')
    await push(['ocr', 'a'])
    const fourth = await claimOne('ocr')
    t.ok(fourth.token > third.token, 'and when it left the line and came again')
    await dispatch.done(third)
    t.strictSame(await dispatch.renew([fourth]), [], 'where an old claim does nothing')
  })

  t.test(`${driver}: what ran out comes back, in its old rank`, async (t) => {
    const { dispatch, clock, push, claim, waiting } = await prepare(t)
    await push(['ocr', 'a'], ['ocr', 'b'], ['ocr', 'c', { priority: 5 }], ['signs', 's'])
    const [c, a] = (await dispatch.claim('ocr', 2)) as [Claim, Claim]
    t.strictSame([c.jobId, a.jobId], ['c', 'a'])
    await claim('signs', 1)
    await push(['ocr', 'd'], ['ocr', 'e', { priority: 5 }])
    clock.now += LEASE_MS
    t.strictSame(await claim('signs', 1), [], 'it holds to the last millisecond')
    t.strictSame(await waiting(), { ocr: 3 })
    clock.now += 1
    t.strictSame(await waiting(), { ocr: 5, signs: 1 }, 'they wait, whoever asks')
    t.strictSame(await claim('ocr', 10), ['c', 'e', 'a', 'b', 'd'])
    t.strictSame(await claim('signs', 10), ['s'])
    t.strictSame(await waiting(), {})
  })

  t.test(`${driver}: leases run out one by one, without anybody looking between`, async (t) => {
    const { clock, push, claim, claimOne } = await prepare(t)
    await push(['ocr', 'a'], ['ocr', 'b'])
    await claimOne('ocr')
    clock.now += 10
    await claimOne('ocr')
    clock.now += LEASE_MS
    t.strictSame(await claim('ocr', 10), ['a'])
    clock.now += 1
    t.strictSame(await claim('ocr', 10), ['b'])
  })

  t.test(`${driver}: a renewed lease holds from then, and the lost are told`, async (t) => {
    const { dispatch, clock, push, claim, waiting } = await prepare(t)
    for (const id of ['a', 'b', 'c', 'd', 'e']) await push(['ocr', id])
    const claims = await dispatch.claim('ocr', 10)
    const [a, b, c, d, e] = claims as [Claim, Claim, Claim, Claim, Claim]
    t.strictSame(await dispatch.renew(claims), [])
    t.strictSame(await dispatch.renew([]), [])
    clock.now += LEASE_MS - 1
    await dispatch.renew([a, b])
    await dispatch.done(c)
    await dispatch.drop('d')
    t.strictSame(await dispatch.renew([a, c, d]), [c, d])
    clock.now += LEASE_MS - 1
    t.strictSame(await claim('ocr', 10), ['e'], 'the one that nobody renewed')
    t.strictSame(await dispatch.renew([a, b, e]), [e])
    await dispatch.release(b, { priority: 0 })
    t.strictSame(await dispatch.renew([a, b]), [b], 'a released one is lost')
    t.strictSame(await waiting(), { ocr: 1 })
    t.strictSame(await claim('ocr', 10), ['b'])
    t.strictSame(await dispatch.renew([b]), [b], 'though its job is claimed')
  })

  t.test(`${driver}: a claim that ran out counts until another takes the job`, async (t) => {
    const { dispatch, clock, push, claim, waiting } = await prepare(t)
    for (const id of ['a', 'b', 'c']) await push(['ocr', id])
    const [a, b, c] = (await dispatch.claim('ocr', 3)) as [Claim, Claim, Claim]
    clock.now += LEASE_MS + 1
    t.strictSame(await dispatch.renew([a]), [], 'before anybody looked')
    t.strictSame(await waiting(), { ocr: 2 })
    t.strictSame(await dispatch.renew([b]), [], 'and after')
    t.strictSame(await waiting(), { ocr: 1 })
    await dispatch.done(c)
    t.strictSame(await waiting(), {})
    t.strictSame(await claim('ocr', 10), [])
    clock.now += LEASE_MS + 1
    t.strictSame(await waiting(), { ocr: 2 })
    await dispatch.release(a, { priority: -1 })
    t.strictSame(await waiting(), { ocr: 2 })
    t.equal(await dispatch.drop('b'), true)
    t.strictSame(await waiting(), { ocr: 1 })
    t.strictSame(await claim('ocr', 10), ['a'])
  })

  t.test(`${driver}: of a claim that is lost nothing counts`, async (t) => {
    const { dispatch, clock, push, claimOne, claim, waiting } = await prepare(t)
    await push(['ocr', 'a'])
    const lost = await claimOne('ocr')
    clock.now += LEASE_MS + 1
    const held = await claimOne('ocr')
    await dispatch.done(lost)
    await dispatch.release(lost, { priority: 9 })
    t.strictSame(await waiting(), {})
    t.strictSame(await dispatch.renew([lost, held]), [lost])
    await dispatch.done(held)
    await dispatch.release(held, { priority: 0 })
    clock.now += LEASE_MS + 1
    t.strictSame(await claim('ocr', 10), [])
    t.strictSame(await waiting(), {})
  })

  t.test(`${driver}: a released job is behind those of its priority`, async (t) => {
    const { dispatch, push, claim, claimOne } = await prepare(t)
    await push(['ocr', 'a'], ['ocr', 'b'], ['ocr', 'c', { priority: -1 }])
    const a = await claimOne('ocr')
    await dispatch.release(a, { priority: 0 })
    t.strictSame(await claim('ocr', 10), ['b', 'a', 'c'])
  })

  t.test(`${driver}: one that runs alone is behind all that do not`, async (t) => {
    const { dispatch, clock, push, claim, claimOne } = await prepare(t)
    await push(['ocr', 'a', { priority: 9 }], ['ocr', 'b', { priority: -9 }])
    const a = await claimOne('ocr')
    t.strictSame([a.jobId, a.alone], ['a', false])
    await dispatch.release(a, { priority: 9, alone: true })
    await push(['ocr', 'c', { priority: 10, alone: true }], ['ocr', 'd', { priority: -9 }])
    t.strictSame(await claim('ocr', 2), ['b', 'd'])
    const alone = await dispatch.claim('ocr', 2)
    t.match(alone, [
      { jobId: 'c', alone: true },
      { jobId: 'a', alone: true }
    ])
    clock.now += LEASE_MS + 1
    t.strictSame(await claim('ocr', 10), ['b', 'd', 'c', 'a'], 'also when its lease ran out')
  })

  t.test(`${driver}: a job waits for its time, and is counted meanwhile`, async (t) => {
    const { dispatch, clock, push, claim, claimOne, waiting } = await prepare(t)
    await push(['ocr', 'late', { priority: 9, notBefore: clock.now + 100 }])
    await push(['ocr', 'a'], ['ocr', 'b', { notBefore: clock.now + 100 }], ['ocr', 'c'])
    const a = await claimOne('ocr')
    t.equal(a.jobId, 'a')
    await dispatch.release(a, { priority: 0, notBefore: clock.now + 50 })
    t.strictSame(await waiting(), { ocr: 4 })
    t.strictSame(await claim('ocr', 1), ['c'])
    t.strictSame(await claim('ocr', 1), [])
    clock.now += 49
    t.strictSame(await claim('ocr', 1), [])
    t.strictSame(await waiting(), { ocr: 3 })
    clock.now += 1
    t.strictSame(await claim('ocr', 10), ['a'])
    await push(['ocr', 'd'])
    clock.now += 50
    t.strictSame(await claim('ocr', 10), ['late', 'b', 'd'], 'then it has its rank')
  })
}
