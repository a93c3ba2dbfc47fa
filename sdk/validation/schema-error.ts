/** Longest path in a message; names in a schema may have any length. */
const MAX_PATH = 500

/**
 * A schema that is refused. It is the author's fault, never the caller's: it is thrown when the
 * schema is compiled, before any value is seen.
 *
 * Recognise it by `code`, never by `instanceof`.
 */
export class SchemaError extends Error {
  override readonly name = 'SchemaError'
  readonly code = 'EXP_BAD_SCHEMA'
  /** JSON pointer to the offending place, empty for the schema itself. */
  readonly path: string

  constructor(path: string, problem: string) {
    const place = path.length > MAX_PATH ? `${path.slice(0, MAX_PATH)}…` : path
    super(`Bad schema at ${place === '' ? 'its root' : place}: ${problem}`)
    this.path = path
  }
}
