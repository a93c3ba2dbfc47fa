/** One variable that could not be understood. */
export interface BadVariable {
  name: string
  found: string
  wanted: string
}

/** Reads variables one by one and remembers every bad one, so that all are reported at once. */
export class EnvironmentReader {
  readonly bad: BadVariable[] = []
  readonly #env: NodeJS.ProcessEnv

  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env
  }

  /** Text, or undefined when unset or empty. */
  text(name: string): string | undefined {
    const found = this.#env[name]?.trim()
    return found === undefined || found === '' ? undefined : found
  }

  /** Comma separated; empty items are dropped; undefined when unset or empty. */
  list(name: string): string[] | undefined {
    const items = this.text(name)
      ?.split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '')
    return items === undefined || items.length === 0 ? undefined : items
  }

  integer(name: string, least: number, most = Number.MAX_SAFE_INTEGER): number | undefined {
    const found = this.text(name)
    if (found === undefined) return undefined
    const value = /^[+-]?\d+$/.test(found) ? Number(found) : Number.NaN
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `${least} to ${most}`
    this.bad.push({ name, found, wanted: `a whole number ${range}` })
    return undefined
  }

  /** `true`, `1`, `yes`, `on` and their opposites, in any case. */
  boolean(name: string): boolean | undefined {
    const found = this.text(name)
    if (found === undefined) return undefined
    const word = found.toLowerCase()
    if (['true', '1', 'yes', 'on'].includes(word)) return true
    if (['false', '0', 'no', 'off'].includes(word)) return false
    this.bad.push({ name, found, wanted: 'true, false, 1, 0, yes, no, on or off' })
    return undefined
  }

  oneOf<T extends string>(name: string, words: readonly T[]): T | undefined {
    const found = this.text(name)
    if (found === undefined) return undefined
    if ((words as readonly string[]).includes(found)) return found as T
    this.bad.push({ name, found, wanted: `one of ${words.join(', ')}` })
    return undefined
  }
}
