import { createMedia, defaultMediaPolicy } from '@nebula-experts/sdk/hosting'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { PictureEncoder } from '../picture-encoder.ts'

const plugins = new URL('../../', import.meta.url)
// Photographs and, harder, pages of text that differ in little but their words.
const PICTURES = [
  ...['astronaut', 'camera', 'chelsea', 'coffee', 'rocket'].map(
    (name) => `detect-objects/test/fixtures/${name}.jpg`
  ),
  ...['caption-composite', 'screen-list', 'screen-page', 'sign-composite'].map(
    (name) => `ocr/test/fixtures/photo-${name}.jpg`
  ),
  'ocr/test/fixtures/scan-book.jpg',
  ...[
    'coloured-panels',
    'large-headline',
    'light-on-dark',
    'mono-code',
    'numbers',
    'receipt',
    'sans-paragraph',
    'serif-italic',
    'serif-paragraph',
    'skewed-scan',
    'small-print',
    'two-columns'
  ].map((name) => `ocr/test/fixtures/${name}.png`)
].map((path) => new URL(path, plugins).pathname)

const media = createMedia(defaultMediaPolicy)
const encoder = await PictureEncoder.open({ threads: 1 })
t.teardown(() => encoder.release())
const embed = async (source: string | Uint8Array) =>
  encoder.encode(await encoder.prepare(() => media.decodeImage(source)))
const dot = (a: Float32Array, b: Float32Array) =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0)

const originals = await Promise.all(PICTURES.map(embed))

/** Pictures whose copy is nearer to another picture. */
async function strays(copy: (picture: Sharp, size: { width: number; height: number }) => Sharp) {
  const lost: string[] = []
  for (const [place, path] of PICTURES.entries()) {
    const size = (await sharp(path).metadata()) as { width: number; height: number }
    const vector = await embed(await copy(sharp(path), size).toBuffer())
    const scores = originals.map((other) => dot(vector, other))
    const best = scores.indexOf(Math.max(...scores))
    if (best !== place) lost.push(`${PICTURES[place]} is taken for ${PICTURES[best]}`)
  }
  return lost
}

t.test('vectors have 1792 numbers and length 1', async (t) => {
  t.equal(originals.length, 22)
  for (const vector of originals) {
    t.equal(vector.length, 1792)
    t.ok(Math.abs(Math.sqrt(dot(vector, vector)) - 1) < 1e-5)
  }
})

t.test('the nearest of a copy is its original', async (t) => {
  const copies: Record<string, Parameters<typeof strays>[0]> = {
    'a JPEG of quality 30': (picture) => picture.jpeg({ quality: 30 }),
    'a fifth brighter': (picture) => picture.modulate({ brightness: 1.2 }).png(),
    'a fifth darker': (picture) => picture.modulate({ brightness: 0.8 }).png(),
    'half the size': (picture, { width }) => picture.resize(Math.round(width / 2)).png(),
    'twice the size': (picture, { width }) => picture.resize(width * 2).jpeg(),
    'the middle nine tenths': (picture, { width, height }) => {
      const left = Math.round(width * 0.05)
      const top = Math.round(height * 0.05)
      return picture.extract({ left, top, width: width - 2 * left, height: height - 2 * top }).png()
    },
    mirrored: (picture) => picture.flop().png(),
    'without colours': (picture) => picture.greyscale().png()
  }
  for (const [what, copy] of Object.entries(copies)) t.same(await strays(copy), [], what)
})

t.test('of copies turned by three degrees all but two pages of text are found', async (t) => {
  const lost = await strays((picture) => picture.rotate(3, { background: '#fff' }).png())
  t.ok(lost.length <= 2, lost.join('; '))
  t.ok(
    lost.every((line) => /-(paragraph|print)\.png is taken/.test(line)),
    lost.join('; ')
  )
})
