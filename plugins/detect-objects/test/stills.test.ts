import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createMedia, defaultMediaPolicy } from '@nebula-experts/sdk/hosting'
import { type Box, intersectionOverUnion } from '@nebula-experts/sdk/images'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { type DetectedObject, type DetectOptions, NanodetModel } from '../nanodet-model.ts'

const fixtures = new URL('fixtures/', import.meta.url).pathname
const media = createMedia(defaultMediaPolicy)
const model = await NanodetModel.open()
t.teardown(() => model.release())

const options: DetectOptions = { minScore: 0.4, iou: 0.5, labels: null, limit: 100 }

async function detect(picture: Sharp, wishes: Partial<DetectOptions> = {}) {
  const image = await media.decodeImage(await picture.png().toBuffer())
  return model.detect(image, { ...options, ...wishes })
}

const still = (name: string) => sharp(join(fixtures, `${name}.jpg`))

/** Each still with what is on it; boxes were looked at by eye. */
const stills: { name: string; label: string; box: Box; least: number }[] = [
  { name: 'astronaut', label: 'person', box: [15, 14, 364, 509], least: 0.6 },
  { name: 'camera', label: 'person', box: [4, 68, 323, 512], least: 0.75 },
  { name: 'chelsea', label: 'cat', box: [2, 0, 442, 296], least: 0.45 },
  { name: 'coffee', label: 'dining table', box: [10, 3, 596, 398], least: 0.45 }
]

const overlap = (found: DetectedObject | undefined, box: Box) =>
  found === undefined ? 0 : intersectionOverUnion(found.box, box)

t.test('each still shows what it shows, and nothing else', async (t) => {
  for (const { name, label, box } of stills) {
    const found = await detect(still(name))
    t.same(
      found.map((object) => object.label),
      [label],
      name
    )
    t.ok(overlap(found[0], box) > 0.95, `${name}: its place`)
  }
})

t.test('pictures without objects of its classes give nothing', async (t) => {
  const size = { width: 400, height: 300 }
  const plain = sharp({ create: { ...size, channels: 3, background: '#7a8' } })
  const stripes = Buffer.from(
    Array.from({ length: size.width * size.height }, (_, i) => (((i % 400) >> 4) % 2 ? 90 : 160))
  )
  let state = 3
  const noise = Buffer.from(
    Array.from({ length: size.width * size.height }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return state >>> 24
    })
  )
  const pictures = {
    rocket: still('rocket'),
    plain,
    stripes: sharp(stripes, { raw: { ...size, channels: 1 } }),
    noise: sharp(noise, { raw: { ...size, channels: 1 } }),
    dot: sharp({ create: { width: 1, height: 1, channels: 3, background: '#fff' } })
  }
  for (const [name, picture] of Object.entries(pictures)) t.same(await detect(picture), [], name)
})

t.test('copies of a still show the same at the same place', async (t) => {
  for (const { name, label, least } of stills) {
    const { width } = await still(name).metadata()
    const [original] = await detect(still(name))
    const black = { background: '#000' }
    const copies: Record<string, [picture: Sharp, toOriginal: (box: Box) => Box]> = {
      'twice as large': [
        still(name).resize({ width: 2 * width }),
        ([l, top, r, b]) => [l / 2, top / 2, r / 2, b / 2]
      ],
      'half as large': [
        still(name).resize({ width: Math.round(width / 2) }),
        ([l, top, r, b]) => [l * 2, top * 2, r * 2, b * 2]
      ],
      'with an alpha channel': [still(name).ensureAlpha(), (box) => box],
      mirrored: [still(name).flop(), ([l, top, r, b]) => [width - r, top, width - l, b]],
      'wide, on black': [
        still(name).extend({ left: 60, right: 60, ...black }),
        ([l, top, r, b]) => [l - 60, top, r - 60, b]
      ],
      'high, on black': [
        still(name).extend({ top: 60, bottom: 60, ...black }),
        ([l, top, r, b]) => [l, top - 60, r, b - 60]
      ]
    }
    for (const [kind, [picture, toOriginal]] of Object.entries(copies)) {
      const found = (await detect(picture)).find((object) => object.label === label)
      const iou = found === undefined ? 0 : overlap(original, toOriginal(found.box))
      t.ok(iou >= 0.9, `${name} ${kind}: overlap ${iou}`)
      t.ok(found!.score >= least - 0.05, `${name} ${kind}: score ${found!.score}`)
    }
  }
})

t.test('a grey picture is as good as one of three equal colours', async (t) => {
  for (const name of ['astronaut', 'camera', 'chelsea']) {
    const bytes = await still(name).greyscale().png().toBuffer()
    const grey = await media.decodeImage(bytes, { channels: 1 })
    const coloured = await media.decodeImage(bytes)
    t.equal(grey.channels, 1)
    t.equal(coloured.channels, 3)
    const found = await model.detect(grey, options)
    t.same(found, await model.detect(coloured, options))
    t.equal(found[0]?.label, stills.find((other) => other.name === name)?.label)
  }
})

t.test('wishes are heeded: certainty, classes, overlap and number', async (t) => {
  const many = await detect(still('camera'), { minScore: 0.2 })
  t.ok(many.length >= 3)
  t.ok(many.every(({ score }, i) => score >= 0.2 && (i === 0 || score <= many[i - 1]!.score)))
  t.same(await detect(still('camera'), { minScore: 0.2, limit: 2 }), many.slice(0, 2))
  const persons = await detect(still('camera'), { minScore: 0.2, labels: new Set(['person']) })
  t.same(
    persons,
    many.filter(({ label }) => label === 'person')
  )
  t.same(await detect(still('camera'), { labels: new Set(['cat']) }), [])
  const doubled = await detect(still('camera'), { iou: 1 })
  t.ok(doubled.length > 3, 'many cells suggest one object')
  t.ok(doubled.every(({ label }) => label === 'person'))
})

t.test('boxes lie within the picture', async (t) => {
  for (const { name } of stills) {
    const { width, height } = await still(name).metadata()
    const found = await detect(still(name), { minScore: 0.02, limit: 500 })
    t.ok(found.length > 10)
    for (const { box } of found) {
      const [left, top, right, bottom] = box
      const isIn = left >= 0 && top >= 0 && right <= width && bottom <= height
      t.ok(isIn && left < right && top < bottom, `${name} ${box}`)
    }
  }
})

t.test('the model is the one of this package', async (t) => {
  const notice = await readFile(new URL('../model/NOTICE', import.meta.url), 'utf8')
  t.match(notice, `${model.sha256}  nanodet.onnx`)
  t.equal(model.labels.length, 80)
})
