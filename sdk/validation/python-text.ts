/**
 * A number or boolean as Python's `str()` writes it: `True`, `1e-05`, `1.5e+300`, `inf`.
 *
 * JSON.parse has already made `1.0` and `1` the same, so a whole number is written as an integer.
 */
export function pythonText(value: number | boolean): string {
  if (value === true) return 'True'
  if (value === false) return 'False'
  if (value === 0) return '0'
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf'
  // JavaScript turns to exponents below 1e-6, Python below 1e-4 and with two digits.
  const text = Math.abs(value) < 1e-4 ? value.toExponential() : String(value)
  return text.replace(/e-(\d)$/, 'e-0$1')
}

/** A JSON value as Python's `repr()` writes it. */
export function pythonRepr(value: unknown): string {
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'string') return quoted(value)
  if (typeof value === 'number' || typeof value === 'boolean') return pythonText(value)
  if (Array.isArray(value)) return `[${value.map(pythonRepr).join(', ')}]`
  const entries = Object.entries(value)
  return `{${entries.map(([key, item]) => `${quoted(key)}: ${pythonRepr(item)}`).join(', ')}}`
}

const escapes: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' }

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const body = text.replace(/[\\\p{Cc}]/gu, (char) => escapes[char] ?? hex(char))
  return quote + (quote === "'" ? body.replaceAll("'", "\\'") : body) + quote
}

function hex(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
}
