import t from 'tap'
import { fromHalfFloat, toHalfFloat } from '../half-float.ts'
import {
  type Box,
  imageTensor,
  imageTensors,
  intersectionOverUnion,
  nonMaxSuppression,
  placeImage
} from '../images/index.ts'
import type { DecodedImage } from '../media/media.ts'

/** A picture whose pixel at x, y is what `colour` says. */
function paint(
  width: number,
  height: number,
  channels: 1 | 3,
  colour: (x: number, y: number, channel: number) => number
): DecodedImage {
  const data = new Uint8Array(width * height * channels)
  for (let i = 0; i < data.length; i += 1) {
    const pixel = Math.floor(i / channels)
    data[i] = colour(pixel % width, Math.floor(pixel / width), i % channels)
  }
  return { data, width, height, channels }
}

const numbered = paint(4, 3, 3, (x, y, channel) => 10 * (y * 4 + x) + channel)

t.test('every value lies where layout and order say', async (t) => {
  for (const layout of ['NCHW', 'NHWC'] as const) {
    for (const channelOrder of ['RGB', 'BGR'] as const) {
      const mean = [1, 2, 3]
      const std = [2, 4, 8]
      const options = { width: 4, height: 3, layout, channelOrder, scale: 0.5, mean, std }
      const { tensor } = await imageTensor(numbered, options)
      t.strictSame(tensor.shape, layout === 'NCHW' ? [1, 3, 3, 4] : [1, 3, 4, 3])
      for (let pixel = 0; pixel < 12; pixel += 1) {
        for (let channel = 0; channel < 3; channel += 1) {
          const at = layout === 'NCHW' ? channel * 12 + pixel : pixel * 3 + channel
          const source = channelOrder === 'RGB' ? channel : 2 - channel
          const wanted = ((10 * pixel + source) * 0.5 - mean[channel]!) / std[channel]!
          if (tensor.data[at] !== Math.fround(wanted)) t.equal(tensor.data[at], wanted, `${at}`)
        }
      }
    }
  }
})

t.test('element types are rounded and cut, and halves are halves', async (t) => {
  const grey = paint(3, 1, 1, (x) => [0, 128, 255][x]!)
  const size = { width: 3, height: 1 }
  const of = async (type: 'uint8' | 'int32' | 'float16', scale: number, mean: number) => {
    const { tensor } = await imageTensor(grey, { ...size, type, scale, mean })
    return [...tensor.data]
  }
  t.strictSame(await of('uint8', 2, 100), [0, 156, 255])
  t.strictSame(await of('int32', 2, 100.4), [-100, 156, 410])
  t.strictSame(await of('float16', 1 / 255, 0), [0x0000, 0x3804, 0x3c00])
  const rows: [number, number][] = [
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519, 0x7bff],
    [65520, 0x7c00],
    [Infinity, 0x7c00],
    [-Infinity, 0xfc00],
    [NaN, 0x7e00],
    [-0, 0x8000],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [3 * 2 ** -26, 0x0001],
    [2 ** -14, 0x0400],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02]
  ]
  for (const [value, half] of rows) t.equal(toHalfFloat(value), half, `${value}`)
  for (let half = 0; half < 0x10000; half += 1) {
    const value = fromHalfFloat(half)
    if (!Number.isNaN(value) && toHalfFloat(value) !== half) t.fail(`${half} comes back`)
  }
})

