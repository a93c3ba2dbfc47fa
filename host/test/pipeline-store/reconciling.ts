import t from 'tap'
import { ITEM_LEASE_MS, type ItemClaim, type PipelineItem } from '../../documents/pipeline-store.ts'
import type { DocumentFields } from '../../documents/stored-document.ts'
import {
  back,
  CHAIN,
  counts,
  DIAMOND,
  ended,
  INVALID,
  moviesIn,
  numbered,
  ODD_NAMES,
  ONE,
  type OpenStores,
  prepare
} from './prepare.ts'

export function reconciling(driver: string, open: OpenStores): void {
  t.test(`${driver}: each movie gets an item in each task, unless it is done there`, async (t) => {
    const { pipelines, itemsOf } = await prepare(t, open)
    await pipelines.create({
      _key: 'p',
      movies: {
        'Movies/1': {},
        'Movies/2': { status: { a: 'success' } },
        'Movies/3': { status: { a: 'fail', b: 'success' } },
        'Movies/4': { status: { a: 'active', b: 'skipped' } },
        'Movies/5': { status: { a: { success: true }, b: ['success'] } }
      }
    })
    t.strictSame(await pipelines.reconcile('p', []), {})
    const expected = { a: counts({ ready: 4 }), b: counts({ ready: 1, blocked: 3 }) }
    t.strictSame(await pipelines.reconcile('p', CHAIN.slice(0, 2)), expected)
    t.strictSame(await pipelines.reconcile('pipelines/p', CHAIN.slice(0, 2)), expected, 'once')
    const states = (await itemsOf()).map(({ task, movie, state }) => `${task} ${movie} ${state}`)
    t.strictSame(states, [
      ...['a Movies/1 ready', 'a Movies/3 ready', 'a Movies/4 ready', 'a Movies/5 ready'],
      ...['b Movies/1 blocked', 'b Movies/2 ready', 'b Movies/4 blocked', 'b Movies/5 blocked']
    ])
    await pipelines.update('p', {
      movies: { 'Movies/6': {}, 'Movies/7': { status: { b: 'success' } } }
    })
    t.strictSame(
      await pipelines.reconcile('p', CHAIN),
      {
        a: counts({ ready: 6 }),
        b: counts({ ready: 1, blocked: 4 }),
        c: counts({ ready: 2, blocked: 5 })
      },
      'new movies and new tasks'
    )
    const twice = [...ONE, ...ONE]
    await t.rejects(pipelines.reconcile('p', twice), { ...INVALID, message: /twice/ })
    await t.rejects(pipelines.reconcile('p', [{ task: 'a\0', dependsOn: [] }]), INVALID)
  })

  t.test(`${driver}: a movie goes through a diamond in order`, async (t) => {
    const { pipelines, claim, clock } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1', '2'] })
    const first = await pipelines.reconcile('p', DIAMOND)
    const blocked = counts({ blocked: 2 })
    t.strictSame(first, { a: counts({ ready: 2 }), b: blocked, c: blocked, d: blocked })
    for (const task of ['b', 'c', 'd']) t.strictSame(await claim(task), [])
    const [one] = await claim('a', 1)
    t.strictSame(await pipelines.record([ended(one as ItemClaim)], DIAMOND), [true])
    t.strictSame(moviesIn(await claim('b')), ['Movies/1'])
    const [c] = await claim('c')
    await pipelines.record([ended(c as ItemClaim)], DIAMOND)
    t.strictSame(await claim('d'), [], 'one of two is not enough')
    clock.now += ITEM_LEASE_MS
    const [b] = await claim('b')
    await pipelines.record([ended(b as ItemClaim)], DIAMOND)
    t.strictSame(moviesIn(await claim('d')), ['Movies/1'])
    t.strictSame(await pipelines.reconcile('p', DIAMOND), {
      a: counts({ ready: 1, success: 1 }),
      b: counts({ blocked: 1, success: 1 }),
      c: counts({ blocked: 1, success: 1 }),
      d: counts({ blocked: 1, running: 1 })
    })
  })

  t.test(`${driver}: what depends on a failure is skipped, and what depends on that`, async (t) => {
    const { pipelines, claim, statusOf, itemsOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1', '2', '3'] })
    const tasks = [...DIAMOND, { task: 'e', dependsOn: ['d'] }, { task: 'free', dependsOn: [] }]
    await pipelines.reconcile('p', tasks)
    const [one, two, three] = (await claim('a')) as [ItemClaim, ItemClaim, ItemClaim]
    await pipelines.record([ended(one), ended(two, 'fail'), ended(three)], tasks)
    const skipped = await itemsOf({ state: 'skipped' })
    t.strictSame(
      skipped.map(({ task, movie }) => `${task} ${movie}`),
      ['b Movies/2', 'c Movies/2', 'd Movies/2', 'e Movies/2']
    )
    t.match(
      skipped,
      Array(4).fill({ attempts: 0, error: null, started_at: null, finished_at: null })
    )
    const before = { a: 'fail', b: 'skipped', c: 'skipped', d: 'skipped', e: 'skipped' }
    t.strictSame(await statusOf('Movies/2'), before)
    const [b1, b3] = (await claim('b')) as [ItemClaim, ItemClaim]
    const [c1] = (await claim('c')) as [ItemClaim]
    await pipelines.record([ended(b1), ended(b3, 'fail'), ended(c1)], tasks)
    t.strictSame(moviesIn(await claim('d')), ['Movies/1'])
    t.match(await pipelines.reconcile('p', tasks), {
      c: { running: 1, success: 1, skipped: 1 },
      d: { running: 1, skipped: 2 },
      e: { blocked: 1, skipped: 2 },
      free: { ready: 3 }
    })
    t.strictSame(moviesIn(await claim('free')), ['Movies/1', 'Movies/2', 'Movies/3'])
  })

  t.test(`${driver}: a dependency that is no task counts by the document`, async (t) => {
    const { pipelines, claim, itemsOf } = await prepare(t, open)
    await pipelines.create({
      _key: 'p',
      movies: {
        'Movies/1': { status: { other: 'success' } },
        'Movies/2': { status: { other: 'fail' } },
        'Movies/3': { status: { other: 'active' } },
        'Movies/4': {}
      }
    })
    const tasks = [
      { task: 'a', dependsOn: ['other'] },
      { task: 'b', dependsOn: ['a', 'other'] }
    ]
    const expected = { a: { ready: 1, blocked: 3 }, b: { blocked: 4 } }
    t.match(await pipelines.reconcile('p', tasks), expected)
    const [one] = (await claim()) as [ItemClaim]
    t.equal(one.movie, 'Movies/1')
    await pipelines.record([ended(one)], tasks)
    t.strictSame(moviesIn(await claim('b')), ['Movies/1'])
    await pipelines.update('p', { movies: { 'Movies/4': { status: { other: 'success' } } } })
    t.match(await pipelines.reconcile('p', tasks), { a: { success: 1, ready: 1, blocked: 2 } })
    const [four] = (await claim()) as [ItemClaim]
    t.equal(four.movie, 'Movies/4')
    await pipelines.update('p', { movies: { 'Movies/4': { status: { other: 'fail' } } } })
    await pipelines.record([ended(four)], tasks)
    t.strictSame(await claim('b'), [], 'as the document says when the item ends')
    t.equal((await itemsOf({ state: 'skipped' })).length, 0, 'it may still end well')
  })

  t.test(
    `${driver}: a status that is written takes the place of an item that is not running`,
    async (t) => {
      const { pipelines, claim, claimOne, itemsOf, statusOf } = await prepare(t, open)
      await pipelines.create({ _key: 'p', movies: numbered(5) })
      const tasks = CHAIN.slice(0, 2)
      await pipelines.reconcile('p', tasks)
      const failed = await claimOne('Movies/1')
      await pipelines.record([ended(failed, 'fail')], tasks)
      const done = await claimOne('Movies/2')
      await pipelines.record([ended(done)], tasks)
      const running = await claimOne('Movies/3')
      const write = (movie: string, status: DocumentFields) =>
        pipelines.update('p', { movies: { [movie]: { status } } })
      await write('Movies/0', { a: 'success' })
      await write('Movies/1', { a: 'success' })
      await write('Movies/2', { a: 'fail' })
      await write('Movies/3', { a: 'success' })
      await write('Movies/4', { other: 'success' })
      await pipelines.update('p', { movies: { 'Movies/4': { context: 'c' } } })
      t.strictSame(await statusOf('Movies/0'), { a: 'success' })
      t.strictSame(await statusOf('Movies/1'), { a: 'success', b: 'skipped' })
      t.strictSame(await statusOf('Movies/2'), { a: 'fail' })
      t.strictSame(await statusOf('Movies/3'), { a: 'active' })
      const left = async () => (await itemsOf({ task: 'a' })).map(({ movie }) => movie)
      t.strictSame(await left(), ['Movies/3', 'Movies/4'])
      t.match(await pipelines.reconcile('p', tasks), {
        a: { ready: 2, running: 1 },
        b: { ready: 2, skipped: 1, blocked: 2 }
      })
      t.strictSame(
        await left(),
        ['Movies/2', 'Movies/3', 'Movies/4'],
        'what is no success is tried'
      )
      t.strictSame(moviesIn(await claim('b')), ['Movies/0', 'Movies/2'])
      t.strictSame(await pipelines.record([ended(running, 'fail')], tasks), [true])
      t.match(await statusOf('Movies/3'), { a: 'fail', b: 'skipped' })
      const [again] = await claim('a', 1)
      t.match(again, { movie: 'Movies/2', attempts: 1 })
    }
  )

  t.test(`${driver}: what waits is done when the document says so meanwhile`, async (t) => {
    const { pipelines, claim, itemsOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1', '2'] })
    const tasks = CHAIN.slice(0, 2)
    await pipelines.reconcile('p', tasks)
    const claims = (await claim()) as [ItemClaim, ItemClaim]
    const status = { a: 'success' }
    await pipelines.update('p', { movies: { 'Movies/1': { status } } })
    t.match(await pipelines.reconcile('p', tasks), { a: { running: 2 } }, 'it may still fail')
    await pipelines.record(
      claims.map((claim) => back(claim)),
      tasks
    )
    t.match(await pipelines.reconcile('p', tasks), {
      a: { success: 1, ready: 1 },
      b: { ready: 1, blocked: 1 }
    })
    t.match(await itemsOf({ task: 'a', state: 'success' }), [{ movie: 'Movies/1' }])
    t.strictSame(moviesIn(await claim('a')), ['Movies/2'])
    t.strictSame(moviesIn(await claim('b')), ['Movies/1'])
  })

  t.test(`${driver}: failed and skipped items are made anew when that is asked for`, async (t) => {
    const { pipelines, claim, itemsOf, statusOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1', '2', '3', '4'] })
    await pipelines.reconcile('p', CHAIN)
    const [one, two, , four] = (await claim()) as ItemClaim[]
    const failed = ended(one as ItemClaim, 'fail')
    await pipelines.record([failed, ended(two as ItemClaim)], CHAIN)
    const [b] = await claim('b')
    await pipelines.record([ended(b as ItemClaim, 'fail')], CHAIN)
    const before = await pipelines.reconcile('p', CHAIN)
    t.match(before, {
      a: { fail: 1, success: 1, running: 2 },
      b: { fail: 1, skipped: 1, blocked: 2 },
      c: { skipped: 2, blocked: 2 }
    })
    t.match(await pipelines.reconcile('p', CHAIN, { again: false }), before as object)
    t.match(await pipelines.reconcile('p', CHAIN, { again: true }), {
      a: { ready: 1, success: 1, running: 2, fail: 0 },
      b: { ready: 1, blocked: 3, skipped: 0, fail: 0 },
      c: { blocked: 4, skipped: 0 }
    })
    const anew = { attempts: 0, error: null, started_at: null, finished_at: null }
    const [item] = (await itemsOf({ task: 'a' })) as [PipelineItem]
    t.match(item, { movie: 'Movies/1', state: 'ready', ...anew })
    t.notOk('expert' in item)
    t.match(await itemsOf({ state: 'ready' }), [anew, { movie: 'Movies/2', ...anew }])
    t.strictSame(await pipelines.record([failed], CHAIN), [false], 'the former claim is over')
    t.strictSame(await pipelines.record([ended(four as ItemClaim)], CHAIN), [true])
    const [first] = (await claim('a', 1)) as [ItemClaim]
    t.match(first, { movie: 'Movies/1', attempts: 1 })
    t.match(await statusOf('Movies/1'), { a: 'active' })
    await pipelines.record([ended(first)], CHAIN)
    t.strictSame(moviesIn(await claim('b')), ['Movies/1', 'Movies/2', 'Movies/4'])
  })

  t.test(`${driver}: what was recorded under another plan is found`, async (t) => {
    const { pipelines, claim } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1', '2', '3'] })
    await pipelines.reconcile('p', CHAIN)
    const [one, two] = (await claim()) as [ItemClaim, ItemClaim]
    await pipelines.record([ended(one), ended(two, 'fail')], [])
    t.strictSame(await claim('b'), [])
    t.match(await pipelines.reconcile('p', CHAIN), {
      b: { ready: 1, skipped: 1, blocked: 1 },
      c: { skipped: 1, blocked: 2 }
    })
    const shorter = [...ONE, { task: 'c', dependsOn: [] }]
    t.strictSame(await pipelines.reconcile('p', shorter), {
      a: counts({ success: 1, fail: 1, running: 1 }),
      c: counts({ skipped: 1, ready: 2 })
    })
  })

  t.test(`${driver}: many movies, who come while others are looked at, miss no task`, async (t) => {
    const { pipelines, claim, moviesOf, itemsOf } = await prepare(t, open)
    const movies = numbered(4500)
    await pipelines.create({ _key: 'p', movies })
    t.strictSame(Object.keys(await moviesOf()), movies)
    const late = ['Movies/late 1', 'Movies/late 2'].map((id) => id.replace(' ', '-'))
    const added = Object.fromEntries(late.map((id) => [id, {}]))
    await Promise.all([
      pipelines.reconcile('p', CHAIN),
      pipelines.update('p', { movies: added }),
      pipelines.reconcile('p', DIAMOND),
      claim('a', 10)
    ])
    const found = await pipelines.reconcile('p', DIAMOND)
    for (const task of ['a', 'b', 'c', 'd']) {
      const total = Object.values(found?.[task] ?? {}).reduce((sum, count) => sum + count, 0)
      t.equal(total, 4502, task)
    }
    const items = (await itemsOf({ task: 'd' })).map(({ movie }) => movie)
    t.strictSame(items, [...movies, ...late])
    const claims = [...(await claim('a', 1000)), ...(await claim('a', 1000))]
    t.equal(new Set(moviesIn(claims)).size, 2000)
    const half = claims.slice(0, 1000)
    t.notOk(
      (
        await pipelines.record(
          half.map((claim) => ended(claim)),
          DIAMOND
        )
      ).includes(false)
    )
    t.match(await pipelines.reconcile('p', DIAMOND), { b: { ready: 1000 }, c: { ready: 1000 } })
  })

  t.test(
    `${driver}: what many movies came to say is seen of each, in whatever order`,
    async (t) => {
      const { pipelines, claim } = await prepare(t, open)
      const movies = numbered(4500)
      await pipelines.create({ _key: 'p', movies })
      const tasks = [{ task: 'a', dependsOn: ['other'] }]
      t.match(await pipelines.reconcile('p', tasks), { a: { blocked: 4500 } })
      const backwards = [...movies].reverse()
      for (const from of [0, 1500, 3000]) {
        const said = backwards
          .slice(from, from + 1500)
          .map((id) => [id, { status: { other: 'success' } }])
        await pipelines.update('p', { movies: Object.fromEntries(said) })
      }
      t.match(await pipelines.reconcile('p', tasks), { a: { ready: 4500, blocked: 0 } })
      t.strictSame(moviesIn(await claim('a', 3)), movies.slice(0, 3))
    }
  )

  t.test(`${driver}: names of tasks are data`, async (t) => {
    const { pipelines, claim, statusOf, itemsOf } = await prepare(t, open)
    const status = Object.fromEntries(ODD_NAMES.map((name) => [`${name} before`, 'success']))
    await pipelines.create({ _key: 'p', movies: { 'Movies/1': { status } } })
    const tasks = ODD_NAMES.map((task) => ({ task, dependsOn: [`${task} before`] }))
    const last = { task: 'last', dependsOn: ODD_NAMES }
    const found = await pipelines.reconcile('p', [...tasks, last])
    t.strictSame(Object.keys(found as object).sort(), [...ODD_NAMES, 'last'].sort())
    for (const name of ODD_NAMES) {
      t.strictSame(Object.getOwnPropertyDescriptor(found, name)?.value, counts({ ready: 1 }), name)
      const [own] = (await claim(name)) as [ItemClaim]
      t.match(own, { pipeline: 'p', task: name, movie: 'Movies/1' })
      await pipelines.record([ended(own)], [...tasks, last])
      t.match(await itemsOf({ task: name }), [{ task: name, state: 'success' }])
    }
    const shown = (await statusOf('Movies/1')) as DocumentFields
    for (const name of ODD_NAMES)
      t.equal(Object.hasOwn(shown, name) && shown[name], 'success', name)
    t.equal((await claim('last')).length, 1)
    await pipelines.update('p', {
      movies: { 'Movies/1': { status: { ['__proto__']: 2 } } }
    })
    t.strictSame(await itemsOf({ task: '__proto__' }), [])
  })
}
