import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import type { DocumentStores } from '../documents/document-stores.ts'
import {
  ITEM_LEASE_MS,
  type ItemChange,
  type ItemClaim,
  type ItemCounts,
  type ItemEndState,
  type ItemQuery,
  type PipelineItem,
  type PipelineQuery,
  type PlannedTask
} from '../documents/pipeline-store.ts'
import type { DocumentFields, StoredDocument } from '../documents/stored-document.ts'
import { oddTexts } from './movie-store-contract.ts'

/** Gives empty stores, whose leases go by `now`. */
export type OpenStores = (options: { now: () => number }) => Promise<DocumentStores>

/** What every driver of `PipelineStore` promises. */
export function pipelineStoreContract(driver: string, open: OpenStores): void {
  documents(driver, open)
  changes(driver, open)
  reconciling(driver, open)
  claiming(driver, open)
  recording(driver, open)
  listing(driver, open)
}

const ONE: PlannedTask[] = [{ task: 'a', dependsOn: [] }]
const CHAIN: PlannedTask[] = [
  { task: 'a', dependsOn: [] },
  { task: 'b', dependsOn: ['a'] },
  { task: 'c', dependsOn: ['b'] }
]
const DIAMOND: PlannedTask[] = [
  { task: 'a', dependsOn: [] },
  { task: 'b', dependsOn: ['a'] },
  { task: 'c', dependsOn: ['a'] },
  { task: 'd', dependsOn: ['b', 'c'] }
]
const RAN = { expert: 'e', expert_version: '1.0.0', model_sha256: null, extra_params: null }
const INVALID = { code: 'HOST_DOCUMENT_INVALID', statusCode: 422 }
/** Names of tasks that are data, however they look. */
const ODD_NAMES = [...oddTexts, '__proto__', 'constructor', 'a.b', '$.a', '0', 'x'.repeat(300)]

type Movies = Record<string, DocumentFields & { status: DocumentFields }>

async function prepare(t: Test, open: OpenStores) {
  const clock = { now: 1_700_000_000_000 }
  const stores = await open({ now: () => clock.now })
  t.teardown(() => stores.close())
  const { pipelines } = stores
  const moviesOf = async (id = 'p') => (await pipelines.get(id))?.['movies'] as Movies
  return {
    pipelines,
    clock,
    moviesOf,
    claim: (task = 'a', limit = 1000, owner = 'host') =>
      pipelines.claim('p', task, { owner, limit }),
    /** Claims the item of one movie; those of others that were claimed too are put back. */
    claimOne: async (movie: string, task = 'a') => {
      const claims = await pipelines.claim('p', task, { owner: 'host', limit: 1000 })
      const others = claims.filter((claim) => claim.movie !== movie)
      const putBack = others.map((claim) => ({ ...back(claim), attempts: claim.attempts - 1 }))
      await pipelines.record(putBack, [])
      return claims.find((claim) => claim.movie === movie) as ItemClaim
    },
    statusOf: async (movie: string) => (await moviesOf())[movie]?.status,
    itemsOf: async (query: Partial<ItemQuery> = {}) => {
      const { items } = await pipelines.items({ pipeline: 'p', limit: 10_000, ...query })
      return items
    }
  }
}

function ended(claim: ItemClaim, state: ItemEndState = 'success'): ItemChange {
  const error = state === 'fail' ? 'no reason' : null
  return { claim, state, error, startedAt: 1000, finishedAt: 2500, ran: RAN }
}

function back(claim: ItemClaim, notBefore: number | null = null) {
  return { claim, state: 'ready' as const, notBefore, attempts: claim.attempts }
}

function counts(some: Partial<ItemCounts>): ItemCounts {
  return { blocked: 0, ready: 0, running: 0, success: 0, fail: 0, skipped: 0, ...some }
}

function moviesIn(claims: ReadonlyArray<{ movie: string }>): string[] {
  return claims.map(({ movie }) => movie)
}

/** `Movies/0`, `Movies/1`, …: their order as texts is another from the tenth on. */
function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, place) => `Movies/${place}`)
}