t.test('a letterboxed picture keeps its shape, and boxes find their way back', async (t) => {
  // Four quarters of one colour each: what lies where can be seen after any scaling.
  const quarters = paint(200, 100, 3, (x, y, channel) =>
    channel === 0 ? (x < 100 ? 50 : 150) : y < 50 ? 60 : 160
  )
  const options = { width: 64, height: 64, background: [7, 8, 9] }
  for (const fit of ['letterbox', 'crop', 'stretch'] as const) {
    const { tensor, placement } = await imageTensor(quarters, { ...options, fit, layout: 'NHWC' })
    const pixel = (x: number, y: number) => [
      ...tensor.data.subarray((y * 64 + x) * 3).subarray(0, 3)
    ]
    if (fit === 'letterbox') {
      t.match(placement, { x: 0, y: 16, width: 64, height: 32 })
      t.strictSame(pixel(5, 5), [7, 8, 9])
      t.strictSame(pixel(60, 60), [7, 8, 9])
    }
    if (fit === 'crop') t.match(placement, { x: -32, y: 0, width: 128, height: 64 })
    for (const [x, y] of [
      [70, 20],
      [130, 20],
      [70, 80],
      [130, 80]
    ] as const) {
      const [left, top] = placement.toCanvas([x, y, x, y]).map(Math.floor)
      t.strictSame(
        pixel(left!, top!),
        [x < 100 ? 50 : 150, y < 50 ? 60 : 160, y < 50 ? 60 : 160],
        `${fit} ${x} ${y}`
      )
    }
    const box: Box = [60, 10, 140, 90]
    placement.toImage(placement.toCanvas(box)).forEach((edge, side) => {
      t.ok(Math.abs(edge - box[side]!) < 1e-9)
    })
  }
  const wide = placeImage({ width: 200, height: 100 }, { width: 64, height: 64 }, 'letterbox')
  t.strictSame(wide.toImage([-5, 0, 70, 64]), [0, 0, 200, 100], 'cut at the edges of the picture')
  const strip = placeImage({ width: 1000, height: 1 }, { width: 64, height: 64 }, 'letterbox')
  t.match(strip, { width: 64, height: 1 })
})

t.test('pictures of different sizes and kinds are one tensor, each as it is alone', async (t) => {
  const grey = paint(50, 30, 1, (x, y) => (x * 5 + y) % 256)
  const colour = paint(30, 50, 3, (x, y, channel) => (x + y * 3 + channel * 50) % 256)
  const options = { width: 20, height: 10, fit: 'letterbox', channels: 3, background: 9 } as const
  const { tensor, placements } = await imageTensors([grey, colour], options)
  t.strictSame(tensor.shape, [2, 3, 10, 20])
  for (const [index, image] of [grey, colour].entries()) {
    const alone = await imageTensor(image, options)
    t.strictSame(tensor.data.subarray(index * 600, (index + 1) * 600), alone.tensor.data)
    t.match(placements[index], { x: alone.placement.x, width: alone.placement.width })
  }
  const plane = (n: number) => tensor.data.subarray(n * 200, n * 200 + 200)
  t.strictSame(plane(0), plane(1), 'grey is the same in all channels')
  const none = await imageTensors([], options)
  t.strictSame(none.tensor.shape, [0, 3, 10, 20])
})

t.test('options that cannot be are named', async (t) => {
  const grey = paint(2, 2, 1, () => 1)
  const size = { width: 2, height: 2 }
  const rows: [object, RegExp][] = [
    [{ width: 0, height: 2 }, /'width'.* is 0, wanted a whole number from 1/],
    [{ width: 2, height: 1.5 }, /'height'/],
    [{ ...size, std: 0 }, /'std'/],
    [{ ...size, mean: [1, 2, 3] }, /'mean'.*\[1,2,3\], wanted one number, or 1/],
    [{ ...size, scale: NaN }, /'scale'/],
    [{ ...size, type: 'float8' }, /'type'.*float8, wanted float32, float16/]
  ]
  for (const [options, message] of rows) {
    await t.rejects(imageTensor(grey, options as never), { code: 'EXP_MODEL', message })
  }
  await t.rejects(imageTensor(numbered, { ...size, channels: 1 }), {
    message: /'channels' .* grey/
  })
})

t.test('of boxes that overlap the best stays', async (t) => {
  t.equal(intersectionOverUnion([0, 0, 2, 2], [1, 0, 3, 2]), 1 / 3)
  t.equal(intersectionOverUnion([0, 0, 2, 2], [2, 0, 3, 2]), 0)
  t.equal(intersectionOverUnion([0, 0, 0, 0], [0, 0, 0, 0]), 0)
  const cat = { box: [0, 0, 10, 10], score: 0.6, label: 'cat' } as const
  const sameCat = { box: [1, 0, 11, 10], score: 0.9, label: 'cat' } as const
  const dog = { box: [1, 0, 11, 10], score: 0.7, label: 'dog' } as const
  const farCat = { box: [50, 0, 60, 10], score: 0.2, label: 'cat' } as const
  const found = [cat, sameCat, dog, farCat]
  t.strictSame(nonMaxSuppression(found), [sameCat, dog, farCat])
  t.strictSame(nonMaxSuppression(found, { perClass: false }), [sameCat, farCat])
  t.strictSame(nonMaxSuppression(found, { iou: 0.95 }), [sameCat, dog, cat, farCat])
  t.strictSame(nonMaxSuppression(found, { limit: 1 }), [sameCat])
})
