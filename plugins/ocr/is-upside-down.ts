import type { OnnxSession, OnnxTensor } from '@nebula-experts/sdk/onnx'
import { sliceCrop } from './split-line.ts'

// Size of the classifier's input; its height is the recogniser's, so crops fit.
const WIDTH = 192
const CERTAIN = 0.9

/** Asks the classifier whether a cropped line stands on its head; it looks at the line's start. */
export async function isUpsideDown(
  classifier: OnnxSession,
  crop: OnnxTensor<Float32Array>
): Promise<boolean> {
  const input = sliceCrop(crop, 0, WIDTH)
  const outputs = await classifier.run({ [classifier.inputNames[0]!]: input })
  const [, turned] = outputs[classifier.outputNames[0]!]!.data as Float32Array
  return turned! >= CERTAIN
}
