// Operators that work on planes of a picture: ONNX wants them as [N, C, H, W].
import { toPlanar } from './axes.js'

/** @typedef {import('./convert-graph.js').Conversion} Conversion */
/** @typedef {import('./convert-graph.js').Value} Value */
/** @typedef {import('./read-graph.js').GraphNode} GraphNode */

/** @type {Record<string, (graph: Conversion, node: GraphNode, ...inputs: Value[]) => Value>} */
export const pictureOperators = {
  Conv2D: convolve,
  _FusedConv2D: convolve,
  DepthwiseConv2dNative: convolveDepthwise,
  FusedDepthwiseConv2dNative: convolveDepthwise,
  MaxPool: pool('MaxPool'),
  AvgPool: pool('AveragePool'),

  Pad: (graph, _node, value, paddings) => pad(graph, value, paddings, []),
  PadV2: (graph, _node, value, paddings, filling) =>
    pad(graph, value, paddings, [graph.plain(filling)]),

  ResizeBilinear: (graph, { attributes }, value, size) => {
    const { half_pixel_centers, align_corners } = attributes
    const mode = half_pixel_centers ? 'half_pixel' : align_corners ? 'align_corners' : 'asymmetric'
    const names = [graph.planar(value), '', '', graph.integers(graph.integersOf(size))]
    return {
      planar: graph.add('Resize', names, {
        axes: [2, 3],
        coordinate_transformation_mode: mode,
        mode: 'linear'
      }),
      rank: 4
    }
  }
}

/** @param {Conversion} graph @param {GraphNode} node @param {Value} value @param {Value} kernel [H, W, in, out] */
function convolve(graph, node, value, kernel, ...more) {
  const [height, width] = graph.constantOf(kernel).shape
  const { strides, fused_ops = [] } = node.attributes
  const isPointwise = height === 1 && width === 1 && strides.every((step) => step === 1)
  if (
    isPointwise &&
    !graph.isPlanar(value) &&
    value.planar === undefined &&
    fused_ops.length === 0
  ) {
    // What is not a picture is not turned into planes and back: each place is one row of a product.
    const weights = graph.rearranged(kernel, [0, 1, 2, 3], (shape) => shape.slice(2))
    return { plain: graph.add('MatMul', [graph.plain(value), weights]), rank: 4 }
  }
  const weights = graph.rearranged(kernel, [3, 2, 0, 1])
  return addConvolution(graph, node, value, weights, 1, more)
}

/** @param {Conversion} graph @param {GraphNode} node @param {Value} value @param {Value} kernel [H, W, C, multiplier] */
function convolveDepthwise(graph, node, value, kernel, ...more) {
  const channels = graph.constantOf(kernel).shape[2]
  const weights = graph.rearranged(kernel, [2, 3, 0, 1], ([c, m, h, w]) => [c * m, 1, h, w])
  return addConvolution(graph, node, value, weights, channels, more)
}

function addConvolution(graph, node, value, weights, group, more) {
  const { dilations = [1, 1, 1, 1], fused_ops = [] } = node.attributes
  const activations = fused_ops.filter((operator) => operator !== 'BiasAdd')
  const biases = more.slice(0, fused_ops.includes('BiasAdd') ? 1 : 0)
  if (activations.some((operator) => operator !== 'Relu' && operator !== 'Relu6')) {
    throw new Error(`'${node.name}' ends with ${activations}, which is not supported`)
  }
  const attributes = { ...windowOf(node), dilations: dilations.slice(1, 3), group }
  let input = graph.planar(value)
  // A margin that was put around the picture before becomes the convolution's own.
  const unpadded = value.unpadded?.planar
  if (unpadded !== undefined && attributes.auto_pad === 'VALID') {
    const [images, channels, rows, columns] = unpadded.margins
    if ([...images, ...channels].every((margin) => margin === 0)) {
      input = unpadded.name
      attributes.auto_pad = 'NOTSET'
      attributes.pads = [rows[0], columns[0], rows[1], columns[1]]
    }
  }
  const names = [input, weights, ...biases.map((bias) => graph.plain(bias))]
  let planar = graph.add('Conv', names, attributes)
  if (activations.includes('Relu')) planar = graph.add('Relu', [planar])
  if (activations.includes('Relu6')) {
    planar = graph.add('Clip', [planar, graph.scalar(0), graph.scalar(6)])
  }
  return { planar, rank: 4 }
}

/** @param {string} operator of ONNX */
function pool(operator) {
  return (graph, node, value) => ({
    planar: graph.add(operator, [graph.planar(value)], {
      ...windowOf(node),
      kernel_shape: node.attributes.ksize.slice(1, 3)
    }),
    rank: 4
  })
}

/** How a window moves over the picture. @param {GraphNode} node */
function windowOf({ name, attributes }) {
  const { data_format, padding, strides } = attributes
  const auto_pad = { VALID: 'VALID', SAME: 'SAME_UPPER' }[padding]
  if (data_format === 'NCHW' || auto_pad === undefined) {
    throw new Error(`'${name}' has ${data_format} and padding ${padding}: not supported`)
  }
  return { auto_pad, strides: strides.slice(1, 3) }
}

/** @param {Conversion} graph @param {Value} value @param {Value} paddings @param {string[]} filling name of a tensor, none for zero */
function pad(graph, value, paddings, filling) {
  const numbers = graph.integersOf(paddings)
  const pairs = numbers
    .filter((_, i) => i % 2 === 0)
    .map((before, axis) => [before, numbers[2 * axis + 1]])
  const form = graph.isPlanar(value) ? 'planar' : 'plain'
  const margins = form === 'planar' ? toPlanar.map((axis) => pairs[axis]) : pairs
  const name = graph[form](value)
  const pads = graph.integers([0, 1].flatMap((end) => margins.map((margin) => margin[end])))
  return {
    [form]: graph.add('Pad', [name, pads, ...filling]),
    rank: pairs.length,
    unpadded: filling.length === 0 ? { [form]: { name, margins } } : undefined
  }
}
