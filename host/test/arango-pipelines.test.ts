import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Database } from 'arangojs'
import t, { type Test } from 'tap'
import { openDocumentStores } from '../dist/documents/document-stores.js'
import { createSilentLog } from '../dist/observe/log.js'
import type { ArangoOptions } from '../documents/arango/arango-connection.ts'
import {
  ITEM_LEASE_MS,
  type ItemChange,
  type ItemClaim,
  type ItemEndState,
  type PipelineStore,
  type PlannedTask
} from '../documents/pipeline-store.ts'
import type { DocumentFields } from '../documents/stored-document.ts'
import { pipelineStoreContract } from './pipeline-store-contract.ts'
import { startArangoDouble } from './start-arango-double.ts'

const log = createSilentLog()
const double = await startArangoDouble()
t.teardown(double.stop)
let databases = 0

type More = Partial<ArangoOptions> & { now?: () => number }

function open(more: More = {}) {
  const database = `pipelines-${databases++}`
  return openDocumentStores.arango({ ...double.server, database, backOffMs: 2, log, ...more })
}

pipelineStoreContract('arango', open)

const FAILED = { code: 'HOST_DOCUMENTS_FAILED', statusCode: 503 }
const RAN = { expert: 'e', expert_version: '1', model_sha256: null, extra_params: null }
const ONE: PlannedTask[] = [{ task: 'a', dependsOn: [] }]
const CHAIN: PlannedTask[] = [
  { task: 'a', dependsOn: [] },
  { task: 'b', dependsOn: ['a'] },
  { task: 'c', dependsOn: ['a', 'b'] }
]

/** What each kind of statement has in its text. */
const STATEMENTS = {
  create: 'INSERT @document',
  update: 'nebula_change == @call',
  order: 'INSERT @order INTO @@items',
  head: 'LET flagged',
  rows: "d.place > ''",
  add: 'FOR item IN @added',
  open: 'WITH c.patch',
  fold: 'RETURN NEW._rev',
  clear: 'FOR c IN @folded',
  count: 'LET found = LENGTH',
  claim: 'LET mine',
  record: 'd.recorded == c.call',
  done: "WITH { state: 'success'",
  reset: "WITH { state: 'blocked'"
}

/** The next requests of that kind go wrong. */
function fault(kind: keyof typeof STATEMENTS, how: string, times = 1): Promise<unknown> {
  const query = { query: STATEMENTS[kind] }
  return double.fault({ fault: how, path: '/cursor', times, ...query })
}

async function prepare(t: Test, more: More = {}) {
  const database = more.database ?? `pipelines-${databases++}`
  const stores = await open({ ...more, database })
  t.teardown(() => stores.close())
  t.teardown(double.calm)
  const { pipelines } = stores
  const { host, port, user, password } = double.server
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const raw = new Database({
    url: `http://${host}:${port}`,
    databaseName: database,
    fetchOptions: { headers: { authorization } }
  })
  t.teardown(() => raw.close())
  const collection = raw.collection('pipelines')
  return {
    database,
    pipelines,
    claim: (task: string, limit = 1000, owner = 'host') =>
      pipelines.claim('p', task, { owner, limit }),
    statusOf: async (movie: string) => {
      const movies = (await pipelines.get('p'))?.['movies']
      return (movies as Record<string, { status: DocumentFields }>)[movie]?.status
    },
    /** What others read, of a pipeline that they find by its key. */
    stored: async (): Promise<DocumentFields> =>
      (await collection.documents(['p']))[0] as DocumentFields,
    /** What others write over a document, or as one. */
    write: async (fields: DocumentFields) => {
      const how = { overwriteMode: 'update', mergeObjects: false } as const
      const [outcome] = await collection.saveAll([{ ...fields, _key: 'p' }], how)
      t.notOk((outcome as { error?: boolean }).error)
    }
  }
}

function end(claim: ItemClaim, state: ItemEndState = 'success'): ItemChange {
  const error = state === 'fail' ? 'no reason' : null
  return { claim, state, error, startedAt: 1, finishedAt: 2, ran: RAN }
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, place) => `Movies/${place}`)
}

