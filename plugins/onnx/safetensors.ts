import { ExpertError } from '@nebula-experts/sdk'
import type { OnnxData, OnnxTensor } from '@nebula-experts/sdk/onnx'
import type { DataType } from './data-types.ts'

/** Bytes before the header: its length, 64 bits, little-endian. */
const LENGTH_BYTES = 8
const MAX_HEADER_BYTES = 16 * 1024 * 1024

/** One tensor of a safetensors file, as its header says. */
export interface StoredTensor {
  name: string
  /** `F32` and the like. */
  dtype: string
  shape: number[]
  bytes: Uint8Array
}

/**
 * Reads the safetensors format: a header of JSON, then the values of all tensors, one after another.
 * The bytes of the tensors are parts of `file`, not copies.
 *
 * @throws ExpertError EXP_BAD_INPUT saying where the file goes wrong
 */
export function readSafetensors(file: Uint8Array): StoredTensor[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  if (file.byteLength < LENGTH_BYTES) {
    throw wrong(`it has ${file.byteLength} bytes, wanted a safetensors file`)
  }
  const length = Number(view.getBigUint64(0, true))
  const start = LENGTH_BYTES + length
  if (length > MAX_HEADER_BYTES || start > file.byteLength) {
    throw wrong(`its first 8 bytes say a header of ${length} bytes, it has ${file.byteLength}`)
  }
  const header = parseHeader(file.subarray(LENGTH_BYTES, start))
  const values = file.subarray(start)
  const tensors: Array<StoredTensor & { from: number }> = []
  for (const [name, about] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const { dtype, shape, data_offsets: offsets } = (about ?? {}) as Record<string, unknown>
    const isRange =
      Array.isArray(offsets) && offsets.length === 2 && offsets.every(Number.isSafeInteger)
    const isShape = Array.isArray(shape) && shape.every(Number.isSafeInteger)
    if (typeof dtype !== 'string' || !isShape || !isRange) {
      throw wrong(`tensor ${JSON.stringify(name)} wants dtype, shape and data_offsets`)
    }
    const [from, to] = offsets as [number, number]
    if (from < 0 || to < from || to > values.byteLength) {
      const range = `${from} to ${to} of ${values.byteLength} bytes`
      throw wrong(`tensor ${JSON.stringify(name)} lies at ${range}`)
    }
    tensors.push({ name, dtype, shape: shape as number[], bytes: values.subarray(from, to), from })
  }
  // A name that comes twice in the header leaves the bytes of its first without an owner.
  let end = 0
  for (const { name, bytes, from } of [...tensors].sort((a, b) => a.from - b.from)) {
    if (from !== end) throw wrong(`tensor ${JSON.stringify(name)} begins at ${from}, not at ${end}`)
    end += bytes.byteLength
  }
  if (end !== values.byteLength) {
    throw wrong(`its tensors end at ${end} of ${values.byteLength} bytes`)
  }
  return tensors.map(({ from, ...tensor }) => tensor)
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  try {
    const header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    if (typeof header === 'object' && header !== null && !Array.isArray(header)) return header
  } catch {
    // Told below.
  }
  throw wrong('its header is not an object of JSON in UTF-8')
}

/**
 * The values of a stored tensor; copied only where they do not lie as their type wants.
 *
 * @param where - of the request, such as `tensor "x"`
 * @throws ExpertError EXP_BAD_INPUT
 */
export function valuesOf(
  where: string,
  { bytes }: StoredTensor,
  type: DataType,
  count: number
): OnnxData {
  if (bytes.byteLength !== count * type.bytes) {
    const wanted = `${count * type.bytes}, as its shape says`
    throw new ExpertError(
      'EXP_BAD_INPUT',
      `${where}: found ${bytes.byteLength} bytes, wanted ${wanted}`
    )
  }
  const aligned = bytes.byteOffset % type.bytes === 0 ? bytes : new Uint8Array(bytes)
  return type.view(aligned.buffer as ArrayBuffer, aligned.byteOffset, count)
}

/** Writes tensors in the safetensors format: the parts of the file, in their order. */
export function writeSafetensors(
  tensors: readonly { name: string; type: DataType; tensor: OnnxTensor }[]
): Uint8Array[] {
  // The widest values first: so each lies where its type wants it.
  const sorted = [...tensors].sort((a, b) => b.type.bytes - a.type.bytes)
  const parts: Uint8Array[] = []
  let end = 0
  const entries = sorted.map(({ name, type, tensor }): [string, object] => {
    const { buffer, byteOffset, byteLength } = tensor.data as Uint8Array
    parts.push(new Uint8Array(buffer, byteOffset, byteLength))
    const from = end
    end += byteLength
    return [name, { dtype: type.file, shape: tensor.shape, data_offsets: [from, end] }]
  })
  const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const header = Buffer.alloc(Math.ceil(text.length / 8) * 8, ' ')
  header.set(text)
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeBigUInt64LE(BigInt(header.length))
  return [length, header, ...parts]
}

function wrong(why: string): ExpertError {
  return new ExpertError('EXP_BAD_INPUT', `The body is no safetensors file: ${why}`)
}
