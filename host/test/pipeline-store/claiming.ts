import t from 'tap'
import { ITEM_LEASE_MS, type ItemClaim } from '../../documents/pipeline-store.ts'
import { back, ended, moviesIn, numbered, ONE, type OpenStores, prepare } from './prepare.ts'

export function claiming(driver: string, open: OpenStores): void {
  t.test(`${driver}: items are claimed in the order of the document`, async (t) => {
    const { pipelines, claim } = await prepare(t, open)
    const movies = [...numbered(25)].reverse()
    await pipelines.create({ _key: 'p', movies })
    await pipelines.create({ _key: 'q', movies })
    await pipelines.reconcile('p', ONE)
    await pipelines.reconcile('q', ONE)
    const first = await claim('a', 10)
    t.strictSame(moviesIn(first), movies.slice(0, 10))
    for (const { token, ...rest } of first) {
      t.match(rest, { pipeline: 'p', task: 'a', attempts: 1 })
      t.type(token, 'string')
    }
    const [one, , three] = first as [ItemClaim, ItemClaim, ItemClaim]
    await pipelines.record([back(three), back(one)], ONE)
    t.strictSame(moviesIn(await claim('a', 3)), [movies[0], movies[2], movies[10]])
    const rest = await pipelines.claim('pipelines/p', 'a', { owner: 'host', limit: 1.9 })
    t.match(rest, [{ pipeline: 'p', movie: movies[11] }], 'by whole id, and by whole numbers')
    t.equal(rest.length, 1)
    t.strictSame(moviesIn(await claim('a', 1000)), movies.slice(12))
    t.strictSame(await claim('a', 1000), [])
  })

  t.test(`${driver}: of many who claim at once, each item has one`, async (t) => {
    const { pipelines, claim } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: numbered(300) })
    await pipelines.reconcile('p', ONE)
    const claims = (
      await Promise.all(Array.from({ length: 40 }, (_, place) => claim('a', 7, `owner ${place}`)))
    ).flat()
    t.equal(new Set(moviesIn(claims)).size, claims.length, 'none twice')
    t.equal(new Set(claims.map(({ token }) => token)).size, claims.length, 'no token twice')
    claims.push(...(await claim('a', 1000)))
    t.strictSame(new Set(moviesIn(claims)), new Set(numbered(300)), 'and none lost')
  })

  t.test(`${driver}: an item may be claimed again when its lease has run out`, async (t) => {
    const { pipelines, claim, clock, itemsOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: numbered(4) })
    await pipelines.reconcile('p', ONE)
    const [zero, one] = (await claim('a', 2)) as [ItemClaim, ItemClaim]
    clock.now += ITEM_LEASE_MS - 1
    t.strictSame(moviesIn(await claim('a', 1)), ['Movies/2'], 'the leases hold')
    t.strictSame(await pipelines.record([{ claim: zero, state: 'running' }], ONE), [true])
    clock.now += 1
    const [lapsed, more] = (await claim('a', 2)) as [ItemClaim, ItemClaim]
    t.match(lapsed, { movie: 'Movies/1', attempts: 2 })
    t.match(more, { movie: 'Movies/3', attempts: 1 })
    t.not(lapsed.token, one.token)
    t.strictSame(await claim('a', 2), [], 'one lease was renewed')
    const late = [ended(one), { claim: one, state: 'running' as const }, back(one)]
    t.strictSame(await pipelines.record(late, ONE), [false, false, false])
    t.match(await itemsOf({ state: 'running' }), [{}, { movie: 'Movies/1', attempts: 2 }, {}, {}])
    clock.now += ITEM_LEASE_MS - 2
    t.strictSame(await claim('a', 5), [], 'a lease that was renewed holds from then on')
    clock.now += 1
    t.strictSame(moviesIn(await claim('a', 5)), ['Movies/0', 'Movies/2'])
    t.strictSame(await pipelines.record([ended(lapsed)], ONE), [true])
  })
}
