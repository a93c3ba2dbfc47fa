import t from 'tap'
import type {
  ItemClaim,
  ItemQuery,
  PipelineItem,
  PipelineQuery
} from '../../documents/pipeline-store.ts'
import type { StoredDocument } from '../../documents/stored-document.ts'
import {
  back,
  CHAIN,
  ended,
  INVALID,
  moviesIn,
  numbered,
  ODD_NAMES,
  ONE,
  type OpenStores,
  prepare
} from './prepare.ts'

export function listing(driver: string, open: OpenStores): void {
  t.test(`${driver}: pipelines are listed without movies, page by page`, async (t) => {
    const { pipelines } = await prepare(t, open)
    const keys = ['B', 'a', 'A', '_', '10', '9', 'b', '-1', 'Z', 'z']
    const odd = `it's "done"`
    for (const [place, _key] of keys.entries()) {
      const status = place % 3 === 0 ? {} : { status: place % 3 === 1 ? 'running' : odd }
      const tasks = place % 2 === 0 ? { a: 'active', [odd]: 'x' } : { b: 'x' }
      const claims = { a: { until: 100 + place }, [odd]: place }
      await pipelines.create({ _key, ...status, tasks, claims, movies: ['1'] })
    }
    const collect = async (query: Partial<PipelineQuery>, limit = 2) => {
      const found: StoredDocument[] = []
      let cursor: string | undefined
      do {
        const page = await pipelines.list({ limit, ...query, cursor })
        t.ok(page.documents.length <= limit)
        found.push(...page.documents)
        cursor = page.next
      } while (cursor !== undefined)
      return found
    }
    const keysOf = async (query: Partial<PipelineQuery>) =>
      (await collect(query)).map(({ _key }) => _key).sort()
    const placed = (fits: (place: number) => boolean) =>
      keys.filter((_, place) => fits(place)).sort()
    const all = await collect({}, 3)
    t.strictSame(all.map(({ _key }) => _key).sort(), [...keys].sort(), 'each once')
    t.notOk(all.some((document) => 'movies' in document))
    t.strictSame(all[0], await pipelines.get(all[0]?._key as string, { movies: false }))
    t.strictSame((await pipelines.list({ limit: 10 })).documents, all, 'in one order')
    t.equal((await pipelines.list({ limit: 10 })).next, undefined, 'a full last page is the last')
    await t.rejects(pipelines.list({ limit: 1, cursor: 'a/b' }), { ...INVALID, message: /cursor/ })
    t.strictSame(
      await keysOf({ status: 'running' }),
      placed((place) => place % 3 === 1)
    )
    t.strictSame(
      await keysOf({ status: odd }),
      placed((place) => place % 3 === 2)
    )
    t.strictSame(
      await keysOf({ status: null }),
      placed((place) => place % 3 === 0)
    )
    t.strictSame(await keysOf({ status: 'null' }), [])
    const unclaimed = (task: string, now: number) => keysOf({ unclaimed: { task, now } })
    t.strictSame(
      await unclaimed('a', 99),
      placed((place) => place % 2 === 1)
    )
    t.strictSame(
      await unclaimed('a', 104),
      placed((place) => place % 2 === 1 || place <= 4)
    )
    t.strictSame(
      await unclaimed('b', 1e12),
      placed((place) => place % 2 === 0)
    )
    t.strictSame(
      await unclaimed(odd, 1e12),
      placed((place) => place % 2 === 1)
    )
    for (const name of ODD_NAMES) t.equal((await unclaimed(name, 0)).length, 10, name)
    const both = { status: 'running', unclaimed: { task: 'a', now: 104 } }
    t.strictSame(
      await keysOf(both),
      placed((place) => place % 3 === 1 && (place % 2 === 1 || place <= 4))
    )
  })

  t.test(
    `${driver}: items are listed by task and in the document's order, page by page`,
    async (t) => {
      const { pipelines, claim } = await prepare(t, open)
      const movies = [...numbered(12)].reverse()
      await pipelines.create({ _key: 'p', movies })
      await pipelines.create({ _key: 'q', movies })
      await pipelines.reconcile('q', ONE)
      const tasks = [...CHAIN.slice(0, 2), { task: 'free', dependsOn: [] }]
      await pipelines.reconcile('p', tasks)
      const claims = await claim('a', 6)
      const ends = claims.map((claim, place) => ended(claim, place % 3 === 0 ? 'fail' : 'success'))
      await pipelines.record(ends.slice(0, 5), tasks)
      await pipelines.record([back(claims[5] as ItemClaim, 4e12)], tasks)
      const collect = async (query: Partial<ItemQuery>, limit = 5) => {
        const found: PipelineItem[] = []
        let cursor: string | undefined
        do {
          const page = await pipelines.items({ pipeline: 'p', limit, ...query, cursor })
          t.ok(page.items.length <= limit)
          if (page.next !== undefined) t.equal(page.items.length, limit, 'a page is full')
          found.push(...page.items)
          cursor = page.next
        } while (cursor !== undefined)
        return found
      }
      const all = await collect({})
      t.equal(all.length, 36)
      const order = all.map(({ task }) => task).filter((task, at, names) => task !== names[at - 1])
      t.strictSame([...order].sort(), ['a', 'b', 'free'], 'each task in one stretch')
      for (const task of order) {
        const own = await collect({ task })
        t.strictSame(moviesIn(own), movies, task)
        t.strictSame(
          own,
          all.filter((item) => item.task === task)
        )
      }
      for (const state of ['blocked', 'ready', 'running', 'success', 'fail', 'skipped'] as const) {
        const expected = all.filter((item) => item.state === state)
        for (const limit of [1, 3, 100])
          t.strictSame(await collect({ state }, limit), expected, state)
        const own = expected.filter(({ task }) => task === 'a')
        t.strictSame(await collect({ task: 'a', state }, 2), own)
      }
      t.equal((await pipelines.items({ pipeline: 'pipelines/p', limit: 36 })).next, undefined)
      for (const cursor of ['a/b', 'x', "1' OR 1"]) {
        await t.rejects(pipelines.items({ pipeline: 'p', limit: 1, cursor }), INVALID, cursor)
      }
    }
  )
}
