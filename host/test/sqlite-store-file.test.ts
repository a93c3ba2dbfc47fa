import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync
} from 'node:fs'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import t, { type Test } from 'tap'

// As it is built: its thread has an entry file of its own.
const BUILT = new URL('../dist/sqlite/sqlite-store.js', import.meta.url).href
const { SqliteStore, StoreError, StoreInUseError, StoreTooNewError } = (await import(
  BUILT
)) as typeof import('../sqlite/sqlite-store.ts')

type Store = Awaited<ReturnType<typeof SqliteStore.open>>

const ITEMS = 'CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)'
const ROWS = 2000
const ASIDE = /^store\.db\.corrupt-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z$/

function makeLog() {
  const lines: Array<{ level: number; msg: string }> = []
  return { lines, log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }) }
}

async function open(t: Test, path: string, migrations = [ITEMS]) {
  const { log, lines } = makeLog()
  const store = await SqliteStore.open({ path, migrations, log })
  t.teardown(() => store.close())
  return { store, lines }
}

async function countIn(store: Store) {
  const [result] = await store.run({ sql: 'SELECT count(*) AS n FROM item' })
  return result?.rows[0]?.['n']
}

/** Runs the lines in a process that has `SqliteStore` and `options`. */
function spawnWith(t: Test, path: string, lines: string, migrations = [ITEMS]) {
  const program = `
    import { SqliteStore } from ${JSON.stringify(BUILT)}
    const log = { error: console.error, warn: console.error, fatal: console.error }
    const options = ${JSON.stringify({ path, migrations })}
    options.log = log
    ${lines}`
  // Without tap's loaders, which would make each start slow.
  const shell = 'unset NODE_OPTIONS && exec "$0" "$@"'
  const args = ['-c', shell, process.execPath, '--input-type=module', '-e', program]
  const child = spawn('sh', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'close')
  child.kill('SIGKILL')
  await gone
}

/** A folder with a file of many rows; `log` says whether a part of them is only in the log. */
async function makeFilled(t: Test, log: 'carried over' | 'full'): Promise<string> {
  const path = join(t.testdir(), 'store.db')
  const insert = (from: number, to: number) => `
    await Promise.all(Array.from({ length: ${to - from} }, (_, n) =>
      store.run({ sql: 'INSERT INTO item VALUES (?, ?)', params: [n + ${from}, 'x'.repeat(600)] })))`
  const child = spawnWith(
    t,
    path,
    `let store = await SqliteStore.open(options)
    ${insert(0, ROWS / 2)}
    await store.close()
    store = await SqliteStore.open(options)
    ${insert(ROWS / 2, ROWS)}
    ${log === 'full' ? '' : 'await store.close()'}
    console.log('filled')
    setInterval(() => {}, 1000)`
  )
  await once(child.stdout, 'data')
  await kill(child)
  return path
}

function overwrite(path: string, at: number, bytes: Buffer): void {
  const file = openSync(path, 'r+')
  writeSync(file, bytes, 0, bytes.length, at)
  closeSync(file)
}

/** The files beside this one that were set aside. */
function namesAside(path: string): string[] {
  const names = readdirSync(dirname(path))
  return names.filter((name) => name.includes('.corrupt-')).sort()
}

t.test('a file has one host', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const { store } = await open(t, path)
  const error = await open(t, path).catch((error) => error)
  t.type(error, StoreInUseError)
  t.ok(
    error.message.startsWith(
      `another host uses ${path}: process ${process.pid} on ${hostname()}, since 20`
    ),
    error.message
  )
  const other = spawnWith(
    t,
    path,
    `await SqliteStore.open(options).catch((error) => console.log(error.name, error.message))`
  )
  t.match(
    await text(other.stdout),
    `StoreInUseError another host uses ${path}: process ${process.pid} `
  )
  await store.run({ sql: "INSERT INTO item VALUES (1, 'still mine')" })
  await store.close()
  const next = await open(t, path)
  t.equal(await countIn(next.store), 1)
})

t.test('a killed host holds nothing', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const child = spawnWith(
    t,
    path,
    `await SqliteStore.open(options)
    console.log('open')
    setInterval(() => {}, 1000)`
  )
  await once(child.stdout, 'data')
  const error = await open(t, path).catch((error) => error)
  t.type(error, StoreInUseError)
  t.match(error.message, `: process ${child.pid} on `)
  await kill(child)
  t.ok(existsSync(`${path}.owner`), 'its note is still there')
  const { store, lines } = await open(t, path)
  t.equal(await countIn(store), 0)
  t.strictSame(lines, [])
})

