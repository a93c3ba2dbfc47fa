/** An element type, as ONNX numbers it. */
const ELEMENTS = {
  ...{ float32: 1, uint8: 2, int8: 3, uint16: 4, int16: 5, int32: 6, int64: 7, string: 8 },
  ...{ bool: 9, float16: 10, float64: 11, uint32: 12, uint64: 13 }
} as const
export type Element = keyof typeof ELEMENTS

/** An input or output: a word for an axis leaves it open; without a shape the rank is open. */
export interface Value {
  name: string
  type: Element
  shape: readonly (number | string)[] | null
  /** A sequence of such tensors. */
  isSequence?: boolean
}

/** A tensor that the model brings; `data` is its bytes, or its strings. */
export interface Constant {
  name: string
  type: Element
  shape: readonly number[]
  data: Uint8Array | readonly string[]
}

export interface Node {
  op: string
  inputs: readonly string[]
  outputs: readonly string[]
  /** Whole numbers, or lists of them. */
  attributes?: Record<string, number | readonly number[]>
}

export interface Graph {
  inputs: readonly Value[]
  outputs: readonly Value[]
  nodes: readonly Node[]
  constants?: readonly Constant[]
}

/** Writes a model as the bytes of an ONNX file: operators of set 17. */
export function onnxBytes(graph: Graph): Buffer {
  const body = [
    ...graph.nodes.map((node) => message(1, nodeBytes(node))),
    text(2, 'test'),
    ...(graph.constants ?? []).map((constant) => message(5, constantBytes(constant))),
    ...graph.inputs.map((value) => message(11, valueBytes(value))),
    ...graph.outputs.map((value) => message(12, valueBytes(value)))
  ]
  return Buffer.concat([integer(1, 8), message(7, body), message(8, [text(1, ''), integer(2, 17)])])
}

/** A constant of single floats. */
export function floats(
  name: string,
  shape: readonly number[],
  values: readonly number[]
): Constant {
  return { name, shape, type: 'float32', data: new Uint8Array(Float32Array.from(values).buffer) }
}

function nodeBytes({ op, inputs, outputs, attributes = {} }: Node): Buffer[] {
  return [
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, op),
    ...Object.entries(attributes).map(([name, value]) =>
      message(
        5,
        typeof value === 'number'
          ? [text(1, name), integer(3, value), integer(20, 2)]
          : [text(1, name), ...value.map((item) => integer(8, item)), integer(20, 7)]
      )
    )
  ]
}

function constantBytes({ name, type, shape, data }: Constant): Buffer[] {
  const values =
    data instanceof Uint8Array
      ? [message(9, [Buffer.from(data)])]
      : data.map((value) => text(6, value))
  const dims = shape.map((size) => integer(1, size))
  return [...dims, integer(2, ELEMENTS[type]), ...values, text(8, name)]
}

function valueBytes({ name, type, shape, isSequence }: Value): Buffer[] {
  const axes = shape?.map((size) =>
    message(1, [typeof size === 'number' ? integer(1, size) : text(2, size)])
  )
  const tensor = [integer(1, ELEMENTS[type]), ...(axes === undefined ? [] : [message(2, axes)])]
  const one = message(1, tensor)
  return [text(1, name), message(2, [isSequence === true ? message(4, [message(1, [one])]) : one])]
}

function message(field: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body])
}

function text(field: number, value: string): Buffer {
  return message(field, [Buffer.from(value)])
}

function integer(field: number, value: number): Buffer {
  return Buffer.concat([varint(field << 3), varint(value)])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}
