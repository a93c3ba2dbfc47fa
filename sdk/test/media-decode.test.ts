import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp, { type Color } from 'sharp'
import t, { type Test } from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import { failure, policy, red } from './media-canary.ts'

const media = createMedia(policy())
const create = (channels: 3 | 4, background: Color) =>
  sharp({ create: { width: 8, height: 4, channels, background } })

/** The first pixel. */
async function pixel(bytes: Uint8Array, channels?: 1 | 3): Promise<number[]> {
  const image = await media.decodeImage(bytes, { channels })
  return [...image.data.subarray(0, image.channels)]
}

function near(t: Test, found: number[], wanted: number[], tolerance: number, message: string) {
  const close =
    found.length === wanted.length &&
    found.every((value, at) => Math.abs(value - wanted[at]!) <= tolerance)
  t.ok(close, `${message}: ${found} should be about ${wanted}`)
}

t.test('every format comes out as 8 bit sRGB, from bytes and from a path', async (t) => {
  for (const format of ['jpeg', 'png', 'webp', 'gif', 'tiff', 'avif'] as const) {
    const bytes = await red().toFormat(format).toBuffer()
    const path = join(t.testdir({}), `a.${format}`)
    await writeFile(path, bytes)
    for (const source of [new Uint8Array(bytes), path]) {
      const image = await media.decodeImage(source)
      t.match(image, { width: 8, height: 4, channels: 3 }, format)
      t.equal(image.data.length, 8 * 4 * 3)
      t.equal(image.data.constructor, Uint8Array)
      near(t, [...image.data.subarray(0, 3)], [255, 0, 0], 4, format)
    }
  }
})

t.test('alpha is laid on white', async (t) => {
  const clear = await create(4, { r: 0, g: 0, b: 0, alpha: 0 }).png().toBuffer()
  t.same(await pixel(clear), [255, 255, 255])
  t.same(await pixel(clear, 1), [255])
  const half = await create(4, { r: 255, g: 0, b: 0, alpha: 0.5 }).png().toBuffer()
  near(t, await pixel(half), [255, 127, 127], 1, 'half')
  const greyAlpha = await sharp(clear).toColourspace('b-w').png().toBuffer()
  t.equal((await sharp(greyAlpha).metadata()).channels, 2)
  t.same(await pixel(greyAlpha), [255, 255, 255])
})

t.test('grey, palette, 16 bit and CMYK', async (t) => {
  const colour = { r: 200, g: 100, b: 50 }
  const rgb = create(3, colour)
  const wide = await rgb.clone().toColourspace('rgb16').png().toBuffer()
  t.equal((await sharp(wide).metadata()).depth, 'ushort')
  near(t, await pixel(wide), [200, 100, 50], 1, '16 bit')
  const wideGrey = await rgb.clone().toColourspace('grey16').png().toBuffer()
  t.match(await sharp(wideGrey).metadata(), { depth: 'ushort', channels: 1 })
  const grey = await rgb.clone().toColourspace('b-w').png().toBuffer()
  t.equal((await sharp(grey).metadata()).channels, 1)
  const [level] = await pixel(grey, 1)
  t.ok(level! > 90 && level! < 160, `luminance ${level}`)
  t.same(await pixel(grey), [level, level, level])
  near(t, await pixel(wideGrey, 1), [level!], 1, '16 bit grey')
  near(t, await pixel(wideGrey), [level!, level!, level!], 1, '16 bit grey to RGB')
  const palette = await rgb.clone().png({ palette: true }).toBuffer()
  t.equal((await sharp(palette).metadata()).isPalette, true)
  near(t, await pixel(palette), [200, 100, 50], 1, 'palette')
  const cmyk = await rgb.clone().toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer()
  t.equal((await sharp(cmyk).metadata()).channels, 4)
  near(t, await pixel(cmyk), [200, 100, 50], 35, 'CMYK')
  t.equal((await pixel(cmyk, 1)).length, 1)
})