t.test('of hosts that start at the very same time exactly one gets the file', async (t) => {
  const folder = t.testdir()
  // Without the thread, whose start takes far longer than what may collide.
  const built = new URL('../dist/sqlite/open-database.js', import.meta.url).href
  const children = Array.from({ length: 4 }, () =>
    spawnWith(
      t,
      folder,
      `import { createInterface } from 'node:readline'
      const { openDatabase } = await import(${JSON.stringify(built)})
      const told = []
      for await (const line of createInterface(process.stdin)) {
        const [path, time] = line.split(' ')
        while (Date.now() < Number(time)) {}
        try {
          globalThis.held = openDatabase({ ...options, path }, (sentence) => told.push(sentence))
          console.log(['opened', ...told].join(' '))
        } catch (error) {
          console.log([error.name, ...told].join(' '))
        }
      }`
    )
  )
  const readers = children.map((child) => createInterface(child.stdout)[Symbol.asyncIterator]())
  const wrong: string[] = []
  for (let round = 0; round < 60; round++) {
    const time = Date.now() + 10
    for (const child of children) child.stdin.write(`${join(folder, `${round}.db`)} ${time}\n`)
    const said = await Promise.all(readers.map(async (reader) => (await reader.next()).value))
    const outcome = said.sort().join()
    if (outcome !== 'StoreInUseError,StoreInUseError,StoreInUseError,opened') wrong.push(outcome)
  }
  t.strictSame(wrong, [])
})

t.test('what was said to be kept outlives a kill', async (t) => {
  const path = join(t.testdir(), 'store.db')
  let [from, known] = [0, 0]
  for (let round = 0; round < 5; round++) {
    const child = spawnWith(
      t,
      path,
      `const store = await SqliteStore.open(options)
      let id = ${from}
      const work = async () => {
        for (;;) {
          const own = id++
          await store.run({ sql: 'INSERT INTO item VALUES (?, ?)', params: [own, 'x'.repeat(600)] })
          process.stdout.write(own + '\\n')
        }
      }
      await Promise.all(Array.from({ length: 32 }, work))`
    )
    const said: number[] = []
    const wanted = 200 + 700 * round
    for await (const line of createInterface(child.stdout)) {
      said.push(Number(line))
      if (said.length === wanted) child.kill('SIGKILL')
    }
    const { store, lines } = await open(t, path)
    const [result] = await store.run({ sql: 'SELECT id FROM item' })
    const kept = new Set(result?.rows.map((row) => row['id']))
    t.ok(said.length >= wanted, `${said.length} were said to be kept`)
    t.strictSame(
      said.filter((id) => !kept.has(id)),
      []
    )
    t.ok(kept.size >= known + said.length, 'and those of the rounds before')
    t.strictSame(lines, [])
    known = kept.size
    from = Math.max(...(kept as Set<number>)) + 1
    await store.close()
  }
})

t.test('a file that cannot be read is set aside, and a new one made', async (t) => {
  const damages: Record<string, (path: string) => void> = {
    'all of it is something else': (path) => writeFileSync(path, randomBytes(100_000)),
    'its start is garbage': (path) => overwrite(path, 0, randomBytes(100)),
    'pages in the middle are garbage': (path) => overwrite(path, 40 * 4096, randomBytes(8 * 4096)),
    'its end is missing': (path) => truncateSync(path, Math.floor(statSync(path).size / 2)),
    'it has a few bytes': (path) => truncateSync(path, 60)
  }
  for (const [title, damage] of Object.entries(damages)) {
    await t.test(title, async (t) => {
      const path = await makeFilled(t, 'carried over')
      damage(path)
      const broken = readFileSync(path)
      const { store, lines } = await open(t, path)
      t.equal(await countIn(store), 0)
      await store.run({ sql: "INSERT INTO item VALUES (1, 'new')" })
      const [aside = ''] = namesAside(path)
      t.match(aside, ASIDE)
      t.ok(readFileSync(join(dirname(path), aside)).equals(broken), 'as it was')
      t.equal(lines.length, 1)
      t.equal(lines[0]?.level, 50)
      t.ok(lines[0]?.msg.startsWith(`${path} cannot be used: `))
      t.ok(lines[0]?.msg.includes(aside))
      await store.close()
      const again = await open(t, path)
      t.equal(await countIn(again.store), 1)
      t.strictSame(again.lines, [])
    })
  }
})

