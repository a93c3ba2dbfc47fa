import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { CallRunner } from './call-runner.ts'
import type { Database } from './database.ts'
import { FilePlace } from './file-place.ts'
import {
  type EncodedCall,
  type FromThread,
  MAX_BATCH_CALLS,
  MAX_BATCH_SIZE,
  type ThreadOptions,
  type ToThread
} from './messages.ts'
import { openDatabase } from './open-database.ts'
import { removeOwnerNote } from './owner-note.ts'
import { kindOf, StoreInUseError, StoreTooNewError } from './store-error.ts'

// The thread of a SqliteStore: it blocks on the disk so that the host does not.

const port = parentPort as MessagePort
const options = workerData as ThreadOptions

function send(message: FromThread): void {
  port.postMessage(message)
}

/** How often a store that is asked nothing looks whether its file is still there, milliseconds. */
const LOOK_MS = 1000

function serve(database: Database): void {
  const runner = new CallRunner(database)
  const place = new FilePlace(options.path)
  const look = setInterval(() => {
    if (!place.isKept()) lose(database)
  }, LOOK_MS)
  port.once('close', () => clearInterval(look))
  port.on('message', (message: ToThread) => {
    const calls: EncodedCall[] = []
    let size = 0
    let next: ToThread | undefined = message
    while (next !== undefined && next !== 'close') {
      runner.learn(next.sql)
      calls.push(...next.calls)
      size += next.size
      // All that has come meanwhile shares one commit.
      const isFull = calls.length >= MAX_BATCH_CALLS || size >= MAX_BATCH_SIZE
      next = isFull ? undefined : receiveMessageOnPort(port)?.message
    }
    if (calls.length > 0) {
      const done = runner.run(calls)
      // Before it is said: what went into a file that has no name any more is kept nowhere.
      if (!place.isKept()) {
        lose(database)
        return
      }
      send(['done', ...done])
    }
    if (next === 'close') end(database)
  })
  send(['ready'])
}

/** Nothing is carried over, and the note stays: whatever is there now may be another's. */
function lose(database: Database): void {
  send(['lost', 'its file was removed or replaced while the host used it'])
  database.close()
  port.close()
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
  port.close()
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
