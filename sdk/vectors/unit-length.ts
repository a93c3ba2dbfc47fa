/** A vector scaled to length 1, as a copy; one of zeros stays so. */
export function unitLength(vector: Float32Array): Float32Array {
  let squares = 0
  for (let i = 0; i < vector.length; i += 1) squares += vector[i]! * vector[i]!
  const scale = squares === 0 ? 0 : 1 / Math.sqrt(squares)
  return vector.map((value) => value * scale)
}

/** A vector for an answer: seven digits behind the point, which JSON says in half the bytes. */
export function roundedNumbers(vector: Float32Array): number[] {
  return Array.from(vector, (value) => Math.round(value * 1e7) / 1e7)
}
