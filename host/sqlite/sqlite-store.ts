import { Worker } from 'node:worker_threads'
import type { Logger } from '../observe/log.ts'
import type {
  EncodedCall,
  EncodedResult,
  FromThread,
  Outcome,
  SqlValue,
  ThreadOptions,
  ToThread
} from './messages.ts'
import {
  StoreError,
  type StoreErrorKind,
  StoreInUseError,
  StoreTooNewError
} from './store-error.ts'

export type { SqlValue }
export { StoreError, StoreInUseError, StoreTooNewError }

export type Row = Record<string, SqlValue>

/**
 * One SQL statement (of more, SQLite would run the first only) and the values of its `?`.
 *
 * A number that is a whole one is an INTEGER, NaN is NULL. A lone surrogate in a string becomes U+FFFD; a string with
 * a NUL is refused, since of such a one some drivers keep only the start. JSON texts have neither.
 */
export interface Statement {
  sql: string
  params?: readonly SqlValue[]
}

/** The rows that the statement gave, and how many it changed. */
export interface StatementResult {
  rows: Row[]
  changes: number
}

export interface StoreOptions {
  path: string
  /** The SQL at `i`, of any number of statements, leads from version `i` to `i + 1`. */
  migrations: readonly string[]
  log: Logger
  /** How large the file may grow, its log aside. Beyond it, calls fail as on a full disk. */
  maxBytes?: number
}

interface Call {
  encoded: EncodedCall
  size: number
  resolve: (results: StatementResult[]) => void
  reject: (error: Error) => void
}

const ENTRY = new URL('./store-thread.js', import.meta.url)
const MAX_BATCH_CALLS = 1000
const MAX_BATCH_SIZE = 8 * 1024 * 1024

/**
 * An SQLite file that does not block the loop: a thread has it open, and nobody else on this machine.
 *
 * What is asked while the thread is busy goes to it as one batch, in order, and is committed once.
 */
export class SqliteStore {
  readonly #worker: Worker
  readonly #path: string
  readonly #log: Logger
  readonly #gone: Promise<void>
  /** The one who waits for the file to be open. */
  #opener: { resolve: () => void; reject: (error: Error) => void } | null = null
  #failure: Error | null = null
  #waiting: Call[] = []
  /** What the thread works on; empty when it is idle. */
  #sent: Call[] = []
  #flushing = false
  #closing = false

