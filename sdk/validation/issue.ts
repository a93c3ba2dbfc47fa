/** One thing that is wrong with a value, in the shape of pydantic v1. */
export interface Issue {
  /** Where it is: names of fields and indexes of lists, outermost first. */
  loc: (string | number)[]
  msg: string
  /** `type_error.*` for what has the wrong type, `value_error.*` for the rest. */
  type: string
  ctx?: Record<string, unknown>
}

/** What a check answers: the coerced value, or everything that is wrong with it. */
export type Checked<T = unknown> =
  | { value: T; issues?: undefined }
  | { issues: Issue[]; value?: undefined }

/** More issues than this are not looked for: a hostile body must not cost a large answer. */
export const MAX_ISSUES = 100

/** A compiled schema: answers the coerced value, or adds to `found` (its answer is void then). */
export type Check = (value: unknown, found: Findings) => unknown

/** The check that every value passes as it is; compared by identity to skip work. */
export const checkAny: Check = (value) => value

/**
 * The issues of one run. A check adds them without a location; whoever holds the field puts its
 * name in front on the way out, so that a good value costs no location at all.
 */
export class Findings {
  readonly issues: Issue[] = []
  /** How many `$ref` deep the check is. */
  depth = 0

  add(msg: string, type: string, ctx?: Record<string, unknown>, loc: Issue['loc'] = []): void {
    if (this.full) return
    this.issues.push(ctx === undefined ? { loc, msg, type } : { loc, msg, type, ctx })
  }

  get full(): boolean {
    return this.issues.length >= MAX_ISSUES
  }

  /** Puts `key` in front of every location found since there were `from` issues. */
  under(from: number, key: string | number): void {
    for (let i = from; i < this.issues.length; i++) this.issues[i]!.loc.unshift(key)
  }
}

/** Adds pydantic's answer to a `null` that is not allowed. */
export function addNoneNotAllowed(found: Findings): undefined {
  found.add('none is not an allowed value', 'type_error.none.not_allowed')
}
