import type { OnnxTensor } from '@nebula-experts/sdk/onnx'
import { blankRuns } from './blank-runs.ts'
import { LINE_HEIGHT, WIDTH_STEP } from './crop-line.ts'

// Pixels of width, about eighty letters: longer lines are read ever worse, and slower by the square.
const LENGTH_MAX = 2048
// The cut is made at the widest gap of the last part of each piece.
const SEARCH_FROM = 0.6

/** Cuts a cropped line that is too long to be read at once into pieces, between words where it can. */
export function splitLine(crop: OnnxTensor<Float32Array>): OnnxTensor<Float32Array>[] {
  const width = crop.shape[3]!
  if (width <= LENGTH_MAX) return [crop]
  const gaps = blankRuns(crop)
  const pieces: OnnxTensor<Float32Array>[] = []
  let start = 0
  while (width - start > LENGTH_MAX) {
    const end = start + LENGTH_MAX
    const inside = gaps.filter(([from, to]) => from > start + SEARCH_FROM * LENGTH_MAX && to < end)
    const widest = inside.sort((a, b) => b[1] - b[0] - (a[1] - a[0]))[0]
    const middle = widest === undefined ? end : (widest[0] + widest[1]) / 2
    const cut = Math.floor(middle / WIDTH_STEP) * WIDTH_STEP
    pieces.push(sliceCrop(crop, start, cut))
    start = cut
  }
  pieces.push(sliceCrop(crop, start, width))
  return pieces
}

/** Columns from `start` to `end` of a crop; beyond it there is grey. */
export function sliceCrop(
  crop: OnnxTensor<Float32Array>,
  start: number,
  end: number
): OnnxTensor<Float32Array> {
  const from = crop.shape[3]!
  const to = end - start
  const data = new Float32Array(3 * LINE_HEIGHT * to)
  for (let row = 0; row < 3 * LINE_HEIGHT; row += 1) {
    const last = Math.min(from, end)
    data.set(crop.data.subarray(row * from + start, row * from + last), row * to)
  }
  return { data, shape: [1, 3, LINE_HEIGHT, to] }
}
