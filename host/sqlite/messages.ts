import type { StoreErrorKind } from './store-error.ts'

export type SqlValue = string | number | null

/**
 * One call, flat, since a structured clone costs by the object and the character: for each statement the
 * number of its SQL among all that were ever sent, the number of its parameters, and those.
 */
export type EncodedCall = SqlValue[]

/** What is done with one commit is about as much at most; a larger call is done alone. */
export const MAX_BATCH_CALLS = 1000
export const MAX_BATCH_SIZE = 8 * 1024 * 1024

/** Calls, and the SQL in them that was not sent before, in the order of its numbers. */
export interface Batch {
  calls: EncodedCall[]
  /** Characters of all their texts. */
  size: number
  sql: string[]
}

/** One statement's result: how many rows it changed; and if it can give rows, their values. */
export type EncodedResult = number | [changes: number, rows: SqlValue[][]]

/** Names of the columns that the SQL of a number gives. */
export type NamedColumns = [sql: number, names: string[]]

/** What became of one call: the results of its statements, or why none of them was done. */
export type Outcome = EncodedResult[] | [kind: StoreErrorKind, message: string]

export type ToThread = Batch | 'close'

export type FromThread =
  | [type: 'ready']
  | [type: 'refused', why: StoreErrorKind | 'in use' | 'too new', message: string]
  | [type: 'note', level: 'warn' | 'error', message: string]
  /** The last word: nothing more is done. */
  | [type: 'lost', why: string]
  /** With the columns that the results need and that were not told before. */
  | [type: 'done', outcomes: Outcome[], columns: NamedColumns[]]

export interface ThreadOptions {
  path: string
  migrations: readonly string[]
  maxBytes?: number
}
