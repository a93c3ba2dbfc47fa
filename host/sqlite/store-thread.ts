import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { CallRunner } from './call-runner.ts'
import type { Database } from './database.ts'
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

function serve(database: Database): void {
  const runner = new CallRunner(database)
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
    if (calls.length > 0) send(['done', ...runner.run(calls)])
    if (next === 'close') end(database)
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
