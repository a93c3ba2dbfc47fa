import { type DecodedImage, ExpertError } from '@nebula-experts/sdk'
import { detectText } from './detect-text.ts'
import { mergeLines } from './merge-lines.ts'
import type { OcrModels } from './ocr-models.ts'
import { recogniseText, type TextLine } from './recognise-text.ts'
import { sortLines } from './sort-lines.ts'

export interface ReadOptions {
  /** Longer side of the picture as it is searched for text, pixels. */
  maxSide: number
  /** Lines less certain than this are left out, 0 to 1. */
  minScore: number
  signal?: AbortSignal
  /** Told after the search and after each line. */
  onProgress?: (fraction: number, note: string) => void
}

/**
 * Finds and reads all lines of text in a picture, rows from top to bottom, each from left to right.
 *
 * @param image - RGB
 * @throws ExpertError EXP_CANCELED when the signal is aborted; it is looked at between lines
 */
export async function readLines(
  models: OcrModels,
  image: DecodedImage,
  options: ReadOptions
): Promise<TextLine[]> {
  const { signal, onProgress } = options
  stopIfAborted(signal)
  const boxes = mergeLines(await detectText(models.detector, image, options.maxSide))
  const lines: TextLine[] = []
  for (const [index, box] of boxes.entries()) {
    onProgress?.((index + 1) / (boxes.length + 1), `line ${index + 1} of ${boxes.length}`)
    stopIfAborted(signal)
    lines.push(await recogniseText(models, image, box))
  }
  return sortLines(lines.filter((line) => line.text !== '' && line.score >= options.minScore))
}

function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw new ExpertError('EXP_CANCELED', 'Reading was cancelled', { cause: signal.reason })
  }
}