/** Claims and ends all that there is, as a host does; gives how often each item was begun. */
async function work(
  pipelines: PipelineStore,
  tasks: readonly PlannedTask[],
  { owner = 'host', limit = 1000, begun = new Map<string, number>() } = {}
): Promise<Map<string, number>> {
  for (;;) {
    const counts = (await pipelines.reconcile('p', tasks)) ?? {}
    const isOver = Object.values(counts).every(
      ({ blocked, ready, running }) => blocked + ready + running === 0
    )
    if (isOver) return begun
    for (const { task } of tasks) {
      const claims = await pipelines.claim('p', task, { owner, limit })
      for (const { movie } of claims) {
        const item = `${task} ${movie}`
        begun.set(item, (begun.get(item) ?? 0) + 1)
      }
      const taken = await pipelines.record(
        claims.map((claim) => end(claim)),
        tasks
      )
      if (taken.includes(false)) throw new Error(`an end of ${task} was refused`)
    }
  }
}

const kinds = Object.keys(STATEMENTS) as Array<keyof typeof STATEMENTS>

for (const how of ['unavailable', 'drop-before', 'drop-after', 'cut', 'conflict']) {
  t.test(`${how} at each statement: all is done, and once`, async (t) => {
    const { pipelines, stored, write } = await prepare(t)
    const faults = async () => {
      await double.calm()
      for (const kind of kinds) await fault(kind, how, 2)
    }
    await faults()
    t.match(await pipelines.create({ _key: 'p', movies: ['0', '1', '2'] }), { _key: 'p' })
    const movies = { 'Movies/9': { context: 'c' }, 'Movies/8': {} }
    const begun = await pipelines.update(
      'p',
      { fields: { status: 'running' }, tasks: { a: 'active' }, movies },
      { unclaimed: { task: 'a', now: 0 }, status: [null] }
    )
    t.match(begun, { status: 'running', tasks: { a: 'active' } })
    t.notOk('nebula_change' in (begun ?? {}))
    t.strictSame(await pipelines.reconcile('p', CHAIN).then((counts) => counts?.['a']), {
      ...{ blocked: 0, ready: 5, running: 0, success: 0, fail: 0, skipped: 0 }
    })
    const claims = await pipelines.claim('p', 'a', { owner: 'host', limit: 4 })
    t.strictSame(
      claims.map(({ movie, attempts }) => [movie, attempts]),
      ['0', '1', '2', '9'].map((key) => [`Movies/${key}`, 1])
    )
    t.equal(new Set(claims.map(({ token }) => token)).size, 4)
    const states = ['success', 'fail', 'success', 'success'] as const
    await faults()
    const changes = claims.map((claim, place) => end(claim, states[place]))
    t.strictSame(await pipelines.record(changes, CHAIN), [true, true, true, true])
    t.strictSame(await pipelines.record(changes, CHAIN), [false, false, false, false])
    await write({ movies: { 'Movies/8': { _key: '8', status: { a: 'success' } } } })
    const counts = await pipelines.reconcile('p', CHAIN)
    t.match(counts, { a: { success: 4, fail: 1 }, b: { ready: 4, skipped: 1 }, c: { skipped: 1 } })
    await faults()
    const again = await pipelines.reconcile('p', CHAIN, { again: true })
    t.match(again, { a: { ready: 1, fail: 0 }, b: { ready: 4, blocked: 1, skipped: 0 } })
    await work(pipelines, CHAIN)
    const { items } = await pipelines.items({ pipeline: 'p', limit: 100 })
    t.equal(items.length, 15)
    t.ok(items.every(({ state }) => state === 'success'))
    const isElsewhere = ({ task, movie }: { task: string; movie: string }) =>
      task === 'a' && movie === 'Movies/8'
    t.ok(items.every((item) => item.attempts === (isElsewhere(item) ? 0 : 1)))
    const status = { a: 'success', b: 'success', c: 'success' }
    t.match(await stored(), {
      movies: Object.fromEntries(numbered(3).map((movie) => [movie, { status }]))
    })
    await double.calm()
  })
}

