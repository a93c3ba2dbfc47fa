const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** The bits of a number as IEEE 754 half precision, rounded to the nearest, ties to even. */
export function toHalfFloat(value: number): number {
  float[0] = value
  const single = bits[0]!
  const sign = (single >>> 16) & 0x8000
  const exponent = (single >>> 23) & 0xff
  const fraction = single & 0x7fffff
  if (exponent === 0xff) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200)
  const half = exponent - 112
  if (half >= 31) return sign | 0x7c00
  if (half <= 0) {
    // Subnormal: the hidden one becomes a digit of the fraction.
    if (half < -10) return sign
    return sign | roundShift(fraction | 0x800000, 14 - half)
  }
  // A carry out of the fraction raises the exponent, up to infinity, as it should.
  return sign | ((half << 10) + roundShift(fraction, 13))
}

function roundShift(value: number, by: number): number {
  const kept = value >>> by
  const rest = value - kept * 2 ** by
  const tie = 2 ** (by - 1)
  return rest > tie || (rest === tie && (kept & 1) === 1) ? kept + 1 : kept
}

/** The number that 16 bits are as IEEE 754 half precision. */
export function fromHalfFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
