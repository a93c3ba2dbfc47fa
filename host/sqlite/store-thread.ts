import { parentPort, workerData } from 'node:worker_threads'
import { CallRunner } from './call-runner.ts'
import type { Database } from './database.ts'
import type { FromThread, ThreadOptions, ToThread } from './messages.ts'
import { openDatabase } from './open-database.ts'
import { removeOwnerNote } from './owner-note.ts'
import { kindOf, StoreInUseError, StoreTooNewError } from './store-error.ts'

// The thread of a SqliteStore: it blocks on the disk so that the host does not.

const options = workerData as ThreadOptions

function send(message: FromThread): void {
  parentPort?.postMessage(message)
}

function serve(database: Database): void {
  const runner = new CallRunner(database)
  parentPort?.on('message', (message: ToThread) => {
    if (message === 'close') end(database)
    else send(['done', ...runner.runBatch(message)])
  })
  send(['ready'])
}

function end(database: Database): void {
  try {
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  } catch (error) {
    // Nothing is lost: the next host reads the log.
    const words = error instanceof Error ? error.message : String(error)
    send([
      'note',
      'warn',
      `the log of ${options.path} stays, it could not be carried over: ${words}`
    ])
  }
  // While the lock is held: afterwards it may be another host's.
  removeOwnerNote(options.path)
  database.close()
  parentPort?.close()
}

try {
  serve(openDatabase(options, (sentence) => send(['note', 'error', sentence])))
} catch (error) {
  const why =
    error instanceof StoreInUseError
      ? 'in use'
      : error instanceof StoreTooNewError
        ? 'too new'
        : kindOf(error)
  send(['refused', why, error instanceof Error ? error.message : String(error)])
}
