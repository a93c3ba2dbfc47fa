import { createHash } from 'node:crypto'
import t from 'tap'
import type { ItemChange, ItemClaim } from '../../documents/pipeline-store.ts'
import { oddTexts } from '../movie-store-contract.ts'
import {
  back,
  CHAIN,
  ended,
  moviesIn,
  numbered,
  ONE,
  type OpenStores,
  prepare,
  RAN
} from './prepare.ts'

export function recording(driver: string, open: OpenStores): void {
  t.test(`${driver}: an end is kept as it was told`, async (t) => {
    const { pipelines, claim, itemsOf, statusOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1', '2', '3', '4'] })
    await pipelines.reconcile('p', ONE)
    const [one, two, three] = (await claim()) as [ItemClaim, ItemClaim, ItemClaim]
    const startedAt = Date.parse('2026-02-03T04:05:06.007Z')
    const times = { startedAt, finishedAt: startedAt + 1500 }
    const hash = 'ab'.repeat(32)
    const ran = { expert: 'é "x"', expert_version: '1.2.3', model_sha256: hash }
    const small = { threshold: 0.5, odd: oddTexts, none: null }
    const large = { text: 'x'.repeat(1000) }
    const fitting = 'x'.repeat(998)
    const error = `${oddTexts.join('\n')} and a \0`
    const made = await pipelines.record(
      [
        {
          claim: one,
          state: 'success',
          error: null,
          ...times,
          ran: { ...ran, extra_params: small }
        },
        { claim: two, state: 'fail', error, ...times, ran: { ...ran, extra_params: large } },
        {
          claim: three,
          state: 'success',
          error: null,
          ...times,
          ran: { ...RAN, extra_params: fitting }
        }
      ],
      ONE
    )
    t.strictSame(made, [true, true, true])
    const place = { pipeline: 'p', task: 'a', attempts: 1 }
    const kept = { started_at: '2026-02-03T04:05:06.007Z', finished_at: '2026-02-03T04:05:07.507Z' }
    const sha256 = createHash('sha256').update(JSON.stringify(large)).digest('hex')
    const items = await itemsOf()
    t.strictSame(items.slice(0, 3), [
      {
        ...place,
        movie: 'Movies/1',
        state: 'success',
        error: null,
        ...ran,
        extra_params: small,
        ...kept
      },
      {
        ...{ ...place, movie: 'Movies/2', state: 'fail', error: error.replace('\0', '\ufffd') },
        ...{ ...ran, extra_params: { sha256 }, ...kept }
      },
      {
        ...{ ...place, movie: 'Movies/3', state: 'success', error: null },
        ...{ ...RAN, extra_params: fitting, ...kept }
      }
    ])
    const waiting = { error: null, started_at: null, finished_at: null }
    t.strictSame(items[3], { ...place, movie: 'Movies/4', state: 'running', ...waiting })
    t.strictSame(await statusOf('Movies/1'), { a: 'success' })
    t.strictSame(await statusOf('Movies/2'), { a: 'fail' })
  })

  t.test(`${driver}: a status shows its item, and all else as it was`, async (t) => {
    const { pipelines, claim, statusOf, moviesOf } = await prepare(t, open)
    const status = { a: 'fail', x: { success: false }, b: 'other' }
    await pipelines.create({ _key: 'p', movies: { 'Movies/1': { context: 'c', status } } })
    await pipelines.reconcile('p', CHAIN)
    t.strictSame(await statusOf('Movies/1'), status, 'what waits is not shown')
    const [one] = (await claim()) as [ItemClaim]
    t.strictSame(await statusOf('Movies/1'), { ...status, a: 'active' })
    await pipelines.record([back(one)], CHAIN)
    t.match(await statusOf('Movies/1'), { x: { success: false }, b: 'other' })
    const [two] = (await claim()) as [ItemClaim]
    await pipelines.record([ended(two, 'fail')], CHAIN)
    const after = { ...status, a: 'fail', b: 'skipped', c: 'skipped' }
    t.strictSame(await statusOf('Movies/1'), after)
    t.strictSame(await moviesOf(), { 'Movies/1': { _key: '1', context: 'c', status: after } })
    await pipelines.reconcile('p', CHAIN)
    t.strictSame(await statusOf('Movies/1'), after)
  })

  t.test(`${driver}: an end is final, and a claim that is lost changes nothing`, async (t) => {
    const { pipelines, claim, itemsOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: numbered(4) })
    await pipelines.reconcile('p', CHAIN)
    const [one, two, three, four] = (await claim()) as [ItemClaim, ItemClaim, ItemClaim, ItemClaim]
    const running = (claim: ItemClaim): ItemChange => ({ claim, state: 'running' })
    const all = [ended(one), ended(one, 'fail'), running(one), running(two), ended(two, 'fail')]
    t.strictSame(await pipelines.record(all, CHAIN), [true, false, false, true, true])
    for (const change of [ended(one, 'fail'), back(one), running(one), ended(two), back(two)]) {
      t.strictSame(await pipelines.record([change], CHAIN), [false], change.state)
    }
    const forged = [
      { ...three, token: `${three.token}0` },
      { ...three, token: four.token },
      { ...three, movie: four.movie },
      { ...three, token: '' },
      { ...three, token: "' OR 1 = 1 --" }
    ]
    const refused = await pipelines.record(
      forged.map((claim) => ended(claim)),
      CHAIN
    )
    t.strictSame(refused, [false, false, false, false, false])
    t.strictSame(
      await pipelines.record([ended(one), back(three), ended(three), ended(four)], CHAIN),
      [false, true, false, true]
    )
    const [again] = (await claim()) as [ItemClaim]
    t.strictSame(await pipelines.record([ended(three, 'fail'), ended(again)], CHAIN), [false, true])
    const states = (await itemsOf({ task: 'a' })).map(({ movie, state }) => `${movie} ${state}`)
    t.strictSame(states, [
      ...['Movies/0 success', 'Movies/1 fail', 'Movies/2 success', 'Movies/3 success']
    ])
    t.match(await pipelines.reconcile('p', CHAIN), { b: { ready: 3, skipped: 1 } })
  })

  t.test(`${driver}: what is put back waits for its time, in its place`, async (t) => {
    const { pipelines, claim, clock, itemsOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: numbered(5) })
    await pipelines.reconcile('p', ONE)
    const [zero, one, two] = (await claim('a', 3)) as [ItemClaim, ItemClaim, ItemClaim]
    const { now } = clock
    const made = await pipelines.record(
      [back(zero, now + 10), { ...back(one), attempts: 0 }, { ...back(two, now - 5), attempts: 7 }],
      ONE
    )
    t.strictSame(made, [true, true, true])
    t.match(await itemsOf({ state: 'ready' }), [
      ...[
        { movie: 'Movies/0', attempts: 1 },
        { movie: 'Movies/1', attempts: 0 }
      ],
      ...[{ movie: 'Movies/2', attempts: 7 }, { movie: 'Movies/3' }, { movie: 'Movies/4' }]
    ])
    const next = await claim('a', 3)
    t.match(next, [
      ...[
        { movie: 'Movies/1', attempts: 1 },
        { movie: 'Movies/2', attempts: 8 }
      ],
      { movie: 'Movies/3', attempts: 1 }
    ])
    clock.now = now + 9
    await pipelines.record([back(next[2] as ItemClaim)], ONE)
    t.strictSame(moviesIn(await claim('a', 1)), ['Movies/3'])
    clock.now = now + 10
    t.match(await claim('a', 5), [{ movie: 'Movies/0', attempts: 2 }, { movie: 'Movies/4' }])
  })

  t.test(`${driver}: one record may be of many tasks and pipelines`, async (t) => {
    const { pipelines, claim } = await prepare(t, open)
    for (const _key of ['p', 'q']) {
      await pipelines.create({ _key, movies: ['1', '2'] })
      await pipelines.reconcile(_key, CHAIN)
    }
    const [p1, p2] = (await claim()) as [ItemClaim, ItemClaim]
    const [q1, q2] = (await pipelines.claim('q', 'a', { owner: 'host', limit: 2 })) as [
      ItemClaim,
      ItemClaim
    ]
    await pipelines.record([ended(p1)], CHAIN)
    const [b1] = (await claim('b')) as [ItemClaim]
    const mixed = [ended(q2, 'fail'), ended(b1), ended(p2, 'fail'), ended(q1)]
    t.strictSame(await pipelines.record(mixed, CHAIN), [true, true, true, true])
    t.match(await pipelines.reconcile('p', CHAIN), {
      b: { success: 1, skipped: 1 },
      c: { ready: 1, skipped: 1 }
    })
    t.match(await pipelines.reconcile('q', CHAIN), {
      b: { ready: 1, skipped: 1 },
      c: { blocked: 1, skipped: 1 }
    })
  })
}