t.test('a call that failed though it was done is not lost, and not done twice', async (t) => {
  const { pipelines, claim } = await prepare(t, { tries: 1 })
  await pipelines.create({ _key: 'p', movies: numbered(6) })
  await pipelines.reconcile('p', ONE)
  await fault('claim', 'drop-after')
  await t.rejects(claim('a', 2), FAILED)
  t.strictSame(
    (await claim('a', 1, 'another')).map(({ movie, attempts }) => [movie, attempts]),
    [['Movies/2', 1]],
    'what one claimed is no other'
  )
  const claims = await claim('a', 2)
  t.strictSame(
    claims.map(({ movie, attempts }) => [movie, attempts]),
    [
      ['Movies/0', 1],
      ['Movies/1', 1]
    ]
  )
  const more = await claim('a', 1)
  t.match(more, [{ movie: 'Movies/3', attempts: 1 }], 'the next claim is a new one')
  await fault('record', 'drop-after')
  const [first, second] = claims as [ItemClaim, ItemClaim]
  const changes = [end(first), end(second, 'fail')]
  await t.rejects(pipelines.record(changes, ONE), FAILED)
  t.strictSame(await pipelines.record(changes, ONE), [true, true])
  t.strictSame(await pipelines.record(changes, ONE), [false, false])
  t.strictSame(await pipelines.record([end(first, 'fail')], ONE), [false])
  t.match(await pipelines.reconcile('p', ONE), { a: { success: 1, fail: 1, running: 2, ready: 2 } })
})

t.test(
  'what was put back by a lost answer, and claimed anew, stays with the new claim',
  async (t) => {
    const { pipelines, claim } = await prepare(t, { tries: 1 })
    await pipelines.create({ _key: 'p', movies: numbered(1) })
    await pipelines.reconcile('p', ONE)
    const [held] = (await claim('a')) as [ItemClaim]
    const back: ItemChange = { claim: held, state: 'ready', notBefore: null, attempts: 0 }
    await fault('record', 'drop-after')
    await t.rejects(pipelines.record([back], ONE), FAILED)
    const [anew] = (await claim('a', 1, 'another')) as [ItemClaim]
    t.equal(anew.attempts, 1)
    t.strictSame(await pipelines.record([back], ONE), [true], 'it was made')
    t.strictSame(await pipelines.record([end(held)], ONE), [false])
    t.strictSame(await pipelines.record([end(anew)], ONE), [true], 'and not made again')
  }
)

t.test('in one list, a change sees those before it', async (t) => {
  const { pipelines, claim } = await prepare(t)
  await pipelines.create({ _key: 'p', movies: numbered(2) })
  await pipelines.reconcile('p', CHAIN)
  const [one, two] = (await claim('a')) as [ItemClaim, ItemClaim]
  const changes: ItemChange[] = [
    { claim: one, state: 'running' },
    end(one),
    end(one),
    end(two, 'fail'),
    { claim: two, state: 'running' },
    { claim: one, state: 'ready', notBefore: null, attempts: 0 }
  ]
  const taken = [true, true, false, true, false, false]
  t.strictSame(await pipelines.record(changes, CHAIN), taken)
  t.match(await pipelines.reconcile('p', CHAIN), { a: { success: 1, fail: 1 }, b: { ready: 1 } })
})

t.test(
  'ends are kept when those that wait for them cannot be told: the next look does',
  async (t) => {
    const { pipelines, claim } = await prepare(t, { tries: 1 })
    await pipelines.create({ _key: 'p', movies: numbered(2) })
    await pipelines.reconcile('p', CHAIN)
    const [one, two] = (await claim('a')) as [ItemClaim, ItemClaim]
    await fault('open', 'drop-before')
    t.strictSame(await pipelines.record([end(one), end(two, 'fail')], CHAIN), [true, true])
    t.strictSame(await claim('b'), [])
    const counts = await pipelines.reconcile('p', CHAIN)
    t.match(counts, { b: { ready: 1, skipped: 1 }, c: { blocked: 1, skipped: 1 } })
    t.equal((await claim('b')).length, 1)
  }
)

