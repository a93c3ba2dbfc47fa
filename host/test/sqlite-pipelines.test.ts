import { join } from 'node:path'
import t from 'tap'
import { openDocumentStores } from '../dist/documents/document-stores.js'
import { SqliteDocuments } from '../dist/documents/sqlite/sqlite-documents.js'
import { SqlitePipelines } from '../dist/documents/sqlite/sqlite-pipelines.js'
import { createSilentLog } from '../dist/observe/log.js'
import type { ItemChange, ItemClaim } from '../documents/pipeline-store.ts'
import { pipelineStoreContract } from './pipeline-store-contract.ts'

const folder = t.testdir()
const log = createSilentLog()
let folders = 0

pipelineStoreContract('sqlite', ({ now }) =>
  openDocumentStores.sqlite({ dir: join(folder, `${folders++}`), log, now })
)

const CHAIN = [
  { task: 'a', dependsOn: [] },
  { task: 'b', dependsOn: ['a'] }
]
const RAN = { expert: 'e', expert_version: null, model_sha256: null, extra_params: { n: 1 } }

function ended(claim: ItemClaim, state: 'success' | 'fail' = 'success'): ItemChange {
  return { claim, state, error: null, startedAt: 1, finishedAt: 2, ran: RAN }
}

t.test('nothing is lost over a restart, and what was running waits again', async (t) => {
  const dir = t.testdir()
  const before = await openDocumentStores.sqlite({ dir, log })
  const movies = ['1', '2', '3', '4', '5']
  await before.pipelines.create({ _key: 'p', movies, tasks: { a: 'active' }, inputs: { e: {} } })
  await before.pipelines.reconcile('p', CHAIN)
  const options = { owner: 'first', limit: 4 }
  const [one, two, three, four] = await before.pipelines.claim('p', 'a', options)
  const claims = [one, two, three, four] as [ItemClaim, ItemClaim, ItemClaim, ItemClaim]
  await before.pipelines.record([ended(claims[0]), ended(claims[1], 'fail')], CHAIN)
  const notBefore = Date.now() + 1e6
  await before.pipelines.record(
    [{ claim: claims[3], state: 'ready', notBefore, attempts: 3 }],
    CHAIN
  )
  const writing = before.pipelines.update('p', {
    movies: { 'Movies/6': {} },
    tasks: { b: 'active' }
  })
  const making = before.pipelines.create({ _key: 'q', movies })
  const looking = before.pipelines.reconcile('p', CHAIN)
  await before.close()
  await Promise.all([writing, making, looking])
  const after = await openDocumentStores.sqlite({ dir, log })
  t.teardown(() => after.close())
  const { pipelines } = after
  t.strictSame(await pipelines.get('p'), {
    ...(await writing),
    movies: {
      'Movies/1': { _key: '1', status: { a: 'success' } },
      'Movies/2': { _key: '2', status: { a: 'fail', b: 'skipped' } },
      'Movies/3': { _key: '3', status: {} },
      'Movies/4': { _key: '4', status: {} },
      'Movies/5': { _key: '5', status: {} },
      'Movies/6': { _key: '6', status: {} }
    }
  })
  t.match(await pipelines.get('q', { movies: false }), await making)
  t.strictSame(await pipelines.record([ended(claims[2])], CHAIN), [false], 'old claims are void')
  const { items } = await pipelines.items({ pipeline: 'p', task: 'a', limit: 9 })
  t.match(items, [
    { state: 'success', attempts: 1, expert: 'e', extra_params: { n: 1 } },
    { state: 'fail', attempts: 1 },
    { state: 'ready', attempts: 1 },
    { state: 'ready', attempts: 3 },
    { state: 'ready', attempts: 0 }
  ])
  await pipelines.reconcile('p', CHAIN)
  const again = await pipelines.claim('p', 'a', { owner: 'second', limit: 9 })
  t.match(again, [
    { movie: 'Movies/3', attempts: 2 },
    { movie: 'Movies/5', attempts: 1 },
    { movie: 'Movies/6', attempts: 1 }
  ])
  const tokens = new Set([...claims, ...again].map(({ token }) => token))
  t.equal(tokens.size, 7, 'no token comes twice')
})

t.test('what a document came to say while its item ran counts after a restart', async (t) => {
  const dir = t.testdir()
  const before = await openDocumentStores.sqlite({ dir, log })
  await before.pipelines.create({ _key: 'p', movies: ['1'] })
  await before.pipelines.reconcile('p', CHAIN)
  await before.pipelines.claim('p', 'a', { owner: 'first', limit: 1 })
  await before.pipelines.update('p', { movies: { 'Movies/1': { status: { a: 'success' } } } })
  await before.pipelines.reconcile('p', CHAIN)
  await before.close()
  const { pipelines, close } = await openDocumentStores.sqlite({ dir, log })
  t.teardown(close)
  t.match(await pipelines.reconcile('p', CHAIN), { a: { success: 1 }, b: { ready: 1 } })
})

t.test('what is left of a creation that was not finished is seen by nobody and goes', async (t) => {
  const dir = t.testdir()
  const path = join(dir, 'documents.sqlite')
  const migrating = await openDocumentStores.sqlite({ dir, log })
  await migrating.close()
  const rows = async () => {
    const documents = await SqliteDocuments.open({ path, log })
    const [pipelines, movies] = await documents.run(
      { sql: 'SELECT num FROM pipelines' },
      { sql: 'SELECT seq FROM pipeline_movies' }
    )
    await documents.close()
    return [pipelines?.rows.length, movies?.rows.length]
  }
  const documents = await SqliteDocuments.open({ path, log })
  await documents.run(
    { sql: "INSERT INTO pipelines (num, rev, body) VALUES (1, 1, '{}')" },
    {
      sql: `INSERT INTO pipeline_movies (pipeline, seq, movie, body, changed)
            VALUES (1, 1, 'Movies/1', '{}', 1)`
    }
  )
  await documents.close()
  t.strictSame(await rows(), [1, 1])
  const stores = await openDocumentStores.sqlite({ dir, log })
  t.strictSame((await stores.pipelines.list({ limit: 9 })).documents, [])
  await stores.close()
  t.strictSame(await rows(), [0, 0])
})

