// What becomes of each operator of TensorFlow. A table: name → function of the conversion, the node and
// its inputs, which gives the node's output or the list of them.
import { planarAxes, toPlain, toPlanar } from './axes.js'
import { float } from './onnx-messages.js'
import { pictureOperators } from './picture-operators.js'

/** @typedef {import('./convert-graph.js').Conversion} Conversion */
/** @typedef {import('./convert-graph.js').Value} Value */
/** @typedef {import('./read-graph.js').GraphNode} GraphNode */

/** @type {Record<string, (graph: Conversion, node: GraphNode, ...inputs: Value[]) => Value | Value[]>} */
export const operators = {
  ...pictureOperators,

  Add: elementwise('Add'),
  AddV2: elementwise('Add'),
  BiasAdd: elementwise('Add'),
  Sub: elementwise('Sub'),
  Mul: elementwise('Mul'),
  RealDiv: elementwise('Div'),
  Maximum: elementwise('Max'),
  Greater: elementwise('Greater'),
  Less: elementwise('Less'),
  LogicalNot: elementwise('Not'),
  Relu: elementwise('Relu'),
  Sigmoid: elementwise('Sigmoid'),
  Tanh: elementwise('Tanh'),
  Sin: elementwise('Sin'),
  Cos: elementwise('Cos'),
  LeakyRelu: elementwise('LeakyRelu', ({ alpha }) => ({ alpha: float(alpha) })),
  Cast: elementwise('Cast', ({ DstT }) => ({ to: castTypes[DstT] })),
  Square: (graph, node, value) => operators.Mul(graph, node, value, value),
  Rsqrt: (graph, _node, value) => ({
    plain: graph.add('Reciprocal', [graph.add('Sqrt', [graph.plain(value)])])
  }),
  Identity: (_graph, _node, value) => value,

  Sum: reduce('ReduceSum'),
  Mean: reduce('ReduceMean'),
  Max: reduce('ReduceMax'),
  Prod: reduce('ReduceProd'),
  Softmax: (graph, _node, value) => ({
    plain: graph.add('Softmax', [graph.plain(value)], { axis: -1 })
  }),

  MatMul: (graph, { name, attributes }, a, b) => {
    if (attributes.transpose_a || attributes.transpose_b) {
      throw new Error(`'${name}' multiplies a transposed matrix, which is not supported`)
    }
    return { plain: graph.add('MatMul', [graph.plain(a), graph.plain(b)]), rank: 2 }
  },
  BatchMatMul: (graph, { name, attributes }, a, b) => {
    if (attributes.adj_x || (attributes.adj_y && b.rank === undefined)) {
      throw new Error(`'${name}' transposes a value of unknown rank`)
    }
    const axes = Array.from({ length: b.rank ?? 0 }, (_, axis) => axis)
    const perm = [...axes.slice(0, -2), ...axes.slice(-2).reverse()]
    const second = attributes.adj_y
      ? graph.add('Transpose', [graph.plain(b)], { perm })
      : graph.plain(b)
    return { plain: graph.add('MatMul', [graph.plain(a), second]), rank: b.rank }
  },

  Transpose: (graph, _node, value, order) => {
    const perm = graph.integersOf(order)
    const rank = perm.length
    // From planes to pixels or back: the same values under the other name.
    if (perm.join() === toPlain.join()) {
      return { planar: graph.plain(value), rank, unpadded: { planar: value.unpadded?.plain } }
    }
    if (perm.join() === toPlanar.join()) return { plain: graph.planar(value), rank }
    return { plain: graph.add('Transpose', [graph.plain(value)], { perm }), rank }
  },
  Reshape: (graph, _node, value, shape) => ({
    plain: graph.add('Reshape', [graph.plain(value), graph.plain(shape)])
  }),
  Squeeze: (graph, { attributes }, value) => ({
    plain: graph.add('Squeeze', [graph.plain(value), graph.integers(attributes.squeeze_dims)])
  }),
  ExpandDims: (graph, _node, value, axis) => ({
    plain: graph.add('Unsqueeze', [graph.plain(value), graph.integers(graph.integersOf(axis))])
  }),
  Shape: (graph, _node, value) => ({ plain: graph.add('Shape', [graph.plain(value)]), rank: 1 }),

  ConcatV2: (graph, _node, ...inputs) => {
    const values = inputs.slice(0, -1)
    const [axis = 0] = graph.integersOf(inputs.at(-1))
    if (!values.every((value) => graph.isPlanar(value))) {
      return {
        plain: graph.add(
          'Concat',
          values.map((value) => graph.plain(value)),
          { axis }
        )
      }
    }
    const names = values.map((value) => graph.planar(value))
    return { planar: graph.add('Concat', names, { axis: planarAxes.at(axis) }), rank: 4 }
  },
  Pack: (graph, { attributes }, ...values) => {
    const { axis } = attributes
    const names = values.map((value) =>
      graph.add('Unsqueeze', [graph.plain(value), graph.integers([axis])])
    )
    return { plain: graph.add('Concat', names, { axis }) }
  },
  SplitV: (graph, _node, value, sizes, along) => {
    const lengths = graph.integersOf(sizes)
    const [axis = 0] = graph.integersOf(along)
    const inputs = [graph.plain(value), graph.integers(lengths)]
    return graph.addSplit('Split', inputs, lengths.length, { axis }).map((plain) => ({ plain }))
  },
  Slice: (graph, _node, value, begin, size) => {
    const starts = graph.integersOf(begin)
    const lengths = graph.integersOf(size)
    const ends = starts.map((start, axis) => (lengths[axis] < 0 ? toEnd : start + lengths[axis]))
    return { plain: slice(graph, value, starts, ends) }
  },
  StridedSlice: (graph, { name, attributes }, value, begin, end, strides) => {
    const { begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask } = attributes
    const steps = graph.integersOf(strides)
    if (ellipsis_mask || new_axis_mask || steps.some((step) => step < 1)) {
      throw new Error(`'${name}' slices in a way that is not supported`)
    }
    const has = (/** @type {number} */ mask, /** @type {number} */ axis) => (mask >> axis) & 1
    const starts = graph.integersOf(begin).map((at, axis) => (has(begin_mask, axis) ? 0 : at))
    const ends = graph.integersOf(end).map((at, axis) => {
      // An axis that is to vanish is one long, whatever its end says.
      if (has(shrink_axis_mask, axis)) return starts[axis] === -1 ? toEnd : starts[axis] + 1
      return has(end_mask, axis) ? toEnd : at
    })
    const sliced = slice(graph, value, starts, ends, steps)
    const gone = steps.map((_, axis) => axis).filter((axis) => has(shrink_axis_mask, axis))
    if (gone.length === 0) return { plain: sliced }
    return { plain: graph.add('Squeeze', [sliced, graph.integers(gone)]) }
  },
  Range: (graph, _node, ...inputs) => ({
    plain: graph.add(
      'Range',
      inputs.map((input) => graph.plain(input))
    ),
    rank: 1
  }),

  GatherV2: (graph, _node, value, indices, along) => {
    const [axis = 0] = graph.integersOf(along)
    return { plain: graph.add('Gather', [graph.plain(value), graph.plain(indices)], { axis }) }
  },
  GatherNd: (graph, _node, value, indices) => ({
    plain: graph.add('GatherND', [graph.plain(value), graph.plain(indices)])
  }),
  // The places where a condition holds, one row for each.
  Where: (graph, _node, condition) => {
    const columns = graph.add('NonZero', [graph.plain(condition)])
    return { plain: graph.add('Transpose', [columns], { perm: [1, 0] }), rank: 2 }
  },
  ScatterNd: (graph, { attributes }, indices, updates, shape) => {
    const value = graph.zero(attributes.T)
    const zeros = graph.add('ConstantOfShape', [graph.plain(shape)], { value })
    const names = [zeros, graph.plain(indices), graph.plain(updates)]
    return { plain: graph.add('ScatterND', names) }
  },
  SparseToDense: (graph, _node, indices, shape, values, background) => {
    const filled = graph.add('Expand', [graph.plain(background), graph.plain(shape)])
    const names = [filled, graph.plain(indices), graph.plain(values)]
    return { plain: graph.add('ScatterND', names) }
  }
}

