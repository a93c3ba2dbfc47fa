import { Worker } from 'node:worker_threads'
import type { Logger } from '../observe/log.ts'
import {
  type EncodedCall,
  type EncodedResult,
  type FromThread,
  MAX_BATCH_CALLS,
  MAX_BATCH_SIZE,
  type Outcome,
  type SqlValue,
  type ThreadOptions,
  type ToThread
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
 * One SQL statement (of more, SQLite would run the first only) and the values of its `?`. Its text is
 * remembered for as long as the store is open: what differs from call to call belongs into `params`.
 *
 * A number that is a whole one is an INTEGER, NaN is NULL. A lone surrogate in a string becomes U+FFFD; a string with
 * a NUL is refused, since of such a one some drivers keep only the start. JSON texts have neither.
 */
export interface Statement {
  sql: string
  params?: readonly SqlValue[]
}

/** The rows that the statement gave, and how many it changed (with RETURNING: as many as it gave). */
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
  /** Of each statement, the number of its SQL. */
  sql: number[]
  size: number
  resolve: (results: StatementResult[]) => void
  reject: (error: Error) => void
}

const ENTRY = new URL('./store-thread.js', import.meta.url)

/**
 * An SQLite file that does not block the loop: a thread has it open, and nobody else on this machine.
 *
 * What is asked in one turn of the loop goes to it as one message; all that came while the thread was busy
 * is done in order, and is committed once.
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
  /** Numbers of the SQL that the thread knows, or is told with the next batch. */
  readonly #numbers = new Map<string, number>()
  #newSql: string[] = []
  readonly #columns: string[][] = []
  /** Calls that the thread has not answered, oldest first. */
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
    this.#worker.on('error', (error) => this.#fail(threadFailed(error.message, error)))
    this.#gone = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        if (!this.#closing || this.#unanswered.length > 0) {
          this.#fail(threadFailed(`it ended with code ${code}`))
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
    if (this.#failure !== null) return Promise.reject(this.#failure)
    if (this.#closing) {
      return Promise.reject(new StoreError('closed', `the store ${this.#path} is closed`))
    }
    return new Promise((resolve, reject) => {
      // Thrown in here, an error rejects.
      const call = this.#encode(statements)
      this.#waiting.push({ ...call, resolve, reject })
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
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(this.#flush)
  }

  #flush = (): void => {
    this.#flushing = false
    if (this.#failure !== null) return
    while (this.#waiting.length > 0) {
      const { calls, size } = this.#takeBatch()
      this.#sent.push(...calls)
      this.#post({ calls: calls.map((call) => call.encoded), size, sql: this.#newSql })
      this.#newSql = []
    }
    if (this.#closing) this.#post('close')
  }

  get #unanswered(): Call[] {
    return [...this.#sent, ...this.#waiting]
  }

  #takeBatch(): { calls: Call[]; size: number } {
    let [count, size] = [0, 0]
    for (const call of this.#waiting) {
      if (count === MAX_BATCH_CALLS || (count > 0 && size + call.size > MAX_BATCH_SIZE)) break
      count++
      size += call.size
    }
    return { calls: this.#waiting.splice(0, count), size }
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
      case 'lost':
        this.#fail(new Error(message[1]))
        break
      case 'done':
        for (const [sql, names] of message[2]) this.#columns[sql] = names
        this.#settle(message[1])
    }
  }

  #settle(outcomes: Outcome[]): void {
    for (const [index, call] of this.#sent.splice(0, outcomes.length).entries()) {
      const outcome = outcomes[index] as Outcome
      if (isFailure(outcome)) call.reject(new StoreError(...outcome))
      else call.resolve(outcome.map((result, at) => this.#decode(result, call.sql[at] as number)))
    }
  }

  #fail(error: Error): void {
    if (this.#failure !== null) return
    const message = `the store ${this.#path} cannot be used any more: ${error.message}`
    const unusable = new StoreError('other', message, { cause: error })
    this.#failure = unusable
    if (this.#opener !== null) this.#opener.reject(unusable)
    else this.#log.fatal({ err: error, path: this.#path }, message)
    for (const call of this.#unanswered) call.reject(unusable)
    this.#sent.length = 0
    this.#waiting = []
  }

  /** Flattens a call, so that nothing that the caller changes afterwards is seen, and finds how large it is. */
  #encode(statements: Statement[]): Pick<Call, 'encoded' | 'sql' | 'size'> {
    const encoded: EncodedCall = []
    const numbers: number[] = []
    let size = 0
    for (const { sql, params = [] } of statements) {
      const number = this.#numberOf(sql)
      numbers.push(number)
      encoded.push(number, params.length)
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
    return { encoded, sql: numbers, size }
  }

  #numberOf(sql: string): number {
    let number = this.#numbers.get(sql)
    if (number === undefined) {
      number = this.#numbers.size
      this.#numbers.set(sql, number)
      this.#newSql.push(sql)
    }
    return number
  }

  #decode(result: EncodedResult, sql: number): StatementResult {
    if (typeof result === 'number') return { rows: [], changes: result }
    const [changes, rows] = result
    const columns = this.#columns[sql] as string[]
    return { changes, rows: rows.map((values) => rowOf(columns, values)) }
  }
}

function threadFailed(why: string, cause?: Error): Error {
  return new Error(`its thread failed: ${why}`, { cause })
}

function wrongParameter(index: number, what: string): StoreError {
  return new StoreError('other', `parameter ${index + 1} ${what}`)
}

function rowOf(columns: string[], values: SqlValue[]): Row {
  const row: Row = {}
  for (const [index, column] of columns.entries()) row[column] = values[index] as SqlValue
  return row
}

function isFailure(outcome: Outcome): outcome is [StoreErrorKind, string] {
  return typeof outcome[0] === 'string'
}

function refusal(why: StoreErrorKind | 'in use' | 'too new', message: string): Error {
  if (why === 'in use') return new StoreInUseError(message)
  if (why === 'too new') return new StoreTooNewError(message)
  return new StoreError(why, message)
}