t.test('another host heals what a killed one left', async (t) => {
  const { pipelines, claim, database, stored } = await prepare(t, { tries: 1 })
  const other = await prepare(t, { database })
  await pipelines.create({ _key: 'p', movies: numbered(2) })
  await pipelines.reconcile('p', CHAIN)
  await other.pipelines.reconcile('p', CHAIN)
  const [one, two] = (await claim('a')) as [ItemClaim, ItemClaim]
  await fault('open', 'drop-before')
  await pipelines.record([end(one), end(two, 'fail')], CHAIN)
  t.match(await other.pipelines.reconcile('p', CHAIN), {
    b: { ready: 1, skipped: 1 },
    c: { blocked: 1, skipped: 1 }
  })
  const ends = {
    'Movies/0': { status: { a: 'success' } },
    'Movies/1': { status: { a: 'fail', b: 'skipped', c: 'skipped' } }
  }
  t.match(await stored(), { movies: ends })
  await fault('head', 'drop-before')
  await t.rejects(pipelines.reconcile('p', CHAIN, { again: true }), FAILED)
  t.match(await other.pipelines.reconcile('p', CHAIN), {
    a: { ready: 1, fail: 0 },
    b: { ready: 1, blocked: 1, skipped: 0 },
    c: { blocked: 2, skipped: 0 }
  })
})

for (const kind of ['fold', 'clear'] as const) {
  for (const how of ['drop-before', 'drop-after']) {
    t.test(`${how} at ${kind} and then nothing: the fold is done again`, async (t) => {
      const { pipelines, claim, stored, statusOf, database } = await prepare(t, { tries: 1 })
      await pipelines.create({ _key: 'p', movies: numbered(2) })
      await pipelines.reconcile('p', ONE)
      const [one, two] = (await claim('a')) as [ItemClaim, ItemClaim]
      await pipelines.record([end(one)], ONE)
      await fault(kind, how)
      await t.rejects(pipelines.reconcile('p', ONE), FAILED)
      t.strictSame(await statusOf('Movies/0'), { a: 'success' })
      t.strictSame(await statusOf('Movies/1'), { a: 'active' })
      await pipelines.record([end(two, 'fail')], ONE)
      const other = await prepare(t, { database })
      await other.pipelines.reconcile('p', ONE)
      const { _rev, movies } = await stored()
      t.strictSame(movies, {
        'Movies/0': { _key: '0', status: { a: 'success' } },
        'Movies/1': { _key: '1', status: { a: 'fail' } }
      })
      await other.pipelines.reconcile('p', ONE)
      await pipelines.reconcile('p', ONE)
      t.equal((await stored())['_rev'], _rev, 'once it is shown, the document is left alone')
    })
  }
}

t.test('what is written over an end while it is folded stays', async (t) => {
  const { pipelines, claim, stored } = await prepare(t)
  await pipelines.create({ _key: 'p', movies: numbered(1) })
  await pipelines.reconcile('p', ONE)
  const [held] = (await claim('a')) as [ItemClaim]
  await pipelines.record([end(held, 'fail')], ONE)
  await double.requests()
  await fault('fold', 'hold')
  const reconciling = pipelines.reconcile('p', ONE)
  // What there is to fold, how the item stands, and the fold.
  let asked = 0
  while (asked < 3) asked += (await double.requests()).length
  await pipelines.update('p', { movies: { 'Movies/0': { status: { a: 'success' } } } })
  await double.calm()
  t.match(await reconciling, { a: { fail: 0, ready: 0, success: 0 } })
  t.match(await stored(), { movies: { 'Movies/0': { status: { a: 'success' } } } })
})

