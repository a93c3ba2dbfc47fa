import { fromHalfFloat, type OnnxData, toHalfFloat } from '@nebula-experts/sdk/onnx'

type Value = number | bigint | string

/** One element type in the words of everybody who names it, and its way from and to JSON. */
export interface DataType {
  /** In ONNX: `float32`. */
  onnx: string
  /** In the Open Inference Protocol: `FP32`. */
  wire: string
  /** In a safetensors header: `F32`; null where that format has none. */
  file: string | null
  /** Bytes of one value; 0 for strings. */
  bytes: number
  /** What JSON may say, in words. */
  wanted: string
  /** What a JSON value is in the tensor; undefined when it does not fit. */
  fromJson(value: unknown): Value | undefined
  /** Null for a number that JSON does not have. */
  toJson(value: Value): Value | boolean | null
  make(count: number): OnnxData
  /** The values that lie in bytes of theirs, little-endian; aligned to `bytes`. */
  view(buffer: ArrayBuffer, offset: number, count: number): OnnxData
}

/** The class of typed array that holds a type's values. */
type ArrayClass = {
  new (count: number): OnnxData
  new (buffer: ArrayBuffer, offset: number, count: number): OnnxData
  readonly BYTES_PER_ELEMENT: number
}

type Row = Pick<DataType, 'onnx' | 'wire' | 'file' | 'wanted' | 'fromJson' | 'toJson'>

const asIs = (value: Value) => value
const finite = (value: Value) => (Number.isFinite(value) ? value : null)

function typed(Class: unknown, row: Row): DataType {
  const Data = Class as ArrayClass
  return {
    ...row,
    bytes: Data.BYTES_PER_ELEMENT,
    make: (count) => new Data(count),
    view: (buffer, offset, count) => new Data(buffer, offset, count)
  }
}

function integer(Class: unknown, onnx: string, wire: string, file: string): DataType {
  const bits = Number(/\d+/.exec(onnx))
  const isSigned = !onnx.startsWith('u')
  const least = isSigned ? -(2 ** (bits - 1)) : 0
  const most = 2 ** (isSigned ? bits - 1 : bits) - 1
  const fits = (value: unknown) =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most
  return typed(Class, {
    ...{ onnx, wire, file, toJson: asIs, wanted: `a whole number from ${least} to ${most}` },
    fromJson: (value) => (fits(value) ? (value as number) : undefined)
  })
}

/** JSON numbers are exact up to 2^53: what is larger travels as a string of digits, both ways. */
function longInteger(Class: unknown, onnx: string, wire: string, file: string): DataType {
  const isSigned = onnx === 'int64'
  const least = isSigned ? -(2n ** 63n) : 0n
  const most = 2n ** (isSigned ? 63n : 64n) - 1n
  const read = (value: unknown): bigint | undefined => {
    if (Number.isSafeInteger(value)) return BigInt(value as number)
    const isDigits = typeof value === 'string' && /^-?\d{1,20}$/.test(value)
    return isDigits ? BigInt(value) : undefined
  }
  return typed(Class, {
    ...{ onnx, wire, file },
    wanted: `a whole number from ${least} to ${most}, beyond 2^53 as a string`,
    fromJson: (value) => {
      const found = read(value)
      return found !== undefined && found >= least && found <= most ? found : undefined
    },
    toJson: (value) => (Number.isSafeInteger(Number(value)) ? Number(value) : String(value))
  })
}

const bool = typed(Uint8Array, {
  ...{ onnx: 'bool', wire: 'BOOL', file: 'BOOL', wanted: 'true or false' },
  fromJson: (value) => {
    if (value === true || value === 1) return 1
    return value === false || value === 0 ? 0 : undefined
  },
  toJson: (value) => value !== 0
})

const float16 = typed(Uint16Array, {
  ...{ onnx: 'float16', wire: 'FP16', file: 'F16', wanted: 'a number of at most 65504' },
  fromJson: (value) => (isHalf(value) ? toHalfFloat(value) : undefined),
  toJson: (value) => finite(fromHalfFloat(value as number))
})

const float32 = typed(Float32Array, {
  ...{ onnx: 'float32', wire: 'FP32', file: 'F32', wanted: 'a number within single precision' },
  fromJson: (value) =>
    typeof value === 'number' && Number.isFinite(Math.fround(value)) ? value : undefined,
  toJson: finite
})

const float64 = typed(Float64Array, {
  ...{ onnx: 'float64', wire: 'FP64', file: 'F64', wanted: 'a number' },
  fromJson: (value) =>
    typeof value === 'number' && Number.isFinite(value) ? (value as number) : undefined,
  toJson: finite
})

const string: DataType = {
  ...{ onnx: 'string', wire: 'BYTES', file: null, bytes: 0 },
  wanted: 'a string that UTF-8 can say',
  fromJson: (value) =>
    typeof value === 'string' && !/\p{Surrogate}/u.test(value) ? value : undefined,
  toJson: asIs,
  make: (count) => new Array<string>(count).fill(''),
  view: () => []
}

/** Every element type that a model's inputs and outputs may have here. */
export const dataTypes: readonly DataType[] = [
  bool,
  integer(Uint8Array, 'uint8', 'UINT8', 'U8'),
  integer(Uint16Array, 'uint16', 'UINT16', 'U16'),
  integer(Uint32Array, 'uint32', 'UINT32', 'U32'),
  longInteger(BigUint64Array, 'uint64', 'UINT64', 'U64'),
  integer(Int8Array, 'int8', 'INT8', 'I8'),
  integer(Int16Array, 'int16', 'INT16', 'I16'),
  integer(Int32Array, 'int32', 'INT32', 'I32'),
  longInteger(BigInt64Array, 'int64', 'INT64', 'I64'),
  float16,
  float32,
  float64,
  string
]

/** The index of the first value that is NaN or infinite; -1 when there is none, as for whole numbers. */
export function findNonFinite(type: DataType, data: OnnxData): number {
  if (type === float32 || type === float64) {
    const values = data as Float32Array
    for (let i = 0; i < values.length; i += 1) if (!Number.isFinite(values[i])) return i
  } else if (type === float16) {
    const bits = data as Uint16Array
    for (let i = 0; i < bits.length; i += 1) if ((bits[i]! & 0x7c00) === 0x7c00) return i
  }
  return -1
}

/** Half way between the largest half and what would follow it lies what is too large. */
function isHalf(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) < 65520
}