function documents(driver: string, open: OpenStores): void {
  t.test(
    `${driver}: a pipeline is created under its key, else its id, else one of its own`,
    async (t) => {
      const { pipelines } = await prepare(t, open)
      const created = await pipelines.create({
        _key: 'p-1',
        id: 'another',
        tag: oddTexts,
        none: null
      })
      const { _rev, ...rest } = created
      t.ok(typeof _rev === 'string' && _rev !== '')
      const names = { _id: 'pipelines/p-1', _key: 'p-1', id: 'p-1' }
      t.strictSame(rest, { ...names, tag: oddTexts, none: null, tasks: {}, inputs: {} })
      t.strictSame(await pipelines.get('p-1'), { ...created, movies: {} })
      t.strictSame(await pipelines.get('pipelines/p-1'), { ...created, movies: {} })
      t.equal((await pipelines.create({ _id: 'pipelines/p-2' }))._key, 'p-2')
      const byId = await pipelines.create({
        id: 'p-3',
        tasks: { a: 'active' },
        inputs: { e: { n: 1 } }
      })
      t.match(byId, { _key: 'p-3', id: 'p-3', tasks: { a: 'active' }, inputs: { e: { n: 1 } } })
      const [one, two] = await Promise.all([pipelines.create({}), pipelines.create({})])
      t.match(one._key, /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[\da-f]{4}-[\da-f]{12}$/)
      t.equal(one['id'], one._key)
      t.not(one._key, two._key)
    }
  )

  t.test(
    `${driver}: movies are kept as an object in the order given, whatever their form`,
    async (t) => {
      const { pipelines, moviesOf } = await prepare(t, open)
      const ids = ['Movies/9', 'Movies/-3132222071598952047', 'Movies/10', "Movies/it's"]
      const created = await pipelines.create({ _key: 'p', movies: ids })
      t.notOk('movies' in created)
      t.strictSame(Object.keys(await moviesOf()), ids)
      t.match((await moviesOf())['Movies/-3132222071598952047'], { _key: '-3132222071598952047' })
      await pipelines.create({ _key: 'bare', movies: ['9', '10', 'Movies/8'] })
      t.strictSame(Object.keys(await moviesOf('bare')), ['Movies/9', 'Movies/10', 'Movies/8'])
      const listed = [
        { _id: 'Movies/b', _key: 'b', status: { x: 'success' }, context: 'c' },
        { _id: 'Movies/a' },
        { _key: '7', status: {} }
      ]
      await pipelines.create({ _key: 'listed', movies: listed })
      const fromList = await moviesOf('listed')
      t.strictSame(Object.keys(fromList), ['Movies/b', 'Movies/a', 'Movies/7'])
      t.match(fromList, {
        'Movies/b': { _key: 'b', status: { x: 'success' }, context: 'c' },
        'Movies/a': { _key: 'a' },
        'Movies/7': { _key: '7' }
      })
      const object = {
        'Movies/z': { _key: 'z', context: '', status: { a: 'fail' }, more: { deep: [null, 1] } },
        'Movies/y': { _key: 'y', context: oddTexts, status: {} }
      }
      await pipelines.create({ _key: 'object', movies: object })
      t.strictSame(await moviesOf('object'), object)
      t.strictSame(Object.keys(await moviesOf('object')), ['Movies/z', 'Movies/y'])
    }
  )

  t.test(`${driver}: what no pipeline can be is refused, and leaves nothing`, async (t) => {
    const { pipelines } = await prepare(t, open)
    const refused: Array<[string, DocumentFields, RegExp]> = [
      ['named twice', { movies: ['Movies/1', 'Movies/2', 'Movies/1'] }, /Movies\/1.*twice/],
      ['twice in two forms', { movies: ['1', { _id: 'Movies/1' }] }, /twice/],
      ['twice as keys', { movies: { 'Movies/1': {}, 1: {} } }, /twice/],
      ['an illegal id', { movies: ['Movies/a b'] }, /a b/],
      ['an id of no key', { movies: ['Movies/'] }, /Movies/],
      ['an id that is too long', { movies: [`Movies/${'x'.repeat(255)}`] }, /xxx/],
      ['an illegal key of the object', { movies: { 'Movies/é': {} } }, /é/],
      ['no id', { movies: [{ status: {} }] }, /movie 0/],
      ['a number', { movies: ['Movies/1', 7] }, /movie 1/],
      ['no object', { movies: { 'Movies/1': 'text' } }, /Movies\/1/],
      ['no movies', { movies: 'Movies/1' }, /movies/],
      ['an illegal key', { _key: 'a/b' }, /_key/],
      ['an illegal id of the pipeline', { _key: undefined, id: 'a b' }, /id/],
      ['an id that is no text', { _key: undefined, id: 7 }, /id/],
      ['no JSON', { size: 1n }, /JSON/]
    ]
    for (const [what, document, message] of refused) {
      await t.rejects(pipelines.create({ _key: 'p', ...document }), { ...INVALID, message }, what)
    }
    t.strictSame((await pipelines.list({ limit: 10 })).documents, [])
  })

  t.test(`${driver}: a taken key is an error, and its pipeline stays as it is`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1'], tag: 'first' })
    const before = await pipelines.get('p')
    const exists = { code: 'HOST_DOCUMENT_EXISTS', statusCode: 409, message: /pipelines\/p/ }
    await t.rejects(pipelines.create({ _key: 'p', movies: ['2'] }), exists)
    await t.rejects(pipelines.create({ id: 'p', movies: ['2'] }), exists)
    t.strictSame(await pipelines.get('p'), before)
    const tries = [1, 2, 3].map((n) => pipelines.create({ _key: 'q', movies: [`${n}`], n }))
    const done = (await Promise.allSettled(tries)).filter(({ status }) => status === 'fulfilled')
    t.equal(done.length, 1)
    const { n, movies } = (await pipelines.get('q')) as StoredDocument
    t.strictSame(
      Object.keys(movies as object),
      [`Movies/${n}`],
      'all of the one, none of the others'
    )
  })

  t.test(`${driver}: a pipeline is given with its movies or without, as a copy`, async (t) => {
    const { pipelines } = await prepare(t, open)
    const document = {
      _key: 'p',
      movies: { 'Movies/1': { status: { a: 'x' } } },
      inputs: { e: { n: 1 } }
    }
    const creating = pipelines.create(document)
    document.inputs.e.n = 2
    document.movies['Movies/1'].status.a = 'y'
    const created = await creating
    const whole = (await pipelines.get('p')) as StoredDocument
    t.match(whole, { inputs: { e: { n: 1 } }, movies: { 'Movies/1': { status: { a: 'x' } } } })
    const { movies, ...rest } = whole
    t.strictSame(await pipelines.get('p', { movies: false }), rest)
    t.strictSame(await pipelines.get('p', { movies: true }), whole)
    t.strictSame(rest, created)
    ;(whole['inputs'] as Movies)['e'] = { status: {} }
    ;(movies as Movies)['Movies/1'] = { status: {} }
    const kept = { inputs: { e: { n: 1 } }, movies: { 'Movies/1': { status: { a: 'x' } } } }
    t.match(await pipelines.get('p'), kept)
  })

  t.test(`${driver}: what is not there is undefined, and empty`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1'] })
    await pipelines.reconcile('p', ONE)
    for (const id of ['q', 'pipelines/q', 'Movies/p', 'pipelines/p/p', '', 'é', 'a\0', '..']) {
      t.equal(await pipelines.get(id), undefined, id)
      t.equal(await pipelines.update(id, { tasks: { a: 'active' } }), undefined, id)
      t.equal(await pipelines.update(id, {}, { status: ['x'] }), undefined, 'not null')
      t.equal(await pipelines.reconcile(id, ONE), undefined, id)
      t.strictSame(await pipelines.claim(id, 'a', { owner: 'host', limit: 1 }), [], id)
      t.match(await pipelines.items({ pipeline: id, limit: 1 }), { items: [], next: undefined })
    }
    for (const task of ['b', 'A', '', "a'", 'a\0', '__proto__']) {
      t.strictSame(await pipelines.claim('p', task, { owner: 'host', limit: 1 }), [], task)
      t.match(await pipelines.items({ pipeline: 'p', task, limit: 1 }), { items: [] }, task)
    }
    for (const limit of [0, -1, Number.NaN]) {
      t.strictSame(await pipelines.claim('p', 'a', { owner: 'host', limit }), [])
    }
    t.strictSame(await pipelines.record([], ONE), [])
  })
}