const castTypes = { DT_FLOAT: 1, DT_INT32: 7, DT_INT64: 7, DT_BOOL: 9 }
const toEnd = 2 ** 31 - 1

/**
 * One value at each place, from the values at the same place of the inputs.
 *
 * @param {string} operator of ONNX
 * @param {(attributes: Record<string, any>) => Record<string, any>} [attributesOf]
 */
function elementwise(operator, attributesOf = () => ({})) {
  return (/** @type {Conversion} */ graph, /** @type {GraphNode} */ node, ...inputs) => {
    const attributes = attributesOf(node.attributes)
    const inPlanes = inputs.some((value) => graph.isPlanar(value))
    const names = inputs.map((value) => (inPlanes ? graph.planar(value) : graph.plain(value)))
    const name = graph.add(operator, names, attributes)
    const ranks = inputs.map((value) => value.rank)
    const rank = ranks.includes(undefined) ? undefined : Math.max(...ranks)
    return inPlanes ? { planar: name, rank } : { plain: name, rank }
  }
}

/** @param {string} operator of ONNX */
function reduce(operator) {
  return (
    /** @type {Conversion} */ graph,
    /** @type {GraphNode} */ { attributes },
    value,
    axes
  ) => {
    const names = [graph.plain(value), graph.integers(graph.integersOf(axes))]
    return { plain: graph.add(operator, names, { keepdims: attributes.keep_dims ? 1 : 0 }) }
  }
}

/** @param {Conversion} graph @param {Value} value @param {number[]} starts @param {number[]} ends @param {number[]} [steps] */
function slice(graph, value, starts, ends, steps = starts.map(() => 1)) {
  const axes = starts.map((_, axis) => axis)
  const lists = [starts, ends, axes, steps].map((list) => graph.integers(list))
  return graph.add('Slice', [graph.plain(value), ...lists])
}
