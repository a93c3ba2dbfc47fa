import type { Database, PreparedStatement } from './database.ts'
import type { EncodedCall, EncodedResult, NamedColumns, Outcome, SqlValue } from './messages.ts'
import { kindOf, StoreError } from './store-error.ts'

const STATEMENTS_KEPT = 200
const SCHEMA_CHANGE = /^\s*(create|drop|alter)\b/i
const TRANSACTION = /^\s*(begin|commit|end|rollback|savepoint|release)\b/i

interface Prepared {
  statement: PreparedStatement
  /** Of the rows that it gives; empty if it gives none. */
  columns: string[]
  /** What it gives are the rows that it changed. */
  givesChanged: boolean
  changesSchema: boolean
}

/** Runs the calls of a batch, all with one commit if it can be, and each of them wholly or not at all. */
export class CallRunner {
  readonly #database: Database
  /** All that was ever sent; its place is its number. */
  readonly #sql: string[] = []
  /** By number of SQL, at most `STATEMENTS_KEPT`. */
  readonly #prepared = new Map<number, Prepared>()
  /** Columns that the host has not been told. */
  readonly #untold = new Map<number, string[]>()
  readonly #begin: PreparedStatement
  readonly #commit: PreparedStatement

  constructor(database: Database) {
    this.#database = database
    // Not IMMEDIATE: a batch that only reads then writes nothing, and nobody else can take the lock.
    this.#begin = database.prepare('BEGIN')
    this.#commit = database.prepare('COMMIT')
  }

  /** Takes up SQL that was not sent before. */
  learn(sql: string[]): void {
    this.#sql.push(...sql)
  }

  run(calls: EncodedCall[]): [Outcome[], NamedColumns[]] {
    const outcomes = this.#run(calls)
    const columns = [...this.#untold]
    this.#untold.clear()
    return [outcomes, columns]
  }

  #run(calls: EncodedCall[]): Outcome[] {
    try {
      return this.#inTransaction(() => calls.map((call) => this.#runCall(call)))
    } catch (error) {
      if (calls.length === 1) {
        const failure = failureOf(error)
        if (failure[0] === 'full' || failure[0] === 'io') this.#relieve()
        return [failure]
      }
    }
    try {
      return this.#inTransaction(() => calls.map((call) => this.#runGuarded(call)))
    } catch {
      // The disk is full, or fails. What cannot be kept together may be kept one by one.
      return calls.flatMap((call) => this.#run([call]))
    }
  }

  #inTransaction<T>(work: () => T): T {
    try {
      this.#begin.run()
      const result = work()
      this.#commit.run()
      return result
    } catch (error) {
      // After some errors SQLite has rolled back itself.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  /** Lets the next writes begin the log anew: on a full disk even deleting needs room in it. */
  #relieve(): void {
    try {
      this.#database.exec('PRAGMA wal_checkpoint(PASSIVE)')
    } catch {
      // The caller is told of the first failure.
    }
  }

  /** Lets a call fail alone. Not done at first: savepoints make a batch slower by a fifth. */
  #runGuarded(call: EncodedCall): Outcome {
    this.#database.exec('SAVEPOINT call')
    try {
      const results = this.#runCall(call)
      this.#database.exec('RELEASE call')
      return results
    } catch (error) {
      // Throws if SQLite has undone the whole transaction, and with it the calls before this one.
      this.#database.exec('ROLLBACK TO call; RELEASE call')
      return failureOf(error)
    }
  }

  #runCall(call: EncodedCall): EncodedResult[] {
    const results: EncodedResult[] = []
    for (let at = 0; at < call.length; ) {
      const end = at + 2 + (call[at + 1] as number)
      const params = call.slice(at + 2, end).map(bindable)
      results.push(this.#runStatement(call[at] as number, params))
      at = end
    }
    return results
  }

  #runStatement(sql: number, params: Array<SqlValue | bigint>): EncodedResult {
    const { statement, columns, givesChanged, changesSchema } = this.#prepare(sql)
    if (columns.length > 0) {
      const rows = statement.all(...params)
      return [givesChanged ? rows.length : 0, rows]
    }
    const { changes } = statement.run(...params)
    if (!changesSchema) return changes
    // A kept `SELECT *` would give its rows under the former names.
    this.#prepared.clear()
    return 0
  }

  #prepare(number: number): Prepared {
    const kept = this.#prepared.get(number)
    if (kept !== undefined) return kept
    const sql = this.#sql[number] as string
    if (TRANSACTION.test(sql)) {
      throw new StoreError('other', `a call is a transaction already: ${sql}`)
    }
    const statement = this.#database.prepare(sql)
    statement.setReturnArrays(true)
    const columns = statement.columns().map((column) => column.name)
    const prepared = {
      statement,
      columns,
      givesChanged: /\breturning\b/i.test(sql),
      changesSchema: SCHEMA_CHANGE.test(sql)
    }
    if (columns.length > 0) this.#untold.set(number, columns)
    // More would be SQL that is made anew for each call.
    if (this.#prepared.size === STATEMENTS_KEPT) this.#prepared.clear()
    this.#prepared.set(number, prepared)
    return prepared
  }
}

/** Node's driver makes every number a REAL, the other one some: what is bound as a BigInt is an INTEGER to both. */
function bindable(value: SqlValue): SqlValue | bigint {
  return Number.isSafeInteger(value) ? BigInt(value as number) : value
}

function failureOf(error: unknown): Outcome {
  return [kindOf(error), error instanceof Error ? error.message : String(error)]
}
