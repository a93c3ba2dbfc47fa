import { ExpertError } from '@nebula-experts/sdk'
import type { OnnxPort, OnnxSession, OnnxTensor } from '@nebula-experts/sdk/onnx'
import { type DataType, dataTypes } from './data-types.ts'

/** An input or output whose values can travel. */
export interface Port {
  name: string
  type: DataType
  /** Size along each axis; null where the model takes any. `[]` is a scalar, or a rank that is open. */
  shape: (number | null)[]
}

/** What a model takes and gives. */
export interface ModelPorts {
  inputs: Port[]
  /** Those that are tensors; there is at least one. */
  outputs: Port[]
  /** Names of outputs that are no tensors (sequences, maps): they are not computed. */
  leftOut: string[]
}

/** @throws ExpertError EXP_MODEL when an input, or every output, is of a type that cannot travel */
export function portsOf(session: OnnxSession): ModelPorts {
  const inputs = session.inputs.map((port) => {
    const type = typeOf(port)
    if (type === undefined) {
      throw new ExpertError(
        'EXP_MODEL',
        `Input '${port.name}' is ${port.type}, wanted a tensor of ${words()}`
      )
    }
    return { name: port.name, type, shape: port.shape }
  })
  const outputs: Port[] = []
  const leftOut: string[] = []
  for (const port of session.outputs) {
    const type = typeOf(port)
    if (type === undefined) leftOut.push(port.name)
    else outputs.push({ name: port.name, type, shape: port.shape })
  }
  if (outputs.length === 0) {
    const found = session.outputs.map((port) => `'${port.name}' (${port.type})`).join(', ')
    throw new ExpertError('EXP_MODEL', `No output is a tensor of ${words()}, found ${found}`)
  }
  return { inputs, outputs, leftOut }
}

function typeOf(port: OnnxPort): DataType | undefined {
  return dataTypes.find((type) => type.onnx === port.type)
}

const words = () => dataTypes.map((type) => type.onnx).join(', ')

/** A shape as messages show it: `[1, 3, ?, ?]`. */
export function showShape(shape: readonly (number | null)[]): string {
  return `[${shape.map((size) => size ?? '?').join(', ')}]`
}

/**
 * Checks a tensor's shape against what the model declares.
 *
 * @param where - of the request, such as `inputs[0].shape`
 * @returns how many values it has
 * @throws ExpertError EXP_BAD_INPUT
 */
export function checkShape(where: string, port: Port, shape: readonly number[]): number {
  const isWhole = shape.every((size) => Number.isInteger(size) && size >= 1)
  // A model that leaves the rank open declares no axes, like one that wants a scalar.
  const fits =
    port.shape.length === 0 ||
    (port.shape.length === shape.length &&
      port.shape.every((size, axis) => size === null || size === shape[axis]))
  const count = shape.reduce((product, size) => product * size, 1)
  if (isWhole && fits && Number.isSafeInteger(count)) return count
  throw new ExpertError(
    'EXP_BAD_INPUT',
    `${where}: found ${JSON.stringify(shape)}, input '${port.name}' is ${showShape(port.shape)}` +
      ' with sizes of at least 1'
  )
}

/**
 * Whether all inputs are there, none twice and none that the model does not have.
 *
 * @param places - of each name in the request, such as `inputs[0].name`
 * @returns the inputs, in the order of `names`
 * @throws ExpertError EXP_BAD_INPUT
 */
export function matchInputs(
  inputs: readonly Port[],
  names: readonly string[],
  places: readonly string[]
): Port[] {
  const seen = new Set<string>()
  const ports = names.map((name, index) => {
    const port = inputs.find((other) => other.name === name)
    if (port === undefined) {
      throw new ExpertError(
        'EXP_BAD_INPUT',
        `${places[index]}: the model has no input ${JSON.stringify(name)}, it has ${namesOf(inputs)}`
      )
    }
    if (seen.has(name)) {
      throw new ExpertError(
        'EXP_BAD_INPUT',
        `${places[index]}: input ${JSON.stringify(name)} came before`
      )
    }
    seen.add(name)
    return port
  })
  const missing = inputs.filter((port) => !seen.has(port.name))
  if (missing.length > 0) {
    throw new ExpertError('EXP_BAD_INPUT', `inputs: ${namesOf(missing)} missing`)
  }
  return ports
}

/** @throws ExpertError EXP_BAD_INPUT for a name that is no output of the model, or comes twice */
export function matchOutputs(
  outputs: readonly Port[],
  names: readonly string[],
  places: readonly string[]
): Port[] {
  return names.map((name, index) => {
    const port = outputs.find((other) => other.name === name)
    const why = port === undefined ? `the model gives ${namesOf(outputs)}` : 'it came before'
    if (port !== undefined && names.indexOf(name) === index) return port
    throw new ExpertError(
      'EXP_BAD_INPUT',
      `${places[index]}: found ${JSON.stringify(name)}, ${why}`
    )
  })
}

function namesOf(ports: readonly Port[]): string {
  return ports.map((port) => JSON.stringify(port.name)).join(', ')
}

/** Tensors by name, safe for a name such as `__proto__`. */
export function feedsOf(entries: Iterable<[string, OnnxTensor]>): Record<string, OnnxTensor> {
  return Object.fromEntries(entries)
}