t.test('a broken file is set aside together with its log, both as they were', async (t) => {
  const damages: Record<string, (path: string) => void> = {
    'pages in the middle are garbage': (path) => overwrite(path, 40 * 4096, randomBytes(8 * 4096)),
    'nothing is left of it': (path) => truncateSync(path, 0)
  }
  for (const [title, damage] of Object.entries(damages)) {
    await t.test(title, async (t) => {
      const path = await makeFilled(t, 'full')
      damage(path)
      const broken = [readFileSync(path), readFileSync(`${path}-wal`)]
      const { store, lines } = await open(t, path)
      t.equal(await countIn(store), 0)
      const aside = namesAside(path)
      t.equal(aside.length, 2)
      t.match(aside[0], ASIDE)
      t.equal(aside[1], `${aside[0]}-wal`)
      t.strictSame(
        aside.map((name, n) => readFileSync(join(dirname(path), name)).equals(broken[n] as Buffer)),
        [true, true]
      )
      t.equal(lines.length, 1)
      t.match(lines[0]?.msg, basename(aside[1] as string))
    })
  }
})

t.test('a log that cannot be read is kept aside, and the file is used without it', async (t) => {
  const path = await makeFilled(t, 'full')
  const garbage = randomBytes(statSync(`${path}-wal`).size)
  writeFileSync(`${path}-wal`, garbage)
  const { store, lines } = await open(t, path)
  t.equal(await countIn(store), ROWS / 2)
  await store.run({ sql: "INSERT INTO item VALUES (1000000, 'new')" })
  const [aside = '', ...more] = namesAside(path)
  t.strictSame(more, [])
  t.match(aside.replace(/-wal$/, ''), ASIDE)
  t.ok(readFileSync(join(dirname(path), aside)).equals(garbage))
  t.match(lines, [
    { level: 50, msg: /store\.db-wal cannot be read: .+ copied to .+corrupt-.+-wal; / }
  ])
  t.equal(lines.length, 1)
})

t.test('a good file is used as it is', async (t) => {
  await t.test('with rows that are only in its log', async (t) => {
    const path = await makeFilled(t, 'full')
    t.ok(statSync(`${path}-wal`).size > 500_000)
    const { store, lines } = await open(t, path)
    t.equal(await countIn(store), ROWS)
    t.strictSame([lines, namesAside(path)], [[], []])
  })
  await t.test('with a log that was cut while it was written', async (t) => {
    const path = await makeFilled(t, 'full')
    truncateSync(`${path}-wal`, statSync(`${path}-wal`).size - 3000)
    const { store, lines } = await open(t, path)
    const count = Number(await countIn(store))
    t.ok(count >= ROWS / 2 && count < ROWS, `${count} rows`)
    t.strictSame([lines, namesAside(path)], [[], []])
  })
  await t.test('with a log that was just begun', async (t) => {
    const path = await makeFilled(t, 'carried over')
    for (const size of [0, 20, 32, 5000]) {
      writeFileSync(`${path}-wal`, Buffer.alloc(size))
      const { store, lines } = await open(t, path)
      t.equal(await countIn(store), ROWS)
      t.strictSame([lines, namesAside(path)], [[], []])
      await store.close()
    }
  })
  await t.test('without any bytes', async (t) => {
    const path = join(t.testdir(), 'store.db')
    writeFileSync(path, '')
    const { store, lines } = await open(t, path)
    t.equal(await countIn(store), 0)
    t.strictSame([lines, namesAside(path)], [[], []])
  })
})

t.test('migrations are applied once, in order', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const first = await open(t, path)
  await first.store.run({ sql: "INSERT INTO item VALUES (1, 'old')" })
  await first.store.close()
  const more = [
    ITEMS,
    'ALTER TABLE item ADD COLUMN size INTEGER; UPDATE item SET size = length(body); CREATE INDEX s ON item (size)',
    'UPDATE item SET size = size * 10'
  ]
  for (const _time of [1, 2]) {
    const { store } = await open(t, path, more)
    const [rows, version] = await store.run(
      { sql: 'SELECT * FROM item' },
      { sql: 'PRAGMA user_version' }
    )
    t.strictSame(rows?.rows, [{ id: 1, body: 'old', size: 30 }])
    t.strictSame(version?.rows, [{ user_version: 3 }])
    await store.close()
  }
})

t.test('a migration that fails leaves the version before', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const wrong =
    "INSERT INTO item VALUES (1, 'x'); CREATE TABLE more (id); INSERT INTO absent VALUES (1)"
  const error = await open(t, path, [ITEMS, wrong]).catch((error) => error)
  t.type(error, StoreError)
  t.equal(error.kind, 'other')
  t.match(error.message, /stays at version 1: .+ to version 2: no such table: absent/)
  const { store, lines } = await open(t, path)
  const [tables] = await store.run({ sql: 'SELECT name FROM sqlite_schema' })
  t.strictSame(tables?.rows, [{ name: 'item' }])
  t.equal(await countIn(store), 0)
  t.strictSame(lines, [])
})