t.test('two hosts share the work: nothing twice, nothing lost', async (t) => {
  const database = 'for two hosts'
  const one = await prepare(t, { database })
  const two = await prepare(t, { database })
  await one.pipelines.create({ _key: 'p', movies: numbered(150) })
  const begun = new Map<string, number>()
  await Promise.all(
    [one, two, one, two].map(({ pipelines }, place) =>
      work(pipelines, CHAIN, { owner: `host ${place % 2}`, limit: 7 + place, begun })
    )
  )
  t.equal(begun.size, 450)
  t.ok([...begun.values()].every((count) => count === 1))
  const status = { a: 'success', b: 'success', c: 'success' }
  const { movies } = await one.stored()
  t.strictSame(
    movies,
    Object.fromEntries(numbered(150).map((id) => [id, { _key: id.slice(7), status }]))
  )
})

t.test('a server that goes and comes back costs only time', async (t) => {
  const { pipelines, stored } = await prepare(t, { tries: 100, backOffMs: 20 })
  await pipelines.create({ _key: 'p', movies: numbered(300) })
  let isOver = false
  const working = work(pipelines, CHAIN, { limit: 10 }).finally(() => {
    isOver = true
  })
  for (let times = 0; times < 5 && !isOver; times++) {
    await pause(30)
    await double.listening(false)
    await pause(10)
    await double.listening(true)
  }
  const begun = await working
  t.equal(begun.size, 900)
  t.ok([...begun.values()].every((count) => count === 1))
  const { movies } = await stored()
  const statuses = Object.values(movies as Record<string, { status: DocumentFields }>)
  t.ok(statuses.every(({ status }) => Object.values(status).join() === 'success,success,success'))
})

t.test('others who rewrite the document meanwhile lose nothing, and are heard', async (t) => {
  const { pipelines, claim, stored, write, statusOf } = await prepare(t)
  await pipelines.create({ _key: 'p', movies: numbered(2), tag: 'x' })
  await pipelines.reconcile('p', CHAIN)
  const before = (await stored())['movies'] as DocumentFields
  const [one] = (await claim('a')) as [ItemClaim]
  await pipelines.record([end(one)], CHAIN)
  await pipelines.reconcile('p', CHAIN)
  const added = { 'Movies/new': { status: { a: 'success' } } }
  await write({ movies: { ...before, ...added }, tasks: { z: 'active' } })
  const counts = await pipelines.reconcile('p', CHAIN)
  t.match(counts, { a: { running: 1, success: 1 }, b: { ready: 2, blocked: 1 } })
  t.match(await stored(), {
    movies: { 'Movies/0': { status: { a: 'success' } }, ...added },
    tasks: { z: 'active' },
    tag: 'x'
  })
  const entries = Object.entries((await stored())['movies'] as Record<string, DocumentFields>)
  const list = entries.map(([_id, entry]) => ({ _id, ...entry }))
  await write({ movies: [...list, { _id: 'Movies/last', status: null }, 'Movies/text', 7, null] })
  t.match(await statusOf('Movies/0'), { a: 'success' })
  t.match(await pipelines.reconcile('p', CHAIN), { a: { ready: 2 }, b: { ready: 2, blocked: 3 } })
  const movies = (await pipelines.get('p'))?.['movies']
  t.same(
    Object.keys(movies as object).sort(),
    ['0', '1', 'last', 'new', 'text'].map((key) => `Movies/${key}`)
  )
  const found = await claim('b')
  t.strictSame(found.map(({ movie }) => movie).sort(), ['Movies/0', 'Movies/new'])
  await pipelines.record(
    found.map((each) => end(each)),
    CHAIN
  )
  await pipelines.reconcile('p', CHAIN)
  const now = (await stored())['movies'] as Record<string, DocumentFields>
  t.match(now, { 'Movies/0': { status: { a: 'success', b: 'success' } }, 'Movies/text': {} })
  t.equal(Object.keys(now).length, 5, 'it is an object again, with all that could be read')
})

