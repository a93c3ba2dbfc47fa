// Turns a graph of TensorFlow.js into one of ONNX.
import { permute, toPlain, toPlanar } from './axes.js'
import { encodeModel, encodeNode, encodeTensor } from './onnx-messages.js'
import { operators } from './operators.js'

/** @typedef {import('./read-graph.js').Constant} Constant */
/** @typedef {import('./read-graph.js').GraphNode} GraphNode */
/** @typedef {import('./onnx-messages.js').Port} Port */

/**
 * A tensor of the original graph, and the names it has in the new one. TensorFlow keeps the colours
 * of a pixel together (NHWC), ONNX wants whole planes of them (NCHW); a value is turned from the one
 * into the other only where somebody asks for it.
 *
 * @typedef {object} Value
 * @property {string} [plain] name of the tensor with the axes of the original
 * @property {string} [planar] name of the same tensor as [N, C, H, W]
 * @property {Constant} [constant]
 * @property {string} [name] a constant's own name
 * @property {number} [rank] number of axes, where it is known
 * @property {{ plain?: Unpadded, planar?: Unpadded }} [unpadded] what lies inside a margin of zeros
 */

/**
 * @param {{ nodes: Map<string, GraphNode>, constants: Map<string, Constant> }} graph
 * @param {{ name: string, inputs: (Port & { from: string })[], outputs: (Port & { from: string })[] }} plan
 *   `from`: the node of the original; what no output needs is left out
 * @returns {Uint8Array} the content of an .onnx file
 */
export function convertGraph(graph, { name, inputs, outputs }) {
  return new Conversion(graph).convert(name, inputs, outputs)
}

/**
 * A tensor before a margin of zeros was put around it.
 *
 * @typedef {object} Unpadded
 * @property {string} name
 * @property {number[][]} margins for each axis how many zeros were put before and after it
 */

/** What the operators build the new graph with. */
export class Conversion {
  #graph
  /** @type {Map<string, Value[]>} */
  #values = new Map()
  /** @type {{ operator: string, inputs: string[], outputs: string[], attributes: Record<string, any> }[]} */
  #nodes = []
  /** @type {Map<string, import('./protobuf-writer.js').ProtobufWriter>} */
  #initialisers = new Map()
  /** How many nodes were made for each node of the original. @type {Map<string, number>} */
  #made = new Map()
  #current = ''
  /** Stored name of a constant → name of its wide form. @type {Map<string, string>} */
  #wide = new Map()

  /** @param {{ nodes: Map<string, GraphNode>, constants: Map<string, Constant> }} graph */
  constructor(graph) {
    this.#graph = graph
  }

  /** @param {string} name @param {(Port & { from: string })[]} inputs @param {(Port & { from: string })[]} outputs */
  convert(name, inputs, outputs) {
    for (const input of inputs) {
      // Whole numbers are int64 inside; where a caller hands over smaller ones, they are widened once.
      this.#current = `${input.name}/wide`
      const plain = input.type === 'int32' ? this.add('Cast', [input.name], { to: 7 }) : input.name
      this.#values.set(input.from, [{ plain, rank: input.shape.length }])
    }
    for (const { name: output, from } of outputs) {
      const value = this.plain(this.#value(from))
      this.#nodes.push({ operator: 'Identity', inputs: [value], outputs: [output], attributes: {} })
    }
    // From the end to the beginning: what nobody reads is left out.
    const needed = new Set(outputs.map((output) => output.name))
    const live = this.#nodes.reverse().filter((node) => {
      if (!node.outputs.some((output) => needed.has(output))) return false
      for (const input of node.inputs) needed.add(input)
      return true
    })
    return encodeModel({
      name,
      nodes: live.reverse().map((node) => encodeNode(node)),
      initialisers: [...this.#initialisers]
        .filter(([initialiser]) => needed.has(initialiser))
        .map(([, tensor]) => tensor),
      inputs,
      outputs
    })
  }

