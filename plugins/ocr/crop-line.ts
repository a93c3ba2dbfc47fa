import type { DecodedImage } from '@nebula-experts/sdk'
import type { OnnxTensor } from '@nebula-experts/sdk/onnx'
import type { TextBox } from './text-box.ts'

/** Height of a line as the recogniser reads it. */
export const LINE_HEIGHT = 48
// Added on all sides, in heights of the line: letters cut at the edge are misread.
const PADDING = 0.1
// The recogniser was trained on wide lines: a narrow one is set on a grey band of this width.
const WIDTH_MIN = 160
/** Pixels of width that one position of the output covers. */
export const WIDTH_STEP = 8
// Bounds the memory of a line; recognition cuts it into pieces well before.
const WIDTH_MAX = 32768

/**
 * Cuts a line out of the picture, level and 48 pixels high, as the recogniser's input.
 *
 * @param image - RGB
 * @returns float32 [1, 3, 48, width], blue, green, red, values -1 to 1
 */
export function cropLine(image: DecodedImage, box: TextBox): OnnxTensor<Float32Array> {
  const pad = 2 * PADDING * box.height
  const [boxWidth, boxHeight] = [box.width + pad, box.height + pad]
  const wanted = (LINE_HEIGHT * boxWidth) / boxHeight
  const textWidth = Math.min(WIDTH_MAX, Math.ceil(wanted / WIDTH_STEP) * WIDTH_STEP)
  const width = Math.max(WIDTH_MIN, textWidth)
  const area = LINE_HEIGHT * width
  const data = new Float32Array(3 * area)
  const stepX = boxWidth / textWidth
  const stepY = boxHeight / LINE_HEIGHT
  // Making smaller averages this many samples each way, else thin strokes fall between two samples.
  const samplesX = Math.max(1, Math.min(8, Math.round(stepX)))
  const samplesY = Math.max(1, Math.min(8, Math.round(stepY)))
  const gain = 1 / (samplesX * samplesY * 127.5)
  const cos = Math.cos(box.angle)
  const sin = Math.sin(box.angle)
  const sum = new Float64Array(3)
  for (let v = 0; v < LINE_HEIGHT; v += 1) {
    for (let u = 0; u < textWidth; u += 1) {
      sum.fill(0)
      for (let j = 0; j < samplesY; j += 1) {
        const across = (v + (j + 0.5) / samplesY) * stepY - boxHeight / 2
        for (let i = 0; i < samplesX; i += 1) {
          const along = (u + (i + 0.5) / samplesX) * stepX - boxWidth / 2
          const x = box.x + along * cos - across * sin
          const y = box.y + along * sin + across * cos
          addSample(image, x - 0.5, y - 0.5, sum)
        }
      }
      const at = v * width + u
      data[at] = sum[2]! * gain - 1
      data[at + area] = sum[1]! * gain - 1
      data[at + 2 * area] = sum[0]! * gain - 1
    }
  }
  return { data, shape: [1, 3, LINE_HEIGHT, width] }
}

/** Adds the colour at a point between pixels; beyond the picture its edge goes on. */
function addSample(image: DecodedImage, x: number, y: number, sum: Float64Array): void {
  const { data, width, height } = image
  const cx = Math.min(width - 1, Math.max(0, x))
  const cy = Math.min(height - 1, Math.max(0, y))
  const left = Math.floor(cx)
  const top = Math.floor(cy)
  const right = Math.min(width - 1, left + 1) * 3
  const upper = top * width * 3
  const lower = Math.min(height - 1, top + 1) * width * 3
  const fx = cx - left
  const fy = cy - top
  const a = (1 - fx) * (1 - fy)
  const b = fx * (1 - fy)
  const c = (1 - fx) * fy
  const d = fx * fy
  for (let channel = 0; channel < 3; channel += 1) {
    const from = left * 3 + channel
    sum[channel]! +=
      a * data[upper + from]! +
      b * data[upper + right + channel]! +
      c * data[lower + from]! +
      d * data[lower + right + channel]!
  }
}
