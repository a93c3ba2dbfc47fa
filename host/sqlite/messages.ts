import type { StoreErrorKind } from './store-error.ts'

export type SqlValue = string | number | null

/**
 * One call, flat, since a structured clone costs by the object: for each statement its SQL, the number
 * of its parameters, and those.
 */
export type EncodedCall = SqlValue[]

/** One statement's result: how many rows it changed; and if it can give rows, their columns and values. */
export type EncodedResult = number | [changes: number, columns: string[], rows: SqlValue[][]]

/** What became of one call: the results of its statements, or why none of them was done. */
export type Outcome = EncodedResult[] | [kind: StoreErrorKind, message: string]

export type ToThread = EncodedCall[] | 'close'

export type FromThread =
  | [type: 'ready']
  | [type: 'refused', why: StoreErrorKind | 'in use' | 'too new', message: string]
  | [type: 'note', level: 'warn' | 'error', message: string]
  | [type: 'done', outcomes: Outcome[]]

export interface ThreadOptions {
  path: string
  migrations: readonly string[]
  maxBytes?: number
}
