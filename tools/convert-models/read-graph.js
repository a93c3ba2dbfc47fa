// Reads a graph model of TensorFlow.js: model.json, and the bytes of its weights.
import { toHalfFloat } from '../../sdk/dist/images/half-float.js'

/**
 * @typedef {object} Constant values that the graph brings along
 * @property {number[]} shape
 * @property {'float32' | 'float16' | 'uint8' | 'int64' | 'bool'} type how the data is stored
 * @property {Float32Array | Uint16Array | Uint8Array | BigInt64Array} data row-major
 * @property {{ scale: number, min: number }} [quantised] what a uint8 stands for: value * scale + min
 */

/**
 * @typedef {object} GraphNode
 * @property {string} name
 * @property {string} op
 * @property {string[]} inputs names of nodes, with `:1` for the second output; control inputs are left out
 * @property {Record<string, any>} attributes plain numbers, strings, booleans and lists of them
 */

/** Floats of more values than this are worth storing in half the bytes. */
const large = 1024

/**
 * @param {{ modelTopology: any, weightsManifest: any[] }} model
 * @param {Uint8Array} weights all files of the manifest, one after the other
 * @param {{ halfFloats: boolean }} options `halfFloats`: large float32 weights are rounded to float16
 * @returns {{ nodes: Map<string, GraphNode>, constants: Map<string, Constant> }}
 */
export function readGraph(model, weights, { halfFloats }) {
  const nodes = new Map()
  for (const { name, op, input = [], attr = {} } of model.modelTopology.node) {
    const inputs = input.filter((/** @type {string} */ from) => !from.startsWith('^'))
    const attributes = Object.fromEntries(
      Object.entries(attr).map(([key, value]) => [key, readAttribute(value)])
    )
    nodes.set(name, { name, op, inputs, attributes })
  }
  const constants = new Map()
  let offset = 0
  for (const weight of model.weightsManifest.flatMap((group) => group.weights)) {
    const count = weight.shape.reduce((product, size) => product * size, 1)
    const { bytes, read } = readers[weight.quantization?.dtype ?? weight.dtype]
    const slice = Uint8Array.from(weights.subarray(offset, offset + count * bytes))
    if (slice.length !== count * bytes) throw new Error(`The weights end within '${weight.name}'`)
    offset += slice.length
    const constant = { shape: weight.shape, ...read(slice.buffer, weight.quantization) }
    const rounded = halfFloats && constant.type === 'float32' && count > large
    constants.set(
      weight.name,
      rounded
        ? { ...constant, type: 'float16', data: Uint16Array.from(constant.data, toHalfFloat) }
        : constant
    )
  }
  if (offset !== weights.length)
    throw new Error(`${weights.length - offset} bytes of weights are left over`)
  return { nodes, constants }
}

const readers = {
  float32: { bytes: 4, read: (bytes) => ({ type: 'float32', data: new Float32Array(bytes) }) },
  float16: { bytes: 2, read: (bytes) => ({ type: 'float16', data: new Uint16Array(bytes) }) },
  uint8: {
    bytes: 1,
    read: (bytes, { scale, min }) => ({
      type: 'uint8',
      data: new Uint8Array(bytes),
      quantised: { scale, min }
    })
  },
  // All whole numbers become int64, which is what ONNX wants of shapes, axes and indices.
  int32: {
    bytes: 4,
    read: (bytes) => ({ type: 'int64', data: BigInt64Array.from(new Int32Array(bytes), BigInt) })
  },
  bool: { bytes: 1, read: (bytes) => ({ type: 'bool', data: new Uint8Array(bytes) }) }
}

/** TensorFlow's numbers of element types that occur, beside their names. */
const typeNames = { 1: 'DT_FLOAT', 3: 'DT_INT32', 9: 'DT_INT64', 10: 'DT_BOOL' }

/** Files come in two spellings: bytes as base64 or as lists of numbers, types by name or by number. */
function readAttribute(value) {
  if (value.s !== undefined) return readText(value.s)
  if (value.i !== undefined) return Number(value.i)
  if (value.f !== undefined) return Number(value.f)
  if (value.b !== undefined) return value.b
  if (value.type !== undefined) return typeNames[value.type] ?? value.type
  if (value.list !== undefined) {
    const { i = [], f = [], s = [] } = value.list
    return i.length > 0 ? i.map(Number) : s.length > 0 ? s.map(readText) : f.map(Number)
  }
  return undefined
}

function readText(bytes) {
  return Buffer.from(bytes, typeof bytes === 'string' ? 'base64' : undefined).toString()
}
