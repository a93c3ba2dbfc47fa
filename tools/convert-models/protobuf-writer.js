/**
 * One protobuf message as it is written: fields are appended in the order of the calls, so the same
 * calls give the same bytes.
 */
export class ProtobufWriter {
  /** @type {Uint8Array[]} */
  #parts = []

  /**
   * @param {number} field
   * @param {number | bigint} value a whole number; negative ones are written in 64 bits
   */
  integer(field, value) {
    this.#parts.push(varint(field << 3), varint(BigInt.asUintN(64, BigInt(value))))
    return this
  }

  /** @param {number} field @param {number} value */
  float(field, value) {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setFloat32(0, value, true)
    this.#parts.push(varint((field << 3) | 5), bytes)
    return this
  }

  /** @param {number} field @param {Uint8Array} value */
  bytes(field, value) {
    this.#parts.push(varint((field << 3) | 2), varint(value.length), value)
    return this
  }

  /** @param {number} field @param {string} value */
  text(field, value) {
    return this.bytes(field, new TextEncoder().encode(value))
  }

  /** @param {number} field @param {ProtobufWriter} value */
  message(field, value) {
    return this.bytes(field, value.finish())
  }

  /** @returns {Uint8Array} */
  finish() {
    return Buffer.concat(this.#parts)
  }
}

/** @param {number | bigint} value at least 0 */
function varint(value) {
  const bytes = []
  let rest = BigInt(value)
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  bytes.push(Number(rest))
  return Uint8Array.from(bytes)
}