t.test('a creation that fails, or comes second, leaves no rows', async (t) => {
  const dir = t.testdir()
  const stores = await openDocumentStores.sqlite({ dir, log })
  const movies = Array.from({ length: 4100 }, (_, place) => `${place}`)
  const making = [1, 2].map(() => stores.pipelines.create({ _key: 'p', movies }))
  const outcomes = await Promise.allSettled(making)
  t.strictSame(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  await stores.close()
  const documents = await SqliteDocuments.open({ path: join(dir, 'documents.sqlite'), log })
  t.teardown(() => documents.close())
  const [kept] = await documents.run({
    sql: `SELECT (SELECT count(*) FROM pipelines) AS pipelines,
            (SELECT count(*) FROM pipeline_movies) AS movies`
  })
  t.strictSame(kept?.rows, [{ pipelines: 1, movies: 4100 }])
})

t.test('a change that cannot be written takes no other along', async (t) => {
  const stores = await openDocumentStores.sqlite({ dir: t.testdir(), log })
  const { pipelines } = stores
  await pipelines.create({ _key: 'p', movies: ['1'] })
  const outcomes = await Promise.allSettled([
    pipelines.update('p', { tasks: { a: 'active' } }),
    pipelines.update('p', { movies: { 'a b': {} } }),
    pipelines.update('p', { tasks: { b: 'active' } })
  ])
  t.strictSame(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled']
  )
  t.match(await pipelines.get('p'), { tasks: { a: 'active', b: 'active' } })
  await stores.close()
  const failed = { code: 'HOST_DOCUMENTS_FAILED', statusCode: 503, message: /closed/ }
  await t.rejects(pipelines.get('p'), failed)
  await t.rejects(pipelines.create({}), failed)
  await t.rejects(pipelines.update('p', { tasks: { a: 1 } }), failed)
  await t.rejects(pipelines.reconcile('p', CHAIN), failed)
  await t.rejects(pipelines.claim('p', 'a', { owner: 'host', limit: 1 }), failed)
})

t.test('others are answered while a large pipeline is made and looked at', async (t) => {
  const stores = await openDocumentStores.sqlite({ dir: t.testdir(), log })
  t.teardown(() => stores.close())
  const { pipelines, movies } = stores
  const answersDuring = async (work: Promise<unknown>) => {
    let [answers, isDone] = [0, false]
    const done = work.then(() => {
      isDone = true
    })
    for (; !isDone; answers++) await movies.get('a')
    await done
    return answers
  }
  const ids = Array.from({ length: 20_000 }, (_, place) => `${place}`)
  t.ok((await answersDuring(pipelines.create({ _key: 'p', movies: ids }))) >= 10)
  t.ok((await answersDuring(pipelines.reconcile('p', CHAIN))) >= 10)
  t.ok((await answersDuring(pipelines.get('p'))) >= 10)
})

t.test('no step on the way of an item looks at all movies or items', async (t) => {
  const documents = await SqliteDocuments.open({ path: join(t.testdir(), 'a.sqlite'), log })
  t.teardown(() => documents.close())
  const looks: string[] = []
  const run: typeof documents.run = async (...statements) => {
    for (const { sql, params = [] } of statements) {
      const [plan] = await documents.run({ sql: `EXPLAIN QUERY PLAN ${sql}`, params })
      const steps = plan?.rows.map(({ detail }) => String(detail)) ?? []
      // The largest of an index is one step, and counting is one stretch of it for each state.
      const isShort = /max\((seq|changed)\)|count\(\*\)/.test(sql) ? /\((pipeline|task)=\?/ : /^$/
      looks.push(...steps.filter((step) => !isShort.test(step)).map((step) => `${step}: ${sql}`))
    }
    return documents.run(...statements)
  }
  const pipelines = await SqlitePipelines.open({ run } as typeof documents)
  looks.length = 0
  await pipelines.create({ _key: 'p', movies: ['1', '2', '3', '4'] })
  await pipelines.reconcile('p', CHAIN)
  const claims = await pipelines.claim('p', 'a', { owner: 'host', limit: 3 })
  const [one, two, three] = claims as [ItemClaim, ItemClaim, ItemClaim]
  const back = { claim: three, state: 'ready' as const, notBefore: null, attempts: 1 }
  await pipelines.record([ended(one), ended(two, 'fail'), back], CHAIN)
  await pipelines.update('p', { movies: { 'Movies/3': { status: { a: 'success' } }, 5: {} } })
  await pipelines.reconcile('p', CHAIN)
  await pipelines.items({ pipeline: 'p', limit: 2 })
  await pipelines.items({ pipeline: 'p', state: 'ready', limit: 2 })
  const rows = /^(SCAN|SEARCH) (pipeline_items|pipeline_movies|item|m|other|i)\b/
  const found = looks.filter((look) => rows.test(look))
  t.ok(found.length > 20)
  const isBounded = /\((pipeline|task)=\? AND (seq|movie|changed|state=\? AND due)\b/
  t.strictSame(
    found.filter((look) => !isBounded.test(look)),
    []
  )
})
