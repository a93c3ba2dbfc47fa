import { ExpertError } from '../errors.ts'
import { toHalfFloat } from '../half-float.ts'
import { loadSharp } from '../media/load-sharp.ts'
import type { DecodedImage } from '../media/media.ts'
import type { OnnxTensor } from '../onnx-tensor.ts'
import { type Fit, type Placement, placeImage } from './placement.ts'

/** Element types that a picture may become; `float16` is its raw bits. */
export interface ImageTensorData {
  float32: Float32Array
  float16: Uint16Array
  uint8: Uint8Array
  int32: Int32Array
}

/** How a picture becomes a tensor. Each value is `(value * scale - mean) / std`, of 0 to 255. */
export interface ImageTensorOptions<Type extends keyof ImageTensorData = 'float32'> {
  /** Pixels of the tensor. */
  width: number
  height: number
  /** Default: `stretch`. */
  fit?: Fit
  /** Planes of colours (`NCHW`, the default) or colours of pixels (`NHWC`). */
  layout?: 'NCHW' | 'NHWC'
  /** Default: `RGB`. */
  channelOrder?: 'RGB' | 'BGR'
  /** Colours of a pixel. Default: those of the picture. A grey picture can become 3, not the reverse. */
  channels?: 1 | 3
  /** Default: 1. Many models want `1 / 255`. */
  scale?: number
  /** One for all, or one for each channel in the tensor's own order. Default: 0. */
  mean?: number | readonly number[]
  /** As `mean`; none may be 0. Default: 1. */
  std?: number | readonly number[]
  /** Red, green and blue around a letterboxed picture, 0 to 255. Default: 0, black. */
  background?: number | readonly number[]
  /** Default: `float32`. The integer types are rounded and cut at their ends. */
  type?: Type
}

/** One picture as a tensor of one. */
export interface ImageTensor<Type extends keyof ImageTensorData = 'float32'> {
  /** `[1, channels, height, width]`, or `[1, height, width, channels]`. */
  tensor: OnnxTensor<ImageTensorData[Type]>
  /** Where the picture lies in it. */
  placement: Placement
}

/** Pictures as one tensor. */
export interface ImageTensors<Type extends keyof ImageTensorData = 'float32'> {
  /** `[images, channels, height, width]`, or `[images, height, width, channels]`. */
  tensor: OnnxTensor<ImageTensorData[Type]>
  placements: Placement[]
}

/**
 * Scales a picture and makes it the input of a model.
 *
 * @throws ExpertError EXP_MODEL when the options name what cannot be
 */
export async function imageTensor<Type extends keyof ImageTensorData = 'float32'>(
  image: DecodedImage,
  options: ImageTensorOptions<Type>
): Promise<ImageTensor<Type>> {
  const { tensor, placements } = await imageTensors([image], options)
  return { tensor, placement: placements[0]! }
}

/**
 * Scales pictures, which may differ in size, and makes them one input of a model.
 *
 * @throws ExpertError EXP_MODEL when the options name what cannot be
 */
export async function imageTensors<Type extends keyof ImageTensorData = 'float32'>(
  images: readonly DecodedImage[],
  options: ImageTensorOptions<Type>
): Promise<ImageTensors<Type>> {
  const { width, height, fit = 'stretch', layout = 'NCHW', type = 'float32' as Type } = options
  for (const [name, size] of Object.entries({ width, height })) {
    if (!Number.isInteger(size) || size < 1) throw wrong(name, size, 'a whole number from 1')
  }
  const channels = options.channels ?? images[0]?.channels ?? 3
  const values = valueTables(options, channels)
  const area = width * height
  const data = makeData(type, images.length * channels * area)
  const placements: Placement[] = []
  for (const [index, image] of images.entries()) {
    if (image.channels > channels) throw wrong('channels', channels, 'pictures decoded as grey')
    const placement = placeImage(image, { width, height }, fit)
    placements.push(placement)
    const canvas = await drawCanvas(image, placement, options)
    const at = index * channels * area
    for (let channel = 0; channel < channels; channel += 1) {
      const source = sourceChannel(channel, image.channels, options.channelOrder)
      const table = values[channel]!
      const step = image.channels
      if (layout === 'NCHW') {
        const plane = at + channel * area
        for (let i = 0; i < area; i += 1) data[plane + i] = table[canvas[i * step + source]!]!
      } else {
        for (let i = 0; i < area; i += 1) {
          data[at + i * channels + channel] = table[canvas[i * step + source]!]!
        }
      }
    }
  }
  const count = images.length
  const shape =
    layout === 'NCHW' ? [count, channels, height, width] : [count, height, width, channels]
  return { tensor: { data, shape }, placements }
}

