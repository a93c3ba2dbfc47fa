import { spawn } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Worker } from 'node:worker_threads'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { Statement } from '../sqlite/sqlite-store.ts'

// As it is built: its thread has an entry file of its own.
const BUILT = new URL('../dist/sqlite/sqlite-store.js', import.meta.url).href
const { SqliteStore, StoreError } = (await import(
  BUILT
)) as typeof import('../sqlite/sqlite-store.ts')

const PAIRS = 'CREATE TABLE pair (id INTEGER PRIMARY KEY, name TEXT UNIQUE)'
const silent = pino({ level: 'silent' })

function add(id: number, name: string): Statement {
  return { sql: 'INSERT INTO pair VALUES (?, ?)', params: [id, name] }
}

async function open(t: Test, options: { migration?: string; maxBytes?: number; log?: never } = {}) {
  const path = join(t.testdir(), 'store.db')
  const { migration = PAIRS, maxBytes, log = silent } = options
  const store = await SqliteStore.open({ path, migrations: [migration], maxBytes, log })
  t.teardown(() => store.close())
  return { store, path, reopen: () => SqliteStore.open({ path, migrations: [migration], log }) }
}

type Store = Awaited<ReturnType<typeof open>>['store']

async function query(store: Store, sql: string) {
  const [result] = await store.run({ sql })
  return result?.rows
}

async function namesIn(store: Store) {
  return (await query(store, 'SELECT name FROM pair ORDER BY id'))?.map((row) => row['name'])
}

/** The kind of each failure; null for what was done. */
async function kindsOf(calls: Array<Promise<unknown>>): Promise<Array<string | null>> {
  const settled = await Promise.allSettled(calls)
  return settled.map((result) => {
    if (result.status === 'fulfilled') return null
    if (!(result.reason instanceof StoreError)) throw result.reason
    return result.reason.kind
  })
}

t.test('the statements of a call are all done or none is', async (t) => {
  const { store } = await open(t)
  t.match(await store.run(add(1, 'one'), add(2, 'two')), [{ changes: 1 }, { changes: 1 }])
  await t.rejects(store.run(add(3, 'three'), add(4, 'one')), {
    name: 'StoreError',
    kind: 'constraint',
    message: /UNIQUE constraint failed: pair.name/
  })
  t.strictSame(await namesIn(store), ['one', 'two'])
  t.strictSame(await store.run(), [])
})

t.test('of calls made together those that fail do so alone', async (t) => {
  const sqls = {
    'ends itself': ['INSERT INTO pair VALUES (?, ?)', 'constraint'],
    'ends the transaction': ['INSERT OR ROLLBACK INTO pair VALUES (?, ?)', 'constraint'],
    'names no table': ['INSERT INTO absent VALUES (?, ?)', 'other'],
    'is about transactions': ['COMMIT', 'other']
  } as const
  for (const [title, [sql, kind]] of Object.entries(sqls)) {
    await t.test(`when it ${title}`, async (t) => {
      const { store, reopen } = await open(t)
      const calls = Array.from({ length: 64 }, (_, id) =>
        id === 40
          ? store.run(add(1000, 'first of two'), { sql, params: sql === 'COMMIT' ? [] : [40, '7'] })
          : store.run(add(id, String(id)))
      )
      const kinds = await kindsOf(calls)
      t.strictSame(
        kinds,
        kinds.map((_, id) => (id === 40 ? kind : null))
      )
      await store.close()
      const again = await reopen()
      t.teardown(() => again.close())
      const wanted = Array.from({ length: 64 }, (_, id) => String(id)).filter((id) => id !== '40')
      t.strictSame(await namesIn(again), wanted)
    })
  }
})

