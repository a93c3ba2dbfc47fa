import type { DecodedImage } from '@nebula-experts/sdk'
import type { OnnxTensor } from '@nebula-experts/sdk/onnx'
import { cropLine } from './crop-line.ts'
import { decodeCtc } from './decode-ctc.ts'
import { isUpsideDown } from './is-upside-down.ts'
import type { OcrModels } from './ocr-models.ts'
import { plainPunctuation } from './plain-punctuation.ts'
import { restoreSpaces } from './restore-spaces.ts'
import { splitLine } from './split-line.ts'
import type { TextBox } from './text-box.ts'

// A line read worse than this is looked at again, in case it does not lie the usual way.
const DOUBTFUL = 0.9
// Higher than wide by this much: the text may run up or down.
const UPRIGHT = 1.5
// And by this much: it hardly is one sign, however certain the model is that it has read one.
const TALL = 4

/** A line of a picture and what it says. */
export interface TextLine {
  box: TextBox
  text: string
  /** Mean certainty of its signs, 0 to 1. */
  score: number
}

/** Reads one line; one that makes little sense as it lies is also read turned. */
export async function recogniseText(
  models: OcrModels,
  image: DecodedImage,
  box: TextBox
): Promise<TextLine> {
  const crop = cropLine(image, box)
  let best = await readCrop(models, crop)
  if (best.score < DOUBTFUL || box.height > TALL * box.width) {
    for (const turned of await turnedBoxes(models, crop, box)) {
      const other = await readCrop(models, cropLine(image, turned))
      if (other.score > best.score) best = other
    }
  }
  return { box, text: best.text.trim(), score: best.score }
}

/** The other ways in which a line may lie. */
async function turnedBoxes(
  models: OcrModels,
  crop: OnnxTensor<Float32Array>,
  box: TextBox
): Promise<TextBox[]> {
  if (box.height < UPRIGHT * box.width) {
    const isTurned = await isUpsideDown(models.classifier, crop)
    return isTurned ? [{ ...box, angle: box.angle + Math.PI }] : []
  }
  const upright = { ...box, width: box.height, height: box.width }
  return [-Math.PI / 2, Math.PI / 2].map((by) => ({ ...upright, angle: box.angle + by }))
}

async function readCrop(
  { recogniser, charset }: OcrModels,
  crop: OnnxTensor<Float32Array>
): Promise<{ text: string; score: number }> {
  const texts: string[] = []
  let [sum, signs] = [0, 0]
  for (const piece of splitLine(crop)) {
    const outputs = await recogniser.run({ [recogniser.inputNames[0]!]: piece })
    const output = outputs[recogniser.outputNames[0]!] as OnnxTensor<Float32Array>
    const decoded = decodeCtc(output.data, charset)
    sum += decoded.score * decoded.steps.length
    signs += decoded.steps.length
    texts.push(restoreSpaces(piece, decoded).trim())
  }
  return { text: plainPunctuation(texts.join(' ')), score: signs === 0 ? 0 : sum / signs }
}
