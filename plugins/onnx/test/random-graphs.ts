import { type OnnxTensor, toHalfFloat } from '@nebula-experts/sdk/onnx'
import { dataTypes } from '../data-types.ts'
import type { Element, Graph, Node, Value } from './onnx-bytes.ts'

/** Numbers from 0 to 1 that are the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const NAMES = ['x', 'input 0', 'eingabe:ä/ö', '入力', '__proto__', 'constructor', '"', '0', "it's"]
const OPS = ['Identity', 'Transpose', 'Shape', 'Concat']

/** A model of any inputs, and tensors that it takes. */
export interface RandomModel {
  graph: Graph
  feeds: Map<string, OnnxTensor>
}

/** Makes a model with several inputs of any type, and outputs that move their values about. */
export function randomModel(random: () => number): RandomModel {
  const below = (most: number) => Math.floor(random() * most)
  const names = [...NAMES].sort(() => random() - 0.5)
  const feeds: RandomModel['feeds'] = new Map()
  const inputs: Value[] = []
  const outputs: Value[] = []
  const nodes: Node[] = []
  for (let i = 0; i <= below(4); i += 1) {
    const name = names[i]!
    const type = dataTypes[below(dataTypes.length)]!
    const shape = Array.from({ length: below(4) }, () => 1 + below(3))
    const declared = shape.map((size, axis) => (random() < 0.4 ? `axis ${i} ${axis}` : size))
    inputs.push({ name, type: type.onnx as Element, shape: declared })
    const count = shape.reduce((a, b) => a * b, 1)
    const data = type.make(count) as (number | bigint | string)[]
    for (let k = 0; k < count; k += 1) data[k] = randomValue(type.onnx, random)
    feeds.set(name, { data: data as unknown as OnnxTensor['data'], shape })

    const op = OPS[shape.length === 0 ? 0 : below(OPS.length)]!
    const output = `${op} of ${name}`
    const isShape = op === 'Shape'
    nodes.push({
      op,
      inputs: op === 'Concat' ? [name, name] : [name],
      outputs: [output],
      ...(op === 'Concat' && { attributes: { axis: 0 } })
    })
    const outShape = op === 'Identity' ? declared : isShape ? [shape.length] : null
    outputs.push({
      name: output,
      type: isShape ? 'int64' : (type.onnx as Element),
      shape: outShape ?? shape.map((_, axis) => `out ${i} ${axis}`)
    })
  }
  return { graph: { inputs, outputs, nodes }, feeds }
}

function randomValue(type: string, random: () => number): number | bigint | string {
  if (type === 'string') return ['', 'a b', 'ß', '😀', '"\n'][Math.floor(random() * 5)]!
  if (type === 'bool') return Number(random() < 0.5)
  if (type === 'float16') return toHalfFloat(random() * 200 - 100)
  if (type === 'float32') return Math.fround(random() * 2e6 - 1e6)
  if (type === 'float64') return random() * 1e300
  const bits = Number(/\d+/.exec(type)![0])
  const whole =
    BigInt(Math.floor(random() * 2 ** 32)) * 2n ** 32n + BigInt(Math.floor(random() * 2 ** 32))
  const value = type.startsWith('u') ? BigInt.asUintN(bits, whole) : BigInt.asIntN(bits, whole)
  return bits === 64 ? value : Number(value)
}