t.test('a change of a document whose movies are a list makes it an object', async (t) => {
  const { pipelines, write, stored } = await prepare(t)
  const listed = [{ _id: 'Movies/1', _key: '1', status: { a: 'x' } }, { _key: '2' }, null]
  await write({ movies: listed, inputs: null, tasks: 'text' })
  t.match(await pipelines.update('p', { fields: { n: 1 } }), { n: 1, tasks: 'text' })
  t.strictSame((await stored())['movies'], listed, 'what is not touched stays')
  const movies = { 'Movies/2': { status: { b: 'y' } }, 'Movies/3': {} }
  await pipelines.update('p', { movies, tasks: { a: 'active' }, inputs: { e: {} } })
  t.match(await stored(), {
    movies: {
      'Movies/1': { _key: '1', status: { a: 'x' } },
      'Movies/2': { _key: '2', status: { b: 'y' } },
      'Movies/3': { _key: '3', status: {} }
    },
    tasks: { a: 'active' },
    inputs: { e: {} }
  })
  await write({ movies: listed })
  const never = { status: ['never'] }
  t.equal(await pipelines.update('p', { movies }, never), null)
  t.equal(await pipelines.update('q', { movies }, never), undefined)
})

t.test('what a list says of tasks of others counts too', async (t) => {
  const { pipelines, write, claim, stored } = await prepare(t)
  const tasks = [
    { task: 'a', dependsOn: [] },
    { task: 'b', dependsOn: ['a', 'x'] }
  ]
  const listed = [{ _id: 'Movies/1', _key: '1', status: { x: 'success' } }, 'Movies/2']
  await write({ movies: listed })
  await pipelines.reconcile('p', tasks)
  const claims = await claim('a')
  await write({ movies: listed })
  await pipelines.record(
    claims.map((each) => end(each)),
    tasks
  )
  t.match(await pipelines.reconcile('p', tasks), { b: { ready: 1, blocked: 1 } })
  t.match(await stored(), { movies: { 'Movies/1': { status: { x: 'success', a: 'success' } } } })
})

t.test('what the seed wrote, and what others broke, is run', async (t) => {
  const { pipelines, write, stored } = await prepare(t)
  const seed = {
    id: 'p',
    movies: {
      'Movies/-3132222071598952047': {
        _key: '-3132222071598952047',
        context: '',
        status: { videoprocessing: 'success', a: 'fail' }
      }
    },
    tasks: { videoprocessing: 'success', a: 'fail' },
    inputs: { videoprocessing: { is_async: 'true', movies: [{ movie_id: '', url: 'u' }] } },
    config_name: 'default'
  }
  await write(seed)
  const tasks = [
    { task: 'a', dependsOn: ['videoprocessing'] },
    { task: 'b', dependsOn: ['a', 'videoprocessing'] },
    { task: 'never', dependsOn: ['unknown'] }
  ]
  await pipelines.reconcile('p', tasks)
  const [claim] = (await pipelines.claim('p', 'a', { owner: 'host', limit: 5 })) as [ItemClaim]
  t.equal(claim.movie, 'Movies/-3132222071598952047')
  await pipelines.record([end(claim)], tasks)
  t.equal((await pipelines.claim('p', 'b', { owner: 'host', limit: 5 })).length, 1)
  t.match(await pipelines.reconcile('p', tasks), { b: { running: 1 }, never: { blocked: 1 } })
  const { _id, _key, _rev, ...rest } = await stored()
  const entry = seed.movies['Movies/-3132222071598952047']
  const status = { ...entry.status, a: 'success' }
  t.strictSame(rest, {
    ...seed,
    movies: { 'Movies/-3132222071598952047': { ...entry, status } }
  })
  for (const movies of [null, 'text', 7, [], [null, 7, {}], {}]) {
    await write({ movies })
    t.ok(await pipelines.reconcile('p', ONE), JSON.stringify(movies))
    t.strictSame((await pipelines.get('p'))?.['movies'], {})
  }
  await write({ movies: { 'Movies/1': null, 'Movies/2': { status: 'text' }, 'Movies/3': [] } })
  t.match(await pipelines.reconcile('p', ONE), { a: { ready: 3 } })
  const claims = await pipelines.claim('p', 'a', { owner: 'host', limit: 5 })
  await pipelines.record(
    claims.map((each) => end(each)),
    ONE
  )
  await pipelines.reconcile('p', ONE)
  const done = { status: { a: 'success' } }
  t.match((await stored())['movies'], { 'Movies/1': done, 'Movies/2': done, 'Movies/3': done })
})

