import type { OnnxTensor } from '@nebula-experts/sdk/onnx'
import { LINE_HEIGHT } from './crop-line.ts'

// A column has ink when a pixel of it differs from the ground by this share of the full contrast.
const INK_MIN = 0.4

/** Runs of columns of a cropped line that have no ink, as [start, end). */
export function blankRuns(crop: OnnxTensor<Float32Array>): [start: number, end: number][] {
  const width = crop.shape[3]!
  const area = LINE_HEIGHT * width
  // Green alone is near enough to brightness, and the plane in the middle.
  const pixels = crop.data.subarray(area, 2 * area)
  const sorted = Float32Array.from(pixels).sort()
  const ground = sorted[area >> 1]!
  const contrast = Math.max(
    sorted[Math.floor(area * 0.98)]! - ground,
    ground - sorted[Math.floor(area * 0.02)]!
  )
  const runs: [number, number][] = []
  let start = 0
  for (let x = 0; x < width; x += 1) {
    let hasInk = false
    for (let y = 0; y < LINE_HEIGHT && !hasInk; y += 1) {
      hasInk = Math.abs(pixels[y * width + x]! - ground) > INK_MIN * contrast
    }
    if (!hasInk) continue
    if (x > start) runs.push([start, x])
    start = x + 1
  }
  return runs
}
