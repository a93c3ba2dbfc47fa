import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DecodedImage } from '@nebula-experts/sdk'
import sharp, { type Sharp } from 'sharp'

export const fixtures = new URL('fixtures/', import.meta.url).pathname

/** A committed page and what it says. */
export interface Page {
  file: string
  kind: string
  lines: { text: string; bbox: number[] | null }[]
}

export async function readPages(): Promise<Page[]> {
  return JSON.parse(await readFile(join(fixtures, 'pages.json'), 'utf8'))
}

export async function decodePage(file: string): Promise<DecodedImage> {
  return pixelsOf(sharp(join(fixtures, file)))
}

export async function pixelsOf(picture: Sharp): Promise<DecodedImage> {
  const raw = picture.flatten({ background: '#fff' }).toColourspace('srgb').raw()
  const { data, info } = await raw.toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height, channels: 3 }
}

/** A white picture with cuts of a page on it, so that a test needs no fonts. */
export async function pasteCuts(
  width: number,
  height: number,
  file: string,
  cuts: { bbox: number[]; left: number; top: number }[]
): Promise<Sharp> {
  const pasted = cuts.map(async ({ bbox, left, top }) => {
    const [x, y, right, bottom] = bbox as [number, number, number, number]
    const area = { left: x, top: y, width: right - x, height: bottom - y }
    return { input: await sharp(join(fixtures, file)).extract(area).png().toBuffer(), left, top }
  })
  const ground = { width, height, channels: 3 as const, background: '#fff' }
  const picture = sharp({ create: ground }).composite(await Promise.all(pasted))
  return sharp(await picture.png().toBuffer())
}
