import { statSync } from 'node:fs'
import { type Database, openFile } from './database.ts'
import type { ThreadOptions } from './messages.ts'
import { readOwnerNote, writeOwnerNote } from './owner-note.ts'
import { copyUnreadableLog, setAside } from './set-aside.ts'
import { isBusy, kindOf, StoreError, StoreInUseError, StoreTooNewError } from './store-error.ts'

const LOCK_TRIES = 5
const LOCK_PAUSE_MS = 20
const PRAGMAS = [
  'synchronous = FULL',
  'journal_size_limit = 67108864',
  // 16 MiB of log before it is carried over: pages that were written often are then carried once.
  'wal_autocheckpoint = 4096',
  'cache_size = -16384',
  'temp_store = MEMORY'
]

/**
 * Opens the file, or makes it; holds its lock until it is closed.
 *
 * No code of this process may open the file in any other way, not even to look at its first bytes: when any
 * of its descriptors is closed, the process loses all its locks on the file.
 *
 * @param tell is told, in a sentence, what was wrong with the files and where they are now
 * @throws StoreInUseError | StoreTooNewError | StoreError
 */
export function openDatabase(options: ThreadOptions, tell: (sentence: string) => void): Database {
  const { path } = options
  let locksMissed = 0
  let wasSetAside = false
  for (;;) {
    let database: Database | null = null
    const opened = inodeOf(path)
    try {
      // In this order: a host that is just making the file has no log before it has a file.
      if (sizeOf(`${path}-wal`) > 0 && sizeOf(path) === 0) {
        // SQLite would take the file for a new one and delete the log.
        throw new StoreError('corrupt', 'it is empty, though its log is not')
      }
      database = openFile(path)
      takeLock(database)
      checkVersion(database, options)
      copyUnreadableLog(path, tell)
      prepare(database, options)
      check(database)
      writeOwnerNote(path)
      migrate(database, options)
      return database
    } catch (error) {
      if (isBusy(error)) {
        close(database)
        // Two that start at once may each keep the other from it: then one has it at the next try.
        if (++locksMissed === LOCK_TRIES) throw inUse(path)
        pause(Math.random() * LOCK_PAUSE_MS)
        continue
      }
      const kind = error instanceof StoreTooNewError ? null : kindOf(error)
      if (kind === 'corrupt' && !wasSetAside) {
        // Otherwise another host was faster, and this is the good one that it made.
        if (inodeOf(path) === opened) {
          tell(`${path} cannot be used: ${wordsOf(error)}. ${setAside(path)}; a new one is made.`)
          wasSetAside = true
        }
        // Only now: SQLite leaves the log as it is when the file is no longer where it was.
        close(database)
        continue
      }
      close(database)
      if (kind === null || error instanceof StoreError) throw error
      throw new StoreError(kind, `${path} cannot be opened: ${wordsOf(error)}`, { cause: error })
    }
  }
}

/** Without prepared statements: a try that fails must leave no lock behind. */
function takeLock(database: Database): void {
  // Kept from the first transaction on; and before the log is opened, so that no shared memory is made.
  database.exec('PRAGMA locking_mode = EXCLUSIVE')
  database.exec('BEGIN EXCLUSIVE; COMMIT')
}

function checkVersion(database: Database, { path, migrations }: ThreadOptions): void {
  const version = versionOf(database)
  if (version <= migrations.length) return
  throw new StoreTooNewError(
    `${path} has version ${version}, written by a newer host; this one knows up to version ` +
      `${migrations.length}. Start the newer host, or give this one another file.`
  )
}

function prepare(database: Database, { path, maxBytes }: ThreadOptions): void {
  const mode = valueFrom(database, 'PRAGMA journal_mode = WAL')
  if (mode !== 'wal') throw new StoreError('io', `${path} cannot have a log: its mode is '${mode}'`)
  for (const pragma of PRAGMAS) database.exec(`PRAGMA ${pragma}`)
  if (maxBytes === undefined) return
  const pages = Math.max(1, Math.floor(maxBytes / Number(valueFrom(database, 'PRAGMA page_size'))))
  database.exec(`PRAGMA max_page_count = ${pages}`)
}

/**
 * All pages are read and must hang together. `integrity_check` would also look each row up in each index:
 * several times as long, for a damage that does not come from broken files but from broken programs.
 */
function check(database: Database): void {
  const found = valueFrom(database, 'PRAGMA quick_check(1)')
  if (found !== 'ok') throw new StoreError('corrupt', String(found).replaceAll('\n', ' '))
}

function migrate(database: Database, { path, migrations }: ThreadOptions): void {
  for (let version = versionOf(database); version < migrations.length; version++) {
    try {
      database.exec('BEGIN IMMEDIATE')
      database.exec(migrations[version] as string)
      database.exec(`PRAGMA user_version = ${version + 1}`)
      database.exec('COMMIT')
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK')
      throw new StoreError(
        kindOf(error),
        `${path} stays at version ${version}: it could not be brought to version ${version + 1}: ` +
          wordsOf(error),
        { cause: error }
      )
    }
  }
}

function versionOf(database: Database): number {
  return Number(valueFrom(database, 'PRAGMA user_version'))
}

/** The first value that a pragma answers. */
function valueFrom(database: Database, sql: string): unknown {
  return Object.values(database.prepare(sql).get() ?? {})[0]
}

function inUse(path: string): StoreInUseError {
  const owner = readOwnerNote(path)
  return new StoreInUseError(`another host uses ${path}${owner === null ? '' : `: ${owner}`}`)
}

function close(database: Database | null): void {
  try {
    database?.close()
  } catch {
    // What brought us here is the better thing to say.
  }
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

function inodeOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.ino ?? null
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
