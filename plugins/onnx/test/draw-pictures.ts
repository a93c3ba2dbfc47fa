import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import type { Test } from 'tap'
import { writeModel } from './serve-model.ts'

/** A field of one colour: red, green, blue, 0 to 255. */
export interface Field {
  left: number
  top: number
  width: number
  height: number
  colour: readonly [number, number, number]
}

/** Draws fields on black as a PNG that goes with the test. Gives its `file:` URL. */
export async function drawPicture(
  t: Test,
  width: number,
  height: number,
  fields: readonly Field[]
): Promise<string> {
  const data = Buffer.alloc(width * height * 3)
  for (const field of fields) {
    for (let y = field.top; y < field.top + field.height; y += 1) {
      for (let x = field.left; x < field.left + field.width; x += 1) {
        data.set(field.colour, (y * width + x) * 3)
      }
    }
  }
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
  return keepPicture(t, png)
}

/** Keeps the bytes of a picture for the test. Gives its `file:` URL. */
export async function keepPicture(t: Test, bytes: Uint8Array): Promise<string> {
  return pathToFileURL(await writeModel(t, bytes)).href
}
