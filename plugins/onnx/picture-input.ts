import { ExpertError } from '@nebula-experts/sdk'
import type { ImageTensorData, ImageTensorOptions } from '@nebula-experts/sdk/images'
import type { PictureSettings } from './expert-file.ts'
import { type Port, showShape } from './model-ports.ts'

/** Which input takes the picture, and how. */
export interface PictureInput {
  name: string
  /** Pixels of the canvas. */
  width: number
  height: number
  channels: 1 | 3
  /** The model takes several pictures at once. */
  isBatchOpen: boolean
  options: ImageTensorOptions<keyof ImageTensorData>
}

const TYPES = ['float32', 'float16', 'uint8', 'int32']

/**
 * Finds out how pictures go into a model.
 *
 * @throws ExpertError EXP_MODEL when they cannot, in words for who wrote `expert.json`
 */
export function pictureInputOf(
  inputs: readonly Port[],
  settings: PictureSettings = {}
): PictureInput {
  const port = choosePort(inputs, settings.name)
  const { shape, type } = port
  const what = `input '${port.name}' (${type.onnx} ${showShape(shape)})`
  if (shape.length !== 4) {
    throw wrong(`input: ${what} takes no pictures, wanted 4 axes: NCHW or NHWC`)
  }
  if (!TYPES.includes(type.onnx)) {
    throw wrong(`input: ${what} takes no pictures, wanted ${TYPES.join(', ')}`)
  }
  const layout = settings.layout ?? layoutOf(shape)
  const [channelAxis, heightAxis, widthAxis] = layout === 'NCHW' ? [1, 2, 3] : [3, 1, 2]
  const channels = shape[channelAxis] ?? 3
  if (channels !== 1 && channels !== 3) {
    throw wrong(`input: ${what} as ${layout} has ${channels} channels, wanted 1 or 3`)
  }
  const batch = shape[0]
  if (batch !== null && batch !== 1) {
    throw wrong(`input: ${what} wants ${batch} pictures at once, wanted 1 or any number`)
  }
  const width = sideOf('width', shape[widthAxis] ?? null, settings.width, what)
  const height = sideOf('height', shape[heightAxis] ?? null, settings.height, what)
  const { fit, scale, mean, std, background, channel_order: channelOrder } = settings
  const isColour = channels === 3
  checkCount('mean', mean, channels)
  checkCount('std', std, channels)
  checkCount('background', background, 3)
  if ([std ?? 1].flat().includes(0)) throw wrong('input.std: found 0, wanted numbers other than 0')
  return {
    name: port.name,
    ...{ width, height, channels },
    isBatchOpen: batch === null,
    options: {
      ...{ width, height, channels, layout, fit, scale, mean, std, background },
      channelOrder: isColour ? channelOrder : undefined,
      type: type.onnx as keyof ImageTensorData
    }
  }
}

function choosePort(inputs: readonly Port[], name: string | undefined): Port {
  const names = inputs.map((port) => `'${port.name}'`).join(', ')
  const [only] = inputs
  if (name !== undefined && !inputs.some((port) => port.name === name)) {
    throw wrong(`input.name: the model has no input '${name}', it has ${names}`)
  }
  if (only === undefined || inputs.length > 1) {
    throw wrong(`task: a picture fills one input, the model has ${inputs.length}: ${names}`)
  }
  return only
}

function layoutOf(shape: readonly (number | null)[]): 'NCHW' | 'NHWC' {
  const isChannels = (size: number | null | undefined) => size === 1 || size === 3
  return isChannels(shape[3]) && !isChannels(shape[1]) ? 'NHWC' : 'NCHW'
}

function sideOf(key: string, own: number | null, given: number | undefined, what: string): number {
  if (own !== null && given !== undefined && own !== given) {
    throw wrong(`input.${key}: found ${given}, ${what} wants ${own}`)
  }
  const side = own ?? given
  if (side === undefined) throw wrong(`input.${key} is required: ${what} leaves it open`)
  return side
}

function checkCount(key: string, given: number | number[] | undefined, wanted: number): void {
  if (!Array.isArray(given) || given.length === wanted) return
  throw wrong(`input.${key}: found ${given.length} numbers, wanted one, or ${wanted}`)
}

function wrong(why: string): ExpertError {
  return new ExpertError('EXP_MODEL', `expert.json: ${why}`)
}
