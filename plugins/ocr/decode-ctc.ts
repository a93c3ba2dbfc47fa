/** What a line says, and where each sign was seen. */
export interface DecodedText {
  text: string
  /** Mean certainty of the signs, 0 to 1; 0 when there are none. */
  score: number
  /** Position of each sign of `text` along the output. */
  steps: number[]
}

/**
 * Decodes the output of a CTC model greedily: the likeliest sign at each position, repeats joined.
 *
 * @param probabilities - softmaxed, [steps, charset.length] row-major
 * @param charset - sign of each class; class 0 is the blank
 */
export function decodeCtc(probabilities: Float32Array, charset: readonly string[]): DecodedText {
  const classes = charset.length
  const signs: string[] = []
  const steps: number[] = []
  let sum = 0
  let before = 0
  for (let step = 0; step * classes < probabilities.length; step += 1) {
    const start = step * classes
    let best = 0
    for (let i = 1; i < classes; i += 1) {
      if (probabilities[start + i]! > probabilities[start + best]!) best = i
    }
    if (best !== 0 && best !== before) {
      signs.push(charset[best]!)
      steps.push(step)
      sum += probabilities[start + best]!
    }
    before = best
  }
  return { text: signs.join(''), score: signs.length === 0 ? 0 : sum / signs.length, steps }
}