function changes(driver: string, open: OpenStores): void {
  t.test(`${driver}: a change touches only what it names`, async (t) => {
    const { pipelines } = await prepare(t, open)
    const created = await pipelines.create({
      _key: 'p',
      movies: {
        'Movies/1': { context: 'c', status: { a: 'fail', b: 'success' }, deep: { x: { y: 1 } } },
        'Movies/2': { status: { a: 'fail' } }
      },
      tasks: { a: 'fail', b: { success: false } },
      inputs: { e: { n: 1, m: 2 }, f: { n: 3 } },
      claims: { a: { until: 1 } },
      tag: 'kept'
    })
    const changed = await pipelines.update('pipelines/p', {
      fields: { status: 'running', none: null },
      claims: { b: { until: 2 } },
      tasks: { a: 'active', b: 'success', c: null },
      inputs: { e: { k: 4 } },
      movies: {
        'Movies/1': { status: { a: 'success', c: null }, deep: { x: { z: [2] } }, more: [1] },
        'Movies/3': { context: 'new' },
        b4: { status: { a: 'x' } }
      }
    })
    const { _rev, ...rest } = changed as StoredDocument
    t.not(_rev, created._rev)
    t.strictSame(rest, {
      ...{ _id: 'pipelines/p', _key: 'p', id: 'p', tag: 'kept', none: null, status: 'running' },
      tasks: { a: 'active', b: 'success', c: null },
      inputs: { e: { k: 4 }, f: { n: 3 } },
      claims: { a: { until: 1 }, b: { until: 2 } }
    })
    const { movies, ...whole } = (await pipelines.get('p')) as StoredDocument
    t.strictSame(whole, changed)
    t.strictSame(
      Object.keys(movies as object),
      ['Movies/1', 'Movies/2', 'Movies/3', 'Movies/b4'],
      'new ones come last'
    )
    const status = { a: 'success', b: 'success', c: null }
    const deep = { x: { y: 1, z: [2] } }
    t.strictSame((movies as Movies)['Movies/1'], {
      _key: '1',
      context: 'c',
      status,
      deep,
      more: [1]
    })
    t.strictSame((movies as Movies)['Movies/2'], { _key: '2', status: { a: 'fail' } })
    t.match(movies, {
      'Movies/3': { _key: '3', context: 'new' },
      'Movies/b4': { _key: 'b4', status: { a: 'x' } }
    })
    const before = await pipelines.get('p')
    const after = await pipelines.update('p', { inputs: {}, tasks: {}, fields: {}, movies: {} })
    t.strictSame({ ...before, _rev: 0 }, { ...after, movies, _rev: 0 }, 'empty changes nothing')
  })

  t.test(`${driver}: what a document is known by is not changed`, async (t) => {
    const { pipelines, moviesOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1'], tasks: { a: 'x' } })
    const names = { _id: 'pipelines/q', _key: 'q', _rev: '0', id: 'q' }
    const parts = { tasks: {}, movies: {}, inputs: null }
    t.match(await pipelines.update('p', { fields: { ...names, ...parts, n: 1 } }), {
      ...{ _id: 'pipelines/p', _key: 'p', id: 'p', n: 1 },
      ...{ tasks: { a: 'x' }, inputs: {} }
    })
    await pipelines.update('p', { movies: { 'Movies/1': { _key: '2', _id: 'Movies/2', n: 1 } } })
    t.match(await moviesOf(), { 'Movies/1': { _key: '1', n: 1 } })
    for (const id of ['Movies/a b', 'Movies/', 'é', '']) {
      await t.rejects(pipelines.update('p', { movies: { [id]: {} } }), INVALID, id)
    }
    const twice = { movies: { 1: { n: 2 }, 'Movies/1': { n: 3 } }, tasks: { a: 'y' } }
    await t.rejects(pipelines.update('p', twice), INVALID)
    const illegal = [
      { tasks: 'text' },
      { movies: ['1'] },
      { movies: { 1: 'text' } },
      { inputs: [] }
    ]
    for (const change of illegal) {
      await t.rejects(pipelines.update('p', change as object), INVALID, JSON.stringify(change))
    }
    t.match(await pipelines.get('p'), { tasks: { a: 'x' }, movies: { 'Movies/1': { n: 1 } } })
  })

  t.test(`${driver}: of 50 who change at once, none loses what another wrote`, async (t) => {
    const { pipelines, moviesOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['shared', '0', '1'], tasks: { all: 'kept' } })
    const places = Array.from({ length: 50 }, (_, place) => place)
    const written = await Promise.all(
      places.map((place) => {
        const name = `task ${place}`
        return pipelines.update('p', {
          fields: { [`field ${place}`]: { place } },
          tasks: { [name]: place },
          inputs: { [name]: { place } },
          movies: {
            'Movies/shared': { status: { [name]: 'success' } },
            [`Movies/${place}`]: { status: { own: place } }
          }
        })
      })
    )
    for (const [place, document] of written.entries()) {
      const tasks = { all: 'kept', [`task ${place}`]: place }
      t.match(document, { tasks, [`field ${place}`]: { place } }, 'everyone is given what it wrote')
    }
    const whole = (await pipelines.get('p')) as StoredDocument
    const movies = await moviesOf()
    t.strictSame(new Set(Object.keys(movies)), new Set(['Movies/shared', ...numbered(50)]))
    for (const place of places) {
      const name = `task ${place}`
      t.match(whole, {
        [`field ${place}`]: { place },
        tasks: { all: 'kept', [name]: place },
        inputs: { [name]: { place } }
      })
      t.equal(movies['Movies/shared']?.status[name], 'success')
      t.equal(movies[`Movies/${place}`]?.status['own'], place)
      t.equal(movies[`Movies/${place}`]?.['_key'], `${place}`)
    }
  })

  t.test(`${driver}: of 20 who take a task, one has it`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({ _key: 'p', tasks: { other: 'active' } })
    const takers = Array.from({ length: 20 }, (_, place) => place)
    const take = (now: number) =>
      Promise.all(
        takers.map((owner) =>
          pipelines.update(
            'p',
            {
              claims: { a: { owner, until: now + 10 } },
              tasks: { a: 'active' },
              movies: { [`Movies/${now}-${owner}`]: {} }
            },
            { unclaimed: { task: 'a', now } }
          )
        )
      )
    const winnerAt = async (now: number) => {
      const taken = await take(now)
      const winners = takers.filter((place) => taken[place] !== null)
      t.equal(winners.length, 1)
      const [winner] = winners
      t.match(taken[winner as number], { claims: { a: { owner: winner } }, tasks: { a: 'active' } })
      const { claims, movies } = (await pipelines.get('p')) as StoredDocument
      t.strictSame(claims, { a: { owner: winner, until: now + 10 } })
      const own = Object.keys(movies as object).filter((id) => id.startsWith(`Movies/${now}-`))
      t.strictSame(own, [`Movies/${now}-${winner}`], 'nothing of the others is written')
    }
    await winnerAt(100)
    t.strictSame(new Set(await take(109)), new Set([null]), 'the claim is not over')
    await winnerAt(110)
    await winnerAt(1000)
  })

  t.test(`${driver}: a change is made only when its conditions hold`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({
      _key: 'p',
      tasks: {
        done: 'success',
        claimed: 'active',
        odd: 'active',
        ended: 'active',
        yes: 'active',
        null: null
      },
      claims: {
        claimed: { until: 100 },
        odd: { until: '1' },
        ended: 'text',
        yes: { until: true },
        free: { until: 1e9 },
        null: null
      }
    })
    const isFree = async (task: string, now = 50) => {
      const unclaimed = { task, now }
      const { documents } = await pipelines.list({ limit: 1, unclaimed })
      const changed = await pipelines.update('p', { fields: { n: 1 } }, { unclaimed })
      t.equal(documents.length === 1, changed !== null, 'listings agree')
      return changed !== null
    }
    t.ok(await isFree('free'), 'no such key of tasks, whatever the claims say')
    for (const task of ['done', 'claimed', 'odd', 'ended', 'yes', 'null'])
      t.notOk(await isFree(task), task)
    t.notOk(await isFree('claimed', 99))
    t.ok(await isFree('claimed', 100))
    t.ok(await isFree('claimed', 101))
    for (const name of ODD_NAMES) t.ok(await isFree(name), name)
    await pipelines.update('p', { tasks: Object.fromEntries(ODD_NAMES.map((name) => [name, 1])) })
    for (const name of ODD_NAMES) t.notOk(await isFree(name), name)

    const inStatus = async (...status: Array<string | null>) =>
      (await pipelines.update('p', {}, { status })) !== null
    t.ok(await inStatus(null))
    t.ok(await inStatus('running', null))
    t.notOk(await inStatus('running'))
    t.notOk(await inStatus())
    await pipelines.update('p', { fields: { status: 'running' } })
    t.ok(await inStatus('done', 'running'))
    t.notOk(await inStatus('done', null))
    const both = { unclaimed: { task: 'free', now: 50 }, status: ['done'] }
    t.equal(await pipelines.update('p', { fields: { n: 2 } }, both), null)
    const other = { unclaimed: { task: 'done', now: 50 }, status: ['running'] }
    t.equal(await pipelines.update('p', { fields: { n: 2 } }, other), null)
    t.match(await pipelines.get('p'), { n: 1 })
  })

  t.test(`${driver}: a document that is broken is read as far as it can be`, async (t) => {
    const { pipelines, moviesOf, claim } = await prepare(t, open)
    await pipelines.create({
      _key: 'p',
      movies: {
        'Movies/1': { status: 'text' },
        'Movies/2': { status: ['success'] },
        'Movies/3': {}
      },
      tasks: 'text',
      inputs: [1],
      claims: 7
    })
    t.match(await pipelines.update('p', { fields: { n: 1 }, tasks: {}, inputs: {} }), {
      tasks: 'text',
      inputs: [1]
    })
    t.match((await moviesOf())['Movies/1'], { status: 'text' }, 'what is not touched is as it was')
    const free = { task: 'length', now: 0 }
    t.match((await pipelines.list({ limit: 9, unclaimed: free })).documents, [{ _key: 'p' }])
    t.match(await pipelines.reconcile('p', ONE), { a: counts({ ready: 3 }) })
    const claims = await claim()
    t.strictSame(
      (await moviesOf())['Movies/1']?.status,
      { a: 'active' },
      'a status that is no object counts as empty'
    )
    await pipelines.record(
      claims.map((claim) => ended(claim)),
      ONE
    )
    for (const movie of numbered(4).slice(1)) {
      t.strictSame((await moviesOf())[movie]?.status, { a: 'success' }, movie)
    }
    t.match(
      await pipelines.update('p', { tasks: { a: 'x' }, inputs: { e: {} } }, { unclaimed: free }),
      {
        tasks: { a: 'x' },
        inputs: { e: {} }
      }
    )
  })
}

function reconciling(driver: string, open: OpenStores): void {
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

function claiming(driver: string, open: OpenStores): void {
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

function recording(driver: string, open: OpenStores): void {
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

function listing(driver: string, open: OpenStores): void {
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