t.test('a statement that keeps a part of its work is undone with its call', async (t) => {
  const { store } = await open(t)
  const half = "INSERT OR FAIL INTO pair VALUES (1, 'a'), (2, 'b'), (3, 'a')"
  t.strictSame(await kindsOf([store.run(add(9, 'nine')), store.run({ sql: half })]), [
    null,
    'constraint'
  ])
  t.strictSame(await kindsOf([store.run({ sql: half })]), ['constraint'], 'alone in its batch')
  t.strictSame(await namesIn(store), ['nine'])
})

t.test('calls are done in the order they are made', async (t) => {
  const { store } = await open(t)
  const seen: unknown[] = []
  const calls: Array<Promise<unknown>> = []
  for (let id = 0; id < 300; id++) {
    calls.push(store.run(add(id, String(id))))
    calls.push(query(store, 'SELECT count(*) AS n FROM pair').then((rows) => seen.push(rows?.[0])))
    if (id % 100 === 0) await calls[0]
  }
  await Promise.all(calls)
  t.strictSame(
    seen,
    Array.from({ length: 300 }, (_, id) => ({ n: id + 1 }))
  )
})

t.test('a result tells the rows, and how many were changed', async (t) => {
  const { store } = await open(t)
  const results = await store.run(
    { sql: "INSERT INTO pair VALUES (1, 'a'), (2, 'b'), (3, NULL) RETURNING id" },
    { sql: 'SELECT * FROM pair WHERE id > ?', params: [1] },
    { sql: 'WITH few AS (SELECT 5 AS n) SELECT n FROM few' },
    { sql: "UPDATE pair SET name = 'c' || id WHERE id < 3" },
    { sql: 'DELETE FROM pair WHERE id = 99 RETURNING id' },
    { sql: "INSERT INTO pair VALUES (1, 'x') ON CONFLICT DO NOTHING" },
    { sql: 'WITH few AS (SELECT 3 AS n) DELETE FROM pair WHERE id IN (SELECT n FROM few)' }
  )
  t.strictSame(results, [
    { rows: [{ id: 1 }, { id: 2 }, { id: 3 }], changes: 3 },
    {
      rows: [
        { id: 2, name: 'b' },
        { id: 3, name: null }
      ],
      changes: 0
    },
    { rows: [{ n: 5 }], changes: 0 },
    { rows: [], changes: 2 },
    { rows: [], changes: 0 },
    { rows: [], changes: 0 },
    { rows: [], changes: 1 }
  ])
  await store.run({ sql: 'ALTER TABLE pair ADD COLUMN more INTEGER DEFAULT 7' })
  const rows = await store.run({ sql: 'SELECT * FROM pair WHERE id > ?', params: [1] })
  t.strictSame(rows[0]?.rows, [{ id: 2, name: 'c2', more: 7 }], 'known SQL, other columns')
})

t.test('values come back as they were, or are refused', async (t) => {
  const { store } = await open(t)
  const sql = 'SELECT ?1 AS value, typeof(?1) AS type'
  const rows: Array<[given: string | number | null, kept: string | number | null, type: string]> = [
    ['', '', 'text'],
    ["größer 😀 漢字 \n\t'", "größer 😀 漢字 \n\t'", 'text'],
    ['\ud800x', '\ufffdx', 'text'],
    [0, 0, 'integer'],
    [-5, -5, 'integer'],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, 'integer'],
    [0.5, 0.5, 'real'],
    [1e300, 1e300, 'real'],
    [Number.NaN, null, 'null'],
    [null, null, 'null']
  ]
  for (const [given, value, type] of rows) {
    const [result] = await store.run({ sql, params: [given] })
    t.strictSame(result?.rows, [{ value, type }], JSON.stringify(given))
  }
  for (const wrong of [undefined, true, {}, () => {}, Symbol('x'), 5n, 'a\0b']) {
    await t.rejects(store.run({ sql, params: [wrong as never] }), {
      kind: 'other',
      message: /^parameter 1 (is a |holds a NUL)/
    })
  }
  await t.rejects(store.run({ sql: 'SELECT ?', params: [1, 2] }), {
    kind: 'other',
    message: /range/
  })
  await t.rejects(store.run({ sql: 'SELECT 9007199254740993' }), {
    kind: 'other',
    message: /too large/
  })
  t.equal(store.failure, null)
})

