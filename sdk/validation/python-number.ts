// Python's int() and float() of a text: space around, `_` between digits, any script's digits.

const SPACES = '[\\t-\\r\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]*'
const DIGITS = '[0-9]+(?:_[0-9]+)*'
const PLAIN_INTEGER = /^-?[0-9]{1,15}$/
const INTEGER = new RegExp(`^${SPACES}([+-]?${DIGITS})${SPACES}$`)
const FLOAT = new RegExp(
  `^${SPACES}([+-]?(?:${DIGITS}\\.?(?:${DIGITS})?|\\.${DIGITS})(?:[eE][+-]?${DIGITS})?)${SPACES}$`
)
const SPECIAL = new RegExp(`^${SPACES}([+-]?)(inf(?:inity)?|nan)${SPACES}$`, 'i')

/** The limit of CPython and pydantic; longer digits are no integer. */
const MAX_DIGITS = 4300

/** `int(text)` as a double, or undefined where Python raises or no double comes near. */
export function pythonInt(text: string): number | undefined {
  if (PLAIN_INTEGER.test(text)) return Number(text) + 0
  if (text.length > MAX_DIGITS) return undefined
  const match = INTEGER.exec(asciiDigits(text))
  if (match === null) return undefined
  const value = Number(match[1]!.replaceAll('_', ''))
  return Number.isFinite(value) ? value + 0 : undefined
}

/** `float(text)`, or undefined where Python raises. */
export function pythonFloat(text: string): number | undefined {
  const ascii = asciiDigits(text)
  const match = FLOAT.exec(ascii)
  if (match !== null) return Number(match[1]!.replaceAll('_', ''))
  const special = SPECIAL.exec(ascii)
  if (special === null) return undefined
  if (special[2]!.toLowerCase() === 'nan') return Number.NaN
  return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
}

function asciiDigits(text: string): string {
  return text.replace(/[^\P{Nd}0-9]/gu, (digit) => String(digitValue(digit.codePointAt(0)!)))
}

// Unicode keeps decimal digits in unbroken runs of ten, zero first.
function digitValue(point: number): number {
  let zero = point
  while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--
  return (point - zero) % 10
}