  /** @param {string} reference name of a node, with `:n` for an output that is not the first */
  #value(reference) {
    const [name, output = 0] = splitReference(reference)
    const values = this.#values.get(name) ?? this.#convertNode(name)
    this.#values.set(name, values)
    const value = values[output]
    if (value === undefined) throw new Error(`'${name}' has no output ${output}`)
    return value
  }

  /** @param {string} name @returns {Value[]} */
  #convertNode(name) {
    const constant = this.#graph.constants.get(name)
    if (constant !== undefined) return [{ constant, name, rank: constant.shape.length }]
    const node = this.#graph.nodes.get(name)
    if (node === undefined) throw new Error(`The graph has no node '${name}'`)
    const operator = operators[node.op]
    if (operator === undefined) throw new Error(`'${name}' is a ${node.op}, which is not supported`)
    const inputs = node.inputs.map((input) => this.#value(input))
    this.#current = name
    const made = operator(this, node, ...inputs)
    return Array.isArray(made) ? made : [made]
  }

  /**
   * Adds a node with one output.
   *
   * @param {string} operator @param {string[]} inputs @param {Record<string, any>} [attributes]
   * @returns {string} the name of its output
   */
  add(operator, inputs, attributes = {}) {
    return this.addSplit(operator, inputs, 1, attributes)[0]
  }

  /** Adds a node with several outputs. @param {string} operator @param {string[]} inputs @param {number} count */
  addSplit(operator, inputs, count, attributes = {}) {
    const made = this.#made.get(this.#current) ?? 0
    this.#made.set(this.#current, made + 1)
    // No name of TensorFlow has a `#`.
    const stem = made === 0 ? this.#current : `${this.#current}#${made}`
    const outputs = Array.from({ length: count }, (_, i) => (i === 0 ? stem : `${stem}:${i}`))
    this.#nodes.push({ operator, inputs, outputs, attributes })
    return outputs
  }

  /** @param {Value} value @returns {string} its name with the axes of the original */
  plain(value) {
    if (value.constant !== undefined) return this.#constant(value, value.constant, '')
    value.plain ??= this.add('Transpose', [/** @type {string} */ (value.planar)], { perm: toPlain })
    return value.plain
  }

  /** @param {Value} value of rank 4; a constant may have fewer axes @returns {string} its name as NCHW */
  planar(value) {
    if (value.constant !== undefined) {
      const shape = [1, 1, 1, 1].concat(value.constant.shape).slice(-4)
      const turned = permute({ ...value.constant, shape }, toPlanar)
      while (turned.shape[0] === 1) turned.shape.shift()
      return this.#constant(value, turned, ':planar')
    }
    if (value.planar === undefined && (value.rank ?? 4) !== 4) {
      throw new Error(`'${value.plain}' has ${value.rank} axes, so it has no planes`)
    }
    value.planar ??= this.add('Transpose', [/** @type {string} */ (value.plain)], {
      perm: toPlanar
    })
    return value.planar
  }

  /** Says whether a value is at hand as NCHW alone. @param {Value} value */
  isPlanar(value) {
    return value.constant === undefined && value.plain === undefined
  }

  /** A constant with its axes in another order and then in another shape. @param {Value} value @param {number[]} axes @param {(shape: number[]) => number[]} reshape */
  rearranged(value, axes, reshape = (shape) => shape) {
    const turned = permute(this.constantOf(value), axes)
    return this.#constant(value, { ...turned, shape: reshape(turned.shape) }, `:${axes.join('')}`)
  }

  /** @param {Value} value @returns {Constant} */
  constantOf(value) {
    if (value.constant === undefined) {
      throw new Error(`'${value.plain ?? value.planar}' has to be a constant`)
    }
    return value.constant
  }

  /** The whole numbers of a constant. @param {Value} value @returns {number[]} */
  integersOf(value) {
    return Array.from(this.constantOf(value).data, Number)
  }

  /** A list of whole numbers as a tensor. @param {number[]} numbers */
  integers(numbers) {
    const data = BigInt64Array.from(numbers, BigInt)
    return this.#initialiser(`integers/${numbers.join()}`, 'int64', [numbers.length], data)
  }

  /** A float as a tensor without axes. @param {number} number */
  scalar(number) {
    return this.#initialiser(`float/${number}`, 'float32', [], Float32Array.of(number))
  }

  /** One zero of the given type, as an attribute of `ConstantOfShape`. @param {string} type of TensorFlow */
  zero(type) {
    if (type === 'DT_FLOAT') return encodeTensor('', 'float32', [1], new Float32Array(1))
    return encodeTensor('', 'int64', [1], new BigInt64Array(1))
  }

  /** Floats are kept as they are stored; the runtime widens them once, when it loads the model. */
  #constant({ name }, { type, shape, data, quantised }, suffix) {
    const stored = `${name}${suffix}`
    const known = this.#wide.get(stored)
    if (known !== undefined) return known
    let wide = this.#initialiser(stored, type, shape, data)
    const outer = this.#current
    this.#current = `${stored}:wide`
    if (type === 'float16' || type === 'uint8') wide = this.add('Cast', [wide], { to: 1 })
    if (quantised !== undefined) {
      wide = this.add('Mul', [wide, this.scalar(quantised.scale)])
      wide = this.add('Add', [wide, this.scalar(quantised.min)])
    }
    this.#current = outer
    this.#wide.set(stored, wide)
    return wide
  }

  #initialiser(name, type, shape, data) {
    if (!this.#initialisers.has(name)) {
      this.#initialisers.set(name, encodeTensor(name, type, shape, data))
    }
    return name
  }
}

/** @param {string} reference @returns {[string, number]} */
function splitReference(reference) {
  const colon = reference.lastIndexOf(':')
  const output = colon < 0 ? Number.NaN : Number(reference.slice(colon + 1))
  return Number.isNaN(output) ? [reference, 0] : [reference.slice(0, colon), output]
}