t.test('what is given is what was there when the call was made', async (t) => {
  const { store } = await open(t)
  const params = [1, 'before']
  const call = store.run({ sql: 'INSERT INTO pair VALUES (?, ?)', params })
  params[1] = 'after'
  await call
  t.strictSame(await namesIn(store), ['before'])
})

t.test('neither many calls, large ones nor many texts are too much', async (t) => {
  const { store } = await open(t)
  const large = 'x'.repeat(5_000_000)
  const calls = Array.from({ length: 2500 }, (_, id) =>
    store.run(add(id, id % 500 === 0 ? large + id : String(id)))
  )
  t.equal((await Promise.all(calls)).length, 2500)
  await store.run(add(5000, 'y'.repeat(20_000_000)))
  t.strictSame(await query(store, 'SELECT count(*) AS n, max(length(name)) AS most FROM pair'), [
    { n: 2501, most: 20_000_000 }
  ])
  const texts = Array.from({ length: 700 }, (_, n) => query(store, `SELECT ${n % 350} AS n`))
  t.strictSame(
    (await Promise.all(texts)).map((rows) => rows?.[0]?.['n']),
    Array.from({ length: 700 }, (_, n) => n % 350)
  )
})

t.test('a full store refuses what it has no room for, and nothing else', async (t) => {
  const { store, path } = await open(t, {
    migration: 'CREATE TABLE pair (id INTEGER PRIMARY KEY, name TEXT)',
    maxBytes: 400_000
  })
  const large = 'x'.repeat(100_000)
  const calls = Array.from({ length: 64 }, (_, id) =>
    store.run(add(id, id % 8 === 7 ? large + id : String(id)))
  )
  const kinds = await kindsOf(calls)
  t.strictSame(
    kinds,
    kinds.map((_, id) => (id % 8 === 7 && id > 24 ? 'full' : null)),
    'three large ones fit'
  )
  t.equal((await namesIn(store))?.length, 59, 'reads go on')
  t.strictSame(await kindsOf([store.run(add(100, large))]), ['full'])
  await store.run({ sql: 'DELETE FROM pair WHERE id = 7' })
  t.strictSame(await kindsOf([store.run(add(100, large))]), [null], 'there is room again')
  await store.close()
  t.ok(statSync(path).size <= 400_000)
})

t.test('when the disk refuses a commit, what is said to be kept is kept', async (t) => {
  const path = join(t.testdir(), 'store.db')
  // All files of the process are limited: the commit of the batch does not fit in the log.
  const child = run(
    `const body = 'x'.repeat(2000)
    const calls = Array.from({ length: 900 }, (_, id) =>
      store.run({ sql: 'INSERT INTO pair VALUES (?, ?)', params: [id, id + body] }))
    const settled = await Promise.allSettled(calls)
    const ids = settled.flatMap(({ status }, id) => status === 'fulfilled' ? [id] : [])
    const kinds = new Set(settled.map(({ reason }) => reason?.kind ?? null))
    const [{ rows }] = await store.run({ sql: 'SELECT id FROM pair ORDER BY id' })
    await store.close()
    console.log(JSON.stringify({ ids, seen: rows.map((row) => row.id), kinds: [...kinds] }))`,
    path,
    'ulimit -f 1000'
  )
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  t.match(stderr, /^the log of .+ stays, it could not be carried over: disk I\/O error\n$/)
  const { ids, seen, kinds } = JSON.parse(stdout)
  t.strictSame(kinds, [null, 'io'])
  t.ok(ids.length > 50 && ids.length < 900, `${ids.length} calls were done`)
  t.strictSame(seen, ids)
  const store = await SqliteStore.open({ path, migrations: [PAIRS], log: silent })
  t.teardown(() => store.close())
  const kept = (await query(store, 'SELECT id FROM pair ORDER BY id'))?.map((row) => row['id'])
  t.strictSame(kept, ids)
})

