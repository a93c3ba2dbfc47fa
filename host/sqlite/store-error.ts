export type StoreErrorKind = 'full' | 'constraint' | 'corrupt' | 'io' | 'closed' | 'other'

/**
 * A call that was not done, or a file that could not be opened. `full`: the disk or the allowance;
 * `constraint`: the statements break a rule of the tables; `corrupt` and `io`: the file; `closed`: the
 * store was closed before; `other`: a wrong statement or parameter, or a store whose thread is gone.
 */
export class StoreError extends Error {
  readonly kind: StoreErrorKind

  constructor(kind: StoreErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StoreError'
    this.kind = kind
  }
}

/** Another host, or another part of this one, has the file open. */
export class StoreInUseError extends Error {
  override name = 'StoreInUseError'
}

/** A newer host has written the file. It is left as it is. */
export class StoreTooNewError extends Error {
  override name = 'StoreTooNewError'
}

// https://sqlite.org/rescode.html: the low byte is the primary code.
const KINDS: Record<number, StoreErrorKind> = {
  8: 'io', // READONLY
  10: 'io', // IOERR
  11: 'corrupt', // CORRUPT
  13: 'full', // FULL
  14: 'io', // CANTOPEN
  19: 'constraint', // CONSTRAINT
  26: 'corrupt' // NOTADB
}

/** What kind of failure a driver's error is. */
export function kindOf(error: unknown): StoreErrorKind {
  if (error instanceof StoreError) return error.kind
  // Of a statement that gives rows, one driver tells this by its words alone.
  if (error instanceof Error && error.message === 'database or disk is full') return 'full'
  return KINDS[primaryCodeOf(error) ?? 0] ?? 'other'
}

/** Whether the driver's error says that another holds the file's lock. */
export function isBusy(error: unknown): boolean {
  return primaryCodeOf(error) === 5
}

function primaryCodeOf(error: unknown): number | undefined {
  const code = (error as { errcode?: number } | null)?.errcode
  return code === undefined ? undefined : code & 0xff
}
