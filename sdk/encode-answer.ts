const MAX_DEPTH = 200

/**
 * Encodes what an expert answered as JSON text, the way the seed's framework did: `undefined` and
 * numbers that JSON lacks (NaN, Infinity) become null, sets and typed arrays arrays, maps objects,
 * dates ISO 8601, bytes text, and big integers numbers where those are exact, else text.
 *
 * @throws TypeError for a value that refers to itself, or is nested deeper than 200 levels
 */
export function encodeAnswer(value: unknown): string {
  // The walk costs next to nothing for plain values; a replacer would cost all answers dearly.
  const plain = isPlain(value, 0) ? value : toPlain(value, 0)
  return JSON.stringify(plain) ?? 'null'
}

function isPlain(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return typeof value !== 'bigint'
  if (depth > MAX_DEPTH) throw tooDeep()
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const item = value[i]
      const kind = typeof item
      if ((kind === 'object' || kind === 'bigint') && !isPlain(item, depth + 1)) return false
    }
    return true
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return false
  if (value instanceof Set || value instanceof Map) return false
  for (const key in value) {
    const item = (value as Record<string, unknown>)[key]
    const kind = typeof item
    if ((kind === 'object' || kind === 'bigint') && !isPlain(item, depth + 1)) return false
  }
  return true
}

function toPlain(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw tooDeep()
  if (typeof value === 'bigint') {
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value.toString()
  }
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => toPlain(item, depth + 1))
  if (Buffer.isBuffer(value)) return value.toString('utf8')
  if (value instanceof ArrayBuffer) return Buffer.from(value).toString('utf8')
  if (ArrayBuffer.isView(value)) {
    if (value instanceof DataView) return Array.from(new Uint8Array(value.buffer))
    return Array.from(value as unknown as ArrayLike<unknown>, (item) => toPlain(item, depth + 1))
  }
  if (value instanceof Set) return [...value].map((item) => toPlain(item, depth + 1))
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return value
  const entries = value instanceof Map ? [...value] : Object.entries(value)
  const plain: Record<string, unknown> = {}
  for (const [key, item] of entries) {
    // Defined, not assigned: a key may be called __proto__.
    Object.defineProperty(plain, String(key), {
      value: toPlain(item, depth + 1),
      enumerable: true,
      configurable: true,
      writable: true
    })
  }
  return plain
}

function tooDeep(): TypeError {
  return new TypeError(
    `The answer cannot be JSON: it refers to itself, or is nested deeper than ${MAX_DEPTH} levels`
  )
}
