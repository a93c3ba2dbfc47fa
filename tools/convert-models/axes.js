// The orders of axes. TensorFlow keeps the colours of a pixel together (NHWC), ONNX whole planes of
// them (NCHW).

/** Turns NHWC into NCHW. */
export const toPlanar = [0, 3, 1, 2]

/** Turns NCHW into NHWC. */
export const toPlain = [0, 2, 3, 1]

/** Axis of an NHWC tensor → axis of the same one as NCHW. */
export const planarAxes = [0, 2, 3, 1]

/**
 * Puts the axes of a tensor into another order.
 *
 * @template {{ shape: number[], data: any }} Tensor
 * @param {Tensor} tensor row-major
 * @param {number[]} order for each axis of the result the axis it is in the tensor
 * @returns {Tensor}
 */
export function permute(tensor, order) {
  const { shape, data } = tensor
  const steps = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1))
  const turned = order.map((axis) => shape[axis])
  const result = new data.constructor(data.length)
  const at = order.map(() => 0)
  for (let i = 0; i < result.length; i += 1) {
    result[i] = data[at.reduce((sum, index, axis) => sum + index * steps[order[axis]], 0)]
    for (let axis = at.length - 1; axis >= 0; axis -= 1) {
      at[axis] += 1
      if (at[axis] < turned[axis]) break
      at[axis] = 0
    }
  }
  return { ...tensor, shape: turned, data: result }
}