t.test('close waits for what was asked before, and refuses what comes after', async (t) => {
  const { store, path, reopen } = await open(t)
  const before = Array.from({ length: 1500 }, (_, id) => store.run(add(id, String(id))))
  const closed = store.close()
  const after = store.run(add(5000, 'late'))
  t.strictSame(await kindsOf([after]), ['closed'])
  await Promise.all([closed, store.close()])
  t.equal((await kindsOf(before)).filter((kind) => kind === null).length, 1500)
  await store.close()
  t.strictSame(await kindsOf([store.run(add(5000, 'later'))]), ['closed'])
  t.equal(store.failure, null)
  t.strictSame(
    ['', '-wal', '-shm', '.owner'].map((suffix) => existsSync(path + suffix)),
    [true, false, false, false]
  )
  const again = await reopen()
  t.equal((await namesIn(again))?.length, 1500)
  await again.close()
})

t.test('a process can exit once close is done, and nothing was written to stderr', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const child = run(
    `const calls = Array.from({ length: 100 }, (_, id) =>
      store.run({ sql: 'INSERT INTO pair VALUES (?, ?)', params: [id, 'n' + id] }))
    await store.close()
    console.log((await Promise.all(calls)).length)
    process.exit(7)`,
    path
  )
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit')
  ])
  t.strictSame([stdout, stderr, code], ['100\n', '', 7])
})

t.test('when the thread is gone, all calls fail, and it is logged once', async (t) => {
  const ends: Record<string, [(worker: Worker) => unknown, RegExp]> = {
    'it is ended': [(worker) => worker.terminate(), /its thread failed: it ended with code 1$/],
    'it throws': [(worker) => worker.postMessage(5), /its thread failed: .* is not iterable/]
  }
  for (const [title, [end, words]] of Object.entries(ends)) {
    await t.test(title, async (t) => {
      let worker: Worker | undefined
      const notice = (message: unknown) => {
        worker = (message as { worker: Worker }).worker
      }
      subscribe('worker_threads', notice)
      const lines: Array<{ level: number; msg: string }> = []
      const log = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) })
      const { store } = await open(t, { log: log as never })
      unsubscribe('worker_threads', notice)
      await store.run(add(1, 'one'))
      t.equal(store.failure, null)
      const gone = new Promise((resolve) => worker?.once('exit', resolve))
      void end(worker as Worker)
      const calls = [store.run(add(2, 'two')), store.run(add(3, 'three'))]
      t.strictSame(await kindsOf(calls), ['other', 'other'])
      t.strictSame(await kindsOf([store.run(add(4, 'four'))]), ['other'])
      await gone
      await store.close()
      t.ok(store.failure instanceof Error)
      t.equal(lines.length, 1)
      t.match(lines[0], { level: 60, msg: words })
    })
  }
})

/** Runs the lines in a process of its own that has `store` open, perhaps under a limit. */
function run(lines: string, path: string, limit = 'true') {
  const program = `
    import { SqliteStore } from ${JSON.stringify(BUILT)}
    const say = (_fields, sentence) => console.error(sentence)
    const log = { error: say, warn: say, fatal: say }
    const store = await SqliteStore.open({
      path: ${JSON.stringify(path)}, migrations: [${JSON.stringify(PAIRS)}], log
    })
    ${lines}`
  // tap gives its loaders to every child, and those end it where Node would meet an error.
  const shell = `unset NODE_OPTIONS && ${limit} && exec "$0" "$@"`
  const args = ['-c', shell, process.execPath, '--input-type=module', '-e', program]
  return spawn('sh', args, { stdio: ['ignore', 'pipe', 'pipe'] })
}
