import type { DecodedImage } from '@nebula-experts/sdk'
import sharp from 'sharp'

/** Pixels of the model's picture, each way. */
export const SIDE = 224
/** The brightest hundredth of a picture becomes white, so that a darker copy stays the same picture … */
const BRIGHTEST = 0.01
/** … unless that would take more than so much: night stays night. */
const GAIN_MAX = 2

/**
 * Scales a picture, whatever its shape, to the square that the model looks at.
 *
 * @param image - in colours (RGB)
 * @returns `SIDE * SIDE * 3` bytes, interleaved
 */
export async function squarePicture(image: DecodedImage): Promise<Uint8Array> {
  const { data, width, height, channels } = image
  if (width === SIDE && height === SIDE && channels === 3) return data
  // Cubic: with a linear kernel, scans of half the size are taken for other pages.
  return sharp(data, { raw: { width, height, channels }, limitInputPixels: false })
    .resize(SIDE, SIDE, { fit: 'fill', kernel: 'cubic' })
    .toColourspace('srgb')
    .raw()
    .toBuffer()
}

/** The square as the model's input, 0 to 1, its white point raised. */
export function modelInput(square: Uint8Array): Float32Array {
  const gain = Math.min(GAIN_MAX, 255 / Math.max(1, whitePoint(square)))
  const values = Float32Array.from({ length: 256 }, (_, value) => Math.min(1, (value * gain) / 255))
  const input = new Float32Array(square.length)
  for (let i = 0; i < input.length; i += 1) input[i] = values[square[i]!]!
  return input
}

/** The value that the brightest hundredth has or exceeds. */
function whitePoint(square: Uint8Array): number {
  const counts = new Uint32Array(256)
  for (let i = 0; i < square.length; i += 1) counts[square[i]!]! += 1
  let left = square.length * BRIGHTEST
  let value = 255
  for (; value > 0; value -= 1) {
    left -= counts[value]!
    if (left <= 0) break
  }
  return value
}
