import type { DecodedImage } from '@nebula-experts/sdk'
import type { OnnxSession, OnnxTensor } from '@nebula-experts/sdk/onnx'
import sharp from 'sharp'
import type { TextBox } from './text-box.ts'
import { textRegions } from './text-regions.ts'

// The model halves its input five times.
const STEP = 32
const MEAN = [0.485, 0.456, 0.406]
const DEVIATION = [0.229, 0.224, 0.225]
// A strip longer than this many times its breadth keeps its area instead of its length.
const ASPECT_MAX = 2
// Still, its longest side stays under this many times the usual one.
const STRIP_MAX = 8
// A picture of less than half that side is made larger, up to so many times.
const GROW_MAX = 2
const MARGIN = 16

/**
 * Finds where text stands.
 *
 * @param maxSide - the picture is made smaller until its longer side has at most so many pixels
 * @returns tilted rectangles in pixels of `image`, unordered; words far apart are apart
 */
export async function detectText(
  session: OnnxSession,
  image: DecodedImage,
  maxSide: number
): Promise<TextBox[]> {
  const scale = detectionScale(image, maxSide)
  const input = await toInput(image, scale)
  const outputs = await session.run({ [session.inputNames[0]!]: input })
  const map = outputs[session.outputNames[0]!] as OnnxTensor<Float32Array>
  const [, , height, width] = map.shape as [number, number, number, number]
  return textRegions({ data: map.data, width, height }).map((box) => ({
    x: (box.x - MARGIN) / scale,
    y: (box.y - MARGIN) / scale,
    width: box.width / scale,
    height: box.height / scale,
    angle: box.angle
  }))
}

/** How many pixels of the model's input one pixel of the picture becomes; small pictures grow. */
function detectionScale({ width, height }: DecodedImage, maxSide: number): number {
  const long = Math.max(width, height)
  const byArea = Math.sqrt((maxSide * maxSide) / ASPECT_MAX / (width * height))
  const largest = Math.max(1, Math.min(GROW_MAX, maxSide / 2 / long))
  return Math.min(largest, Math.max(maxSide / long, byArea), (STRIP_MAX * maxSide) / long)
}

async function toInput(image: DecodedImage, scale: number): Promise<OnnxTensor> {
  const width = Math.max(1, Math.round(image.width * scale))
  const height = Math.max(1, Math.round(image.height * scale))
  const raw = { width: image.width, height: image.height, channels: image.channels }
  const pixels =
    scale === 1 && image.channels === 3
      ? image.data
      : await sharp(image.data, { raw, limitInputPixels: false })
          .resize(width, height, { fit: 'fill' })
          .toColourspace('srgb')
          .raw()
          .toBuffer()
  // A margin, since the model misses text that touches the edge; in the colour of the border,
  // so that the edge itself is no stroke.
  const fullWidth = Math.ceil((width + 2 * MARGIN) / STEP) * STEP
  const fullHeight = Math.ceil((height + 2 * MARGIN) / STEP) * STEP
  const area = fullWidth * fullHeight
  const data = new Float32Array(3 * area)
  const border = borderColour(pixels, width, height)
  for (let plane = 0; plane < 3; plane += 1) {
    // The model was trained on blue, green, red, with the means of red, green, blue.
    const channel = 2 - plane
    const gain = 1 / (255 * DEVIATION[plane]!)
    const offset = -MEAN[plane]! / DEVIATION[plane]!
    data.fill(border[channel]! * gain + offset, plane * area, (plane + 1) * area)
    for (let y = 0; y < height; y += 1) {
      let to = plane * area + (y + MARGIN) * fullWidth + MARGIN
      let from = y * width * 3 + channel
      for (let x = 0; x < width; x += 1, to += 1, from += 3) {
        data[to] = pixels[from]! * gain + offset
      }
    }
  }
  return { data, shape: [1, 3, fullHeight, fullWidth] }
}

function borderColour(pixels: Uint8Array, width: number, height: number): number[] {
  const sums = [0, 0, 0]
  let count = 0
  const add = (x: number, y: number) => {
    const at = (y * width + x) * 3
    for (let channel = 0; channel < 3; channel += 1) sums[channel]! += pixels[at + channel]!
    count += 1
  }
  for (let x = 0; x < width; x += 1) for (const y of [0, height - 1]) add(x, y)
  for (let y = 0; y < height; y += 1) for (const x of [0, width - 1]) add(x, y)
  return sums.map((sum) => sum / count)
}