t.test('a migration that is killed in its middle leaves the version before', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const { store: first } = await open(t, path)
  await first.close()
  // So much that SQLite writes pages before the end: then the kill meets a file that has a part.
  const endless = `CREATE TABLE more (id);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
    INSERT INTO item SELECT i, hex(zeroblob(500)) FROM n`
  const child = spawnWith(t, path, 'await SqliteStore.open(options)', [ITEMS, endless])
  const sizeOfLog = () => statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  while (sizeOfLog() < 1_000_000) await new Promise((resolve) => setImmediate(resolve))
  await kill(child)
  t.ok(sizeOfLog() > 0)
  const { store, lines } = await open(t, path)
  const [tables] = await store.run({ sql: 'SELECT name FROM sqlite_schema' })
  t.strictSame(tables?.rows, [{ name: 'item' }])
  t.equal(await countIn(store), 0)
  t.strictSame(lines, [])
})

t.test('the file of a newer host is left as it is', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const { store } = await open(t, path, [ITEMS, 'SELECT 1', 'SELECT 2'])
  await store.close()
  const before = readFileSync(path)
  const error = await open(t, path).catch((error) => error)
  t.type(error, StoreTooNewError)
  t.match(error.message, /has version 3, .+ knows up to version 1\. Start the newer host, or give/)
  t.ok(readFileSync(path).equals(before))
  t.strictSame(readdirSync(dirname(path)), ['store.db'])
})

t.test('every commit is on disk before it is told: the settings in force', async (t) => {
  const { store } = await open(t, join(t.testdir(), 'store.db'))
  const ask = async (sql: string) => Object.values((await store.run({ sql }))[0]?.rows[0] ?? {})[0]
  t.equal(await ask('PRAGMA synchronous'), 2, 'FULL')
  t.equal(await ask('PRAGMA journal_mode'), 'wal')
  t.equal(await ask('PRAGMA locking_mode'), 'exclusive')
  t.equal(await ask('PRAGMA wal_autocheckpoint'), 4096)
  // No other code opens a file of tables, with other settings.
  const host = fileURLToPath(new URL('..', import.meta.url))
  const sources = readdirSync(host, { recursive: true, encoding: 'utf8' }).filter(
    (path) => path.endsWith('.ts') && !/(^|\/)(dist|test|node_modules)\//.test(path)
  )
  const opens = (words: RegExp) =>
    sources.filter((path) => words.test(readFileSync(join(host, path), 'utf8')))
  t.strictSame(opens(/DatabaseSync\(|node:sqlite'|photostructure/), ['sqlite/database.ts'])
  t.strictSame(opens(/\bopenFile\(/).sort(), ['sqlite/database.ts', 'sqlite/open-database.ts'])
})

t.test('a file that is taken away while it is used takes nothing more', async (t) => {
  const takes: Record<string, (path: string) => void> = {
    'it is removed': (path) => rmSync(path),
    'its folder is removed': (path) => rmSync(dirname(path), { recursive: true }),
    'only its log is': (path) => rmSync(`${path}-wal`),
    'another stands in its place': (path) => {
      renameSync(path, `${path}.old`)
      writeFileSync(path, 'of somebody else')
    }
  }
  for (const [title, take] of Object.entries(takes)) {
    for (const asks of [true, false]) {
      await t.test(`${title}, and it is ${asks ? '' : 'not '}asked`, async (t) => {
        const path = join(t.testdir(), 'store.db')
        const { store, lines } = await open(t, path)
        await store.run({ sql: "INSERT INTO item VALUES (1, 'kept')" })
        take(path)
        if (asks) {
          const error = await store
            .run({ sql: "INSERT INTO item VALUES (2, 'nowhere')" })
            .catch((error) => error)
          t.type(error, StoreError)
          t.match(error.message, /its file was removed or replaced while the host used it$/)
        } else {
          for (let waits = 0; store.failure === null && waits < 1000; waits++) await pause(10)
        }
        t.ok(store.failure?.message.startsWith(`the store ${path} cannot be used any more: `))
        await store.close()
        t.match(lines, [{ level: 60, msg: store.failure?.message }])
        t.equal(lines.length, 1)
        if (existsSync(path) && title.startsWith('another')) {
          t.equal(readFileSync(path, 'utf8'), 'of somebody else', 'it is left as it is')
        }
      })
    }
  }
})

t.test('a file that cannot be made is an error of its own', async (t) => {
  const path = join(t.testdir(), 'no', 'such', 'folder', 'store.db')
  const error = await open(t, path).catch((error) => error)
  t.type(error, StoreError)
  t.equal(error.kind, 'io')
  t.ok(error.message.startsWith(`${path} cannot be opened: `), error.message)
  t.match(error.message, /unable to open database file$/)
})
