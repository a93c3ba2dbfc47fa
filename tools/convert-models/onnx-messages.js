// The messages of ONNX's onnx.proto3 that a converted graph needs, with its field numbers.
import { ProtobufWriter } from './protobuf-writer.js'

/** ONNX's numbers of element types. */
export const elementTypes = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float16: 10 }

/** IR version 8 goes with operator set 18: ONNX 1.13. */
const irVersion = 8
const operatorSet = 18

/**
 * @typedef {object} Port an input or output of a graph
 * @property {string} name
 * @property {keyof typeof elementTypes} type
 * @property {(number | string)[]} shape a name where the size is open
 */

/**
 * @param {{ name: string, nodes: ProtobufWriter[], initialisers: ProtobufWriter[], inputs: Port[], outputs: Port[] }} graph
 * @returns {Uint8Array} the content of an .onnx file
 */
export function encodeModel({ name, nodes, initialisers, inputs, outputs }) {
  const graph = new ProtobufWriter()
  for (const node of nodes) graph.message(1, node)
  graph.text(2, name)
  for (const initialiser of initialisers) graph.message(5, initialiser)
  for (const port of inputs) graph.message(11, valueInfo(port))
  for (const port of outputs) graph.message(12, valueInfo(port))
  return new ProtobufWriter()
    .integer(1, irVersion)
    .text(2, 'nebula-experts convert-models')
    .message(7, graph)
    .message(8, new ProtobufWriter().text(1, '').integer(2, operatorSet))
    .finish()
}

/**
 * @param {object} node
 * @param {string} node.operator
 * @param {string[]} node.inputs empty for an optional one that is not given
 * @param {string[]} node.outputs the first one is also the node's name
 * @param {Record<string, any>} node.attributes whole numbers, `float(…)`, text, lists of whole
 *   numbers, a tensor
 */
export function encodeNode({ operator, inputs, outputs, attributes }) {
  const node = new ProtobufWriter()
  for (const input of inputs) node.text(1, input)
  for (const output of outputs) node.text(2, output)
  node.text(3, outputs[0] ?? '').text(4, operator)
  for (const [name, value] of Object.entries(attributes)) {
    node.message(5, attribute(new ProtobufWriter().text(1, name), value))
  }
  return node
}

/** Marks an attribute as a float, which a number alone does not tell. @param {number} value */
export function float(value) {
  return { float: value }
}

function attribute(writer, value) {
  if (value instanceof ProtobufWriter) return writer.message(5, value).integer(20, 4)
  if (Array.isArray(value)) {
    for (const item of value) writer.integer(8, item)
    return writer.integer(20, 7)
  }
  if (typeof value === 'string') return writer.text(4, value).integer(20, 3)
  if (typeof value === 'number') return writer.integer(3, value).integer(20, 2)
  return writer.float(2, value.float).integer(20, 1)
}

/**
 * @param {string} name
 * @param {keyof typeof elementTypes} type
 * @param {readonly number[]} shape
 * @param {ArrayBufferView} data row-major, little-endian; float16 as its bits
 */
export function encodeTensor(name, type, shape, data) {
  const tensor = new ProtobufWriter()
  for (const size of shape) tensor.integer(1, size)
  tensor.integer(2, elementTypes[type])
  if (name !== '') tensor.text(8, name)
  return tensor.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
}

/** @param {Port} port */
function valueInfo({ name, type, shape }) {
  const dimensions = new ProtobufWriter()
  for (const size of shape) {
    const dimension = new ProtobufWriter()
    dimensions.message(
      1,
      typeof size === 'number' ? dimension.integer(1, size) : dimension.text(2, size)
    )
  }
  const tensor = new ProtobufWriter().integer(1, elementTypes[type]).message(2, dimensions)
  return new ProtobufWriter().text(1, name).message(2, new ProtobufWriter().message(1, tensor))
}