t.test('the orientation tag is applied', async (t) => {
  const blue = await create(3, '#0000ff').resize(4, 4).png().toBuffer()
  // Stored 8 × 4, blue left and red right; orientation 6 turns it clockwise: blue comes on top.
  const bytes = await red()
    .composite([{ input: blue, left: 0, top: 0 }])
    .withMetadata({ orientation: 6 })
    .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
    .toBuffer()
  const image = await media.decodeImage(bytes)
  t.match(image, { width: 4, height: 8 })
  near(t, [...image.data.subarray(0, 3)], [0, 0, 255], 8, 'top')
  near(t, [...image.data.subarray(-3)], [255, 0, 0], 8, 'bottom')
})

t.test('the first frame of an animation', async (t) => {
  const frames = await Promise.all([red(), create(3, '#0000ff')].map((f) => f.png().toBuffer()))
  for (const format of ['gif', 'webp'] as const) {
    const animation = sharp(frames, { join: { animated: true } })
    const bytes = await animation.toFormat(format).toBuffer()
    t.equal((await sharp(bytes).metadata()).pages, 2)
    const image = await media.decodeImage(bytes)
    t.match(image, { width: 8, height: 4 }, format)
    near(t, [...image.data.subarray(0, 3)], [255, 0, 0], 4, format)
  }
})

t.test('a truncated picture is unreadable', async (t) => {
  const noise = { type: 'gaussian', mean: 128, sigma: 50 } as const
  const noisy = sharp({
    create: { width: 200, height: 200, channels: 3, background: '#000', noise }
  })
  for (const format of ['jpeg', 'png'] as const) {
    const bytes = await noisy.clone().toFormat(format).toBuffer()
    const error = await failure(media.decodeImage(bytes.subarray(0, bytes.length / 2)))
    t.match(error, { code: 'EXP_MEDIA_UNREADABLE', message: /cannot be decoded/ }, format)
  }
})

t.test('a picture bomb is refused before it is decoded', async (t) => {
  const bomb = await red(10_000, 10_000).png().toBuffer()
  t.ok(bomb.length < defaultMediaPolicy.maxBytes)
  const path = join(t.testdir({}), 'bomb.png')
  await writeFile(path, bomb)
  const guarded = createMedia(defaultMediaPolicy)
  // The last has no pixels at all, so nobody can have looked at them.
  for (const source of [bomb, path, bomb.subarray(0, 500)]) {
    const error = await failure(guarded.decodeImage(source))
    t.match(error, { code: 'EXP_MEDIA_TOO_LARGE', statusCode: 413 })
    t.match(error.message, /10000 × 10000 = 100000000 pixels, wanted at most 50000000/)
  }
  const url = `data:image/png;base64,${bomb.toString('base64')}`
  const download = guarded.downloadImage(url, { folder: t.testdir({}) })
  await t.rejects(download, { code: 'EXP_MEDIA_TOO_LARGE' })
})

t.test('what is not taken', async (t) => {
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'
  for (const [body, message] of [
    [svg, /SVG is not taken/],
    [`<?xml version="1.0"?>\n<!-- x -->${svg}`, /SVG is not taken/],
    ['hello', /the picture is no picture/],
    ['%PDF-1.7\n', /is no picture/],
    ['P6 1 1 255\nabc', /is no picture/],
    ['', /is empty/],
    ['GIF89a', /whose header cannot be read/]
  ] as const) {
    const path = join(t.testdir({}), 'a.png')
    await writeFile(path, body)
    for (const source of [Buffer.from(body), path]) {
      const error = await failure(media.decodeImage(source))
      t.match(error, { code: 'EXP_MEDIA_UNREADABLE', statusCode: 422 }, body)
    }
    t.match((await failure(media.decodeImage(Buffer.from(body)))).message, message)
  }
})

t.test('a path that is no file', async (t) => {
  const folder = t.testdir({})
  execFileSync('mkfifo', [join(folder, 'pipe')])
  for (const name of ['absent.png', 'pipe', '.']) {
    const error = await failure(media.decodeImage(join(folder, name)))
    t.equal(error.code, 'EXP_MEDIA_UNREADABLE', name)
    t.notMatch(error.message, t.testdirName)
  }
})
