import type { OnnxTensor } from '@nebula-experts/sdk/onnx'
import { blankRuns } from './blank-runs.ts'
import { LINE_HEIGHT, WIDTH_STEP } from './crop-line.ts'
import type { DecodedText } from './decode-ctc.ts'

// Against the spaces that the model did see in the same line.
const GAP_OF_SPACE = 0.75
// Below this share of the height it is no gap between words: an underline or noise fills the gaps.
const SPACE_MIN = 0.17
// Nor where most letters stand almost as far apart.
const LETTER_GAP_MAX = 0.5
// Without any seen space, between two letters only, in heights of the crop.
const GAP_OF_HEIGHT = 0.26
// Pixels from the start of a position to its sign: the recogniser tends to be early by two.
const STEP_CENTRE = WIDTH_STEP / 2 + 2
const LETTER = /\p{L}/u

/**
 * Puts back spaces that the recogniser swallowed, as it does after punctuation: where the gap
 * between two signs is about as wide as the spaces that it did see in this line.
 *
 * @param crop - what the recogniser saw
 */
export function restoreSpaces(crop: OnnxTensor<Float32Array>, decoded: DecodedText): string {
  const signs = [...decoded.text]
  const blanks = blankRuns(crop)
  const gapsAt: { before: number; gap: number; spaced: boolean }[] = []
  let previous = -1
  for (const [index, sign] of signs.entries()) {
    if (sign === ' ') continue
    if (previous >= 0) {
      const from = decoded.steps[previous]! * WIDTH_STEP + STEP_CENTRE
      const to = decoded.steps[index]! * WIDTH_STEP + STEP_CENTRE
      const inside = blanks.filter(([start, end]) => start + end > 2 * from && start + end < 2 * to)
      const gap = Math.max(0, ...inside.map(([start, end]) => end - start))
      gapsAt.push({ before: index, gap, spaced: index - previous > 1 })
    }
    previous = index
  }
  const typical = median(gapsAt.filter((at) => at.spaced).map((at) => at.gap))
  const usual = median(gapsAt.filter((at) => !at.spaced).map((at) => at.gap)) ?? 0
  const isClear =
    typical === undefined ||
    (typical >= SPACE_MIN * LINE_HEIGHT && usual <= LETTER_GAP_MAX * typical)
  if (!isClear) return decoded.text
  for (const { before, gap, spaced } of gapsAt.reverse()) {
    if (spaced) continue
    const isSpace =
      typical !== undefined
        ? gap >= GAP_OF_SPACE * typical
        : gap >= GAP_OF_HEIGHT * LINE_HEIGHT &&
          usual <= LETTER_GAP_MAX * gap &&
          LETTER.test(signs[before - 1]!) &&
          LETTER.test(signs[before]!)
    if (isSpace) signs.splice(before, 0, ' ')
  }
  return signs.join('')
}

function median(values: number[]): number | undefined {
  return values.sort((a, b) => a - b)[values.length >> 1]
}