t.test('what was put back though it is done elsewhere by now is not run again', async (t) => {
  const { pipelines, claim, write } = await prepare(t)
  await pipelines.create({ _key: 'p', movies: numbered(1) })
  await pipelines.reconcile('p', CHAIN)
  const [held] = (await claim('a')) as [ItemClaim]
  await write({ movies: { 'Movies/0': { _key: '0', status: { a: 'success' } } } })
  t.match(await pipelines.reconcile('p', CHAIN), { a: { running: 1 } })
  await pipelines.record([{ claim: held, state: 'ready', notBefore: null, attempts: 0 }], CHAIN)
  t.match(await pipelines.reconcile('p', CHAIN), { a: { success: 1 }, b: { ready: 1 } })
})

t.test('a host that lost its lease has nothing more to say', async (t) => {
  const clock = { now: 1_700_000_000_000 }
  const database = 'for leases'
  const one = await prepare(t, { database, now: () => clock.now })
  const two = await prepare(t, { database, now: () => clock.now })
  await one.pipelines.create({ _key: 'p', movies: numbered(2) })
  await one.pipelines.reconcile('p', ONE)
  const [held, other] = (await one.claim('a')) as [ItemClaim, ItemClaim]
  clock.now += ITEM_LEASE_MS - 1
  t.strictSame(await two.claim('a'), [])
  await one.pipelines.record([{ claim: held, state: 'running' }], ONE)
  clock.now += 1
  const taken = await two.claim('a')
  t.match(taken, [{ movie: other.movie, attempts: 2 }])
  t.strictSame(await one.pipelines.record([end(other), end(held)], ONE), [false, true])
  t.strictSame(await two.pipelines.record([end(taken[0] as ItemClaim)], ONE), [true])
})

t.test('the bytes for an item are the same in a pipeline of any size', async (t) => {
  const path = fileURLToPath(new URL('../../test/support/arango-double.js', import.meta.url))
  const counting = spawn(process.execPath, [path], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => counting.stdin.end())
  const [line] = await once(createInterface({ input: counting.stdout }), 'line')
  const { url, admin } = JSON.parse(line) as { url: string; admin: string }
  const { hostname: host, port } = new URL(url)
  const server = { host, port: Number(port), user: 'root', password: '', database: 'bytes', log }
  const stores = await openDocumentStores.arango(server)
  t.teardown(() => stores.close())
  const traffic = async () =>
    (await (await fetch(`${admin}/traffic`)).json()) as {
      received: number
      written: Record<string, number>
    }
  const { pipelines } = stores
  const measure = async (count: number) => {
    await pipelines.create({ _key: 'p', movies: numbered(count) })
    await traffic()
    await work(pipelines, CHAIN, { limit: 100 })
    const { received, written } = await traffic()
    const items = count * CHAIN.length
    return { received: received / items, items: (written['pipeline_items'] ?? 0) / items }
  }
  const small = await measure(300)
  await stores.pipelines.list({ limit: 1 })
  const system = new Database({ url, auth: { username: 'root', password: '' } })
  t.teardown(() => system.close())
  for (const collection of ['pipelines', 'pipeline_items']) {
    const body = JSON.stringify({ database: 'bytes', collection })
    await fetch(`${admin}/drop`, { method: 'POST', body })
  }
  await t.rejects(pipelines.list({ limit: 1 }), FAILED)
  const large = await measure(3000)
  t.comment(JSON.stringify({ small, large }))
  t.ok(large.received < small.received * 1.1, 'sent')
  t.ok(large.items < small.items * 1.1, 'written')
})