/** The picture at its place, as bytes in the picture's own channels. */
async function drawCanvas(
  image: DecodedImage,
  placement: Placement,
  { width, height, background = 0 }: Pick<ImageTensorOptions, 'width' | 'height' | 'background'>
): Promise<Uint8Array> {
  const { channels } = image
  const scaled = await scale(image, placement)
  if (placement.width === width && placement.height === height) return scaled
  const colour = channelValues(background, 3)
  const canvas = new Uint8Array(width * height * channels)
  // Rows are copied whole; for a crop the picture is the larger of the two.
  const left = Math.max(0, placement.x)
  const right = Math.min(width, placement.x + placement.width)
  const from = (left - placement.x) * channels
  const length = (right - left) * channels
  if (right - left < width || placement.height < height) fill(canvas, channels, colour)
  for (
    let y = Math.max(0, placement.y);
    y < Math.min(height, placement.y + placement.height);
    y++
  ) {
    const row = (y - placement.y) * placement.width * channels + from
    canvas.set(scaled.subarray(row, row + length), (y * width + left) * channels)
  }
  return canvas
}

async function scale(image: DecodedImage, to: { width: number; height: number }) {
  const { data, width, height, channels } = image
  if (width === to.width && height === to.height) return data
  const sharp = await loadSharp()
  const scaled = await sharp(data, { raw: { width, height, channels } })
    .resize(to.width, to.height, { fit: 'fill', kernel: 'linear' })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw()
    .toBuffer()
  return new Uint8Array(scaled.buffer, scaled.byteOffset, scaled.byteLength)
}

function fill(canvas: Uint8Array, channels: number, colour: readonly number[]): void {
  if (channels === 1) canvas.fill(colour[0]!)
  else for (let i = 0; i < canvas.length; i += 1) canvas[i] = colour[i % 3]!
}

function sourceChannel(channel: number, of: number, order: 'RGB' | 'BGR' = 'RGB'): number {
  if (of === 1) return 0
  return order === 'RGB' ? channel : 2 - channel
}

/** What each of the 256 values of a channel becomes: far cheaper than to reckon it for each pixel. */
function valueTables(
  {
    scale = 1,
    mean = 0,
    std = 1,
    type = 'float32'
  }: Partial<ImageTensorOptions<keyof ImageTensorData>>,
  channels: number
) {
  if (!Number.isFinite(scale)) throw wrong('scale', scale, 'a number')
  const means = channelValues(mean, channels, 'mean')
  const deviations = channelValues(std, channels, 'std')
  if (deviations.includes(0)) throw wrong('std', std, 'numbers other than 0')
  return means.map((centre, channel) => {
    const table = makeData(type, 256)
    const ends = endsOf[type as 'uint8' | 'int32']
    for (let value = 0; value < 256; value += 1) {
      const exact = (value * scale - centre) / deviations[channel]!
      if (type === 'float16') table[value] = toHalfFloat(exact)
      else if (ends === undefined) table[value] = exact
      else table[value] = Math.max(ends[0], Math.min(ends[1], Math.round(exact)))
    }
    return table
  })
}

const endsOf = { uint8: [0, 255], int32: [-(2 ** 31), 2 ** 31 - 1] } as const

function channelValues(given: number | readonly number[], channels: number, name = 'background') {
  const values = typeof given === 'number' ? Array<number>(channels).fill(given) : [...given]
  if (values.length !== channels || !values.every(Number.isFinite)) {
    throw wrong(name, JSON.stringify(given), `one number, or ${channels}`)
  }
  return values
}

function makeData<Type extends keyof ImageTensorData>(type: Type, length: number) {
  const classes = {
    float32: Float32Array,
    float16: Uint16Array,
    uint8: Uint8Array,
    int32: Int32Array
  }
  const Data = classes[type]
  if (Data === undefined) throw wrong('type', type, Object.keys(classes).join(', '))
  return new Data(length) as ImageTensorData[Type]
}

function wrong(name: string, found: unknown, wanted: string): ExpertError {
  return new ExpertError(
    'EXP_MODEL',
    `Option '${name}' of a picture's tensor is ${found}, wanted ${wanted}`
  )
}
