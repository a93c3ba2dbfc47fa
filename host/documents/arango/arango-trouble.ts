import { ArangoError, HttpError, NetworkError } from 'arangojs/errors'

/** What a failed request says of the server: no field of it knows the credentials. */
export class ArangoTrouble extends Error {
  override readonly name = 'ArangoTrouble'
  /** Trying again can help. */
  readonly isPassing: boolean
  /** It is sure that nothing was done. */
  readonly isUndone: boolean
  /** The user is not known, or may not. */
  readonly isRefusal: boolean
  /** There is such a thing already. */
  readonly isDuplicate: boolean
  /** The database or a collection is not there. */
  readonly isMissing: boolean
  /** Nothing else will work either. */
  readonly isOutage: boolean

  constructor(why: string, facts: Partial<Omit<ArangoTrouble, keyof Error>>) {
    super(why)
    this.isPassing = facts.isPassing ?? false
    this.isUndone = facts.isUndone ?? false
    this.isRefusal = facts.isRefusal ?? false
    this.isDuplicate = facts.isDuplicate ?? false
    this.isMissing = facts.isMissing ?? false
    this.isOutage = facts.isOutage ?? false
  }
}

const NOT_FOUND = [1203, 1228]
const DUPLICATE = 1207
/** A write-write conflict, a killed query, a cursor that is gone with its server, a queue that is full. */
const PASSING = [1200, 1500, 1600, 21003]

/** What an error of the driver means; undefined when it is none, but a mistake in our code. */
export function troubleOf(error: unknown): ArangoTrouble | undefined {
  if (error instanceof ArangoTrouble) return error
  if (error instanceof ArangoError) {
    const { errorNum, code } = error
    const why = `${error.message} (error ${errorNum})`
    return new ArangoTrouble(why, {
      isPassing: code === 503 || PASSING.includes(errorNum),
      isUndone: code === 503,
      isRefusal: code === 401 || code === 403,
      isDuplicate: errorNum === DUPLICATE,
      isMissing: NOT_FOUND.includes(errorNum),
      isOutage: code === 503 || code === 401 || NOT_FOUND.includes(errorNum)
    })
  }
  if (error instanceof HttpError) {
    const { code } = error
    return new ArangoTrouble(`it answered ${code} ${error.message}`, {
      isPassing: code === 429 || code >= 500,
      isUndone: code === 429 || code === 503,
      isRefusal: code === 401 || code === 403,
      isOutage: code === 429 || code >= 500 || code === 401
    })
  }
  if (error instanceof NetworkError) {
    return new ArangoTrouble(reasonOf(error), {
      isPassing: true,
      isUndone: error.isSafeToRetry === true,
      isOutage: true
    })
  }
  // The driver does not wrap what goes wrong while an answer is read: `fetch` and `JSON.parse` throw these.
  const isCut = error instanceof SyntaxError || (error instanceof TypeError && 'cause' in error)
  if (!isCut) return undefined
  return new ArangoTrouble(reasonOf(error), { isPassing: true, isOutage: true })
}

/** The innermost cause: what `fetch` says itself is always the same. */
function reasonOf(error: Error): string {
  let innermost = error
  for (let depth = 0; depth < 16 && innermost.cause instanceof Error; depth++) {
    innermost = innermost.cause
  }
  const { code } = innermost as NodeJS.ErrnoException
  const [first] = innermost instanceof AggregateError ? innermost.errors : []
  return `the connection failed: ${innermost.message || first?.message || code || error.message}`
}