  private constructor(options: StoreOptions) {
    const { path, migrations, maxBytes, log } = options
    this.#path = path
    this.#log = log
    const workerData: ThreadOptions = { path, migrations: [...migrations], maxBytes }
    // Flags of its own: without the host's loaders, and without Node's warning of its SQLite.
    const execArgv = ['--disable-warning=ExperimentalWarning']
    this.#worker = new Worker(ENTRY, { name: 'sqlite', workerData, execArgv })
    this.#worker.on('message', (message: FromThread) => this.#receive(message))
    this.#worker.on('error', (error) => this.#fail(error))
    this.#gone = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        if (!this.#closing || this.#sent.length + this.#waiting.length > 0) {
          this.#fail(new Error(`it ended with code ${code}`))
        }
        resolve()
      })
    })
  }

  /**
   * Opens the file, or makes it, and applies the migrations that it lacks. A file that cannot be read is
   * renamed and logged.
   *
   * @throws StoreInUseError | StoreTooNewError | StoreError
   */
  static async open(options: StoreOptions): Promise<SqliteStore> {
    const store = new SqliteStore(options)
    try {
      await new Promise<void>((resolve, reject) => {
        store.#opener = { resolve, reject }
      })
      return store
    } catch (error) {
      await store.#gone
      throw error
    }
  }

  /** Why it cannot be used any more, or null. */
  get failure(): Error | null {
    return this.#failure
  }

  /**
   * Runs statements in order, all or none. Resolves when what they changed is on disk.
   *
   * @throws StoreError
   */
  run(...statements: Statement[]): Promise<StatementResult[]> {
    if (this.#failure !== null) return Promise.reject(this.#unusable(this.#failure))
    if (this.#closing) {
      return Promise.reject(new StoreError('closed', `the store ${this.#path} is closed`))
    }
    return new Promise((resolve, reject) => {
      // Thrown in here, an error rejects.
      const { encoded, size } = encode(statements)
      this.#waiting.push({ encoded, size, resolve, reject })
      this.#flushSoon()
    })
  }

  /** Ends the thread when what was asked before is done; resolves when it is gone. */
  close(): Promise<void> {
    if (!this.#closing && this.#failure === null) {
      this.#closing = true
      this.#flushSoon()
    }
    return this.#gone
  }

  /** In the next turn, so that all who got an answer in this one can ask again before. */
  #flushSoon(): void {
    if (this.#flushing || this.#sent.length > 0) return
    this.#flushing = true
    setImmediate(this.#flush)
  }

  #flush = (): void => {
    this.#flushing = false
    if (this.#failure !== null) return
    this.#sent = this.#takeBatch()
    if (this.#sent.length > 0) this.#post(this.#sent.map((call) => call.encoded))
    else if (this.#closing) this.#post('close')
  }

  #takeBatch(): Call[] {
    let [count, size] = [0, 0]
    for (const call of this.#waiting) {
      size += call.size
      if (count === MAX_BATCH_CALLS || (count > 0 && size > MAX_BATCH_SIZE)) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message)
  }

  #receive(message: FromThread): void {
    switch (message[0]) {
      case 'ready':
        this.#opener?.resolve()
        this.#opener = null
        break
      case 'refused':
        this.#closing = true
        this.#opener?.reject(refusal(message[1], message[2]))
        break
      case 'note':
        this.#log[message[1]]({ path: this.#path }, message[2])
        break
      case 'done':
        this.#settle(message[1])
    }
  }

  #settle(outcomes: Outcome[]): void {
    const sent = this.#sent
    this.#sent = []
    for (const [index, call] of sent.entries()) {
      const outcome = outcomes[index] as Outcome
      if (isFailure(outcome)) call.reject(new StoreError(...outcome))
      else call.resolve(outcome.map(decode))
    }
    if (this.#waiting.length > 0 || this.#closing) this.#flushSoon()
  }

  #fail(error: Error): void {
    if (this.#failure !== null) return
    this.#failure = error
    const unusable = this.#unusable(error)
    if (this.#opener !== null) this.#opener.reject(unusable)
    else this.#log.fatal({ err: error, path: this.#path }, unusable.message)
    for (const call of [...this.#sent, ...this.#waiting]) call.reject(unusable)
    this.#sent = []
    this.#waiting = []
  }

  #unusable(cause: Error): StoreError {
    const message = `the store ${this.#path} cannot be used any more, its thread failed: ${cause.message}`
    return new StoreError('other', message, { cause })
  }
}

/** Flattens a call, so that nothing that the caller changes afterwards is seen, and finds how large it is. */
function encode(statements: Statement[]): { encoded: EncodedCall; size: number } {
  const encoded: EncodedCall = []
  let size = 0
  for (const { sql, params = [] } of statements) {
    encoded.push(sql, params.length)
    size += sql.length
    for (const [index, value] of params.entries()) {
      if (typeof value === 'string') {
        if (value.includes('\0')) throw wrongParameter(index, 'holds a NUL character')
        size += value.length
      } else if (typeof value !== 'number' && value !== null) {
        throw wrongParameter(index, `is a ${typeof value}, not a string, a number or null`)
      }
      encoded.push(value)
    }
  }
  return { encoded, size }
}

function wrongParameter(index: number, what: string): StoreError {
  return new StoreError('other', `parameter ${index + 1} ${what}`)
}

function decode(result: EncodedResult): StatementResult {
  if (typeof result === 'number') return { rows: [], changes: result }
  const [changes, columns, lists] = result
  const rows = lists.map((values) => {
    const row: Row = {}
    for (const [index, column] of columns.entries()) row[column] = values[index] as SqlValue
    return row
  })
  return { rows, changes }
}

function isFailure(outcome: Outcome): outcome is [StoreErrorKind, string] {
  return typeof outcome[0] === 'string'
}

function refusal(why: StoreErrorKind | 'in use' | 'too new', message: string): Error {
  if (why === 'in use') return new StoreInUseError(message)
  if (why === 'too new') return new StoreTooNewError(message)
  return new StoreError(why, message)
}
