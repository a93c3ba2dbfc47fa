/** A text that is no JSON: what is wrong in Python's words, and where, in UTF-16 units. */
export interface JsonFault {
  why: string
  at: number
}

/** What Python makes of a text. `tooDeep` is where it raises RecursionError. */
export type PythonJson = { value: unknown } | { fault: JsonFault } | { tooDeep: true }

/** Levels of lists and objects; Python gives up near its recursion limit of 1,000. */
export const MAX_NESTING = 1000

const constants: [string, unknown][] = [
  ['null', null],
  ['true', true],
  ['false', false],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY]
]

const HEX = /^[0-9a-fA-F]{4}$/

class Stop extends Error {
  readonly outcome: PythonJson
  constructor(outcome: PythonJson) {
    super()
    this.outcome = outcome
  }
}

/**
 * Reads JSON as Python's `json.loads` does, `NaN` and `Infinity` included. It is slow, meant for
 * texts that `JSON.parse` refused: V8 does not say reliably where and why.
 */
export function parsePythonJson(text: string): PythonJson {
  let at = 0
  let nesting = 0

  function fail(why: string, where = at): never {
    throw new Stop({ fault: { why, at: where } })
  }
  const skipSpace = (): void => {
    while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  }
  const take = (char: string): boolean => {
    if (text[at] !== char) return false
    at++
    return true
  }

  function value(): unknown {
    if (text[at] === '"') return string()
    if (text[at] === '{' || text[at] === '[') return nested(text[at] === '{' ? object : list)
    const constant = constants.find(([word]) => text.startsWith(word, at))
    if (constant !== undefined) {
      at += constant[0].length
      return constant[1]
    }
    return number()
  }

  // Takes as much as is a number, as Python: of `01` and `1.` the `0` and the `1`.
  function number(): number {
    const start = at
    const whole = text[at] === '-' ? at + 1 : at
    let end = text[whole] === '0' ? whole + 1 : digitsFrom(whole)
    if (end === whole) fail('Expecting value')
    if (text[end] === '.' && digitsFrom(end + 1) > end + 1) end = digitsFrom(end + 1)
    if (text[end] === 'e' || text[end] === 'E') {
      const sign = text[end + 1] === '-' || text[end + 1] === '+' ? 1 : 0
      const exponent = end + 1 + sign
      if (digitsFrom(exponent) > exponent) end = digitsFrom(exponent)
    }
    at = end
    return Number(text.slice(start, end))
  }

  function digitsFrom(start: number): number {
    let end = start
    while (text[end]! >= '0' && text[end]! <= '9') end++
    return end
  }

  function nested(parse: () => unknown): unknown {
    if (++nesting > MAX_NESTING) throw new Stop({ tooDeep: true })
    at++
    const result = parse()
    nesting--
    return result
  }

  function list(): unknown[] {
    const items: unknown[] = []
    skipSpace()
    if (take(']')) return items
    for (;;) {
      items.push(value())
      skipSpace()
      if (take(']')) return items
      if (!take(',')) fail("Expecting ',' delimiter")
      skipSpace()
    }
  }

  function object(): object {
    const result = {}
    skipSpace()
    if (take('}')) return result
    for (;;) {
      if (text[at] !== '"') fail('Expecting property name enclosed in double quotes')
      const name = string()
      skipSpace()
      if (!take(':')) fail("Expecting ':' delimiter")
      skipSpace()
      setOwn(result, name, value())
      skipSpace()
      if (take('}')) return result
      if (!take(',')) fail("Expecting ',' delimiter")
      skipSpace()
    }
  }

  // Looks for the end only; what a good string means is then for JSON.parse, which is fast.
  function string(): string {
    const start = at++
    for (;;) {
      while (text[at]! >= ' ' && text[at] !== '"' && text[at] !== '\\') at++
      if (take('"')) return JSON.parse(text.slice(start, at))
      if (at >= text.length) fail('Unterminated string starting at', start)
      if (text[at] !== '\\') fail('Invalid control character at')
      skipEscape(start)
    }
  }

  function skipEscape(start: number): void {
    const char = text[at + 1]
    if (char === undefined) fail('Unterminated string starting at', start)
    if (!'"\\/bfnrtu'.includes(char)) fail('Invalid \\escape')
    // CPython wants at least one character after \uXXXX, too.
    if (char === 'u' && (!HEX.test(text.slice(at + 2, at + 6)) || at + 6 === text.length)) {
      fail('Invalid \\uXXXX escape', at + 1)
    }
    at += char === 'u' ? 6 : 2
  }

  try {
    skipSpace()
    const result = value()
    skipSpace()
    if (at < text.length) fail('Extra data')
    return { value: result }
  } catch (stop) {
    if (stop instanceof Stop) return stop.outcome
    throw stop
  }
}

// A key named `__proto__` is data.
function setOwn(object: object, name: string, value: unknown): void {
  const property = { value, writable: true, enumerable: true, configurable: true }
  Object.defineProperty(object, name, property)
}
