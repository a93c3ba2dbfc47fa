import { ExpertError } from './errors.ts'

/** Values of a tensor, row-major. The class says the ONNX type: `Float32Array` is float32. */
export type OnnxData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | string[]

/** What goes into a model and comes out of it. */
export interface OnnxTensor<Data extends OnnxData = OnnxData> {
  data: Data
  /** Size along each axis; `[]` is a scalar. */
  shape: readonly number[]
}

/** One input or output as the model declares it. */
export interface OnnxPort {
  name: string
  /** ONNX element type: `float32`, `int64`, … */
  type: string
  /** Size along each axis; null where the model takes any. */
  shape: (number | null)[]
}

// The first type of a class is what its data is taken for. `bool` and `float16` have no class of
// their own in Node 20: a model that declares them is fed bytes, respectively the raw 16 bits.
const typesOfClass: Record<string, string[]> = {
  Float32Array: ['float32'],
  Float64Array: ['float64'],
  Float16Array: ['float16'],
  Int8Array: ['int8'],
  Uint8Array: ['uint8', 'bool'],
  Uint8ClampedArray: ['uint8', 'bool'],
  Buffer: ['uint8', 'bool'],
  Int16Array: ['int16'],
  Uint16Array: ['uint16', 'float16'],
  Int32Array: ['int32'],
  Uint32Array: ['uint32'],
  BigInt64Array: ['int64'],
  BigUint64Array: ['uint64'],
  Array: ['string']
}

/**
 * Checks one feed against what the model declares.
 *
 * @returns the ONNX type to hand it over as
 * @throws ExpertError EXP_MODEL that names the input, what was found and what was wanted
 */
export function checkFeed(model: string, port: OnnxPort, tensor: OnnxTensor): string {
  const types = typesOfClass[tensor?.data?.constructor?.name ?? '']
  if (types === undefined || !Array.isArray(tensor.shape)) {
    const found = tensor?.data?.constructor?.name ?? typeof tensor
    throw misfit(model, port, `${found}, which is no { data: typed array, shape: number[] }`)
  }
  const type = types.includes(port.type) ? port.type : types[0]!
  const found = `${type} ${showShape(tensor.shape)}`
  // A model that leaves the rank open declares no axes, like one that wants a scalar.
  const fits =
    port.shape.length === 0 ||
    (port.shape.length === tensor.shape.length &&
      port.shape.every((size, axis) => size === null || size === tensor.shape[axis]))
  if (type !== port.type || !fits) throw misfit(model, port, found)
  const wanted = tensor.shape.reduce((product, size) => product * size, 1)
  if (tensor.data.length !== wanted) {
    throw misfit(model, port, `${found} with ${tensor.data.length} values instead of ${wanted}`)
  }
  return type
}

function misfit(model: string, port: OnnxPort, found: string): ExpertError {
  const wanted = `${port.type} ${showShape(port.shape)}`
  return new ExpertError(
    'EXP_MODEL',
    `Input '${port.name}' of ${model}: found ${found}, wanted ${wanted}`
  )
}

function showShape(shape: readonly (number | null)[]): string {
  return `[${shape.map((size) => size ?? '?').join(', ')}]`
}
