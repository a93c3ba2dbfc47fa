import { Type } from '@nebula-experts/sdk'
import { type Box, nonMaxSuppression } from '@nebula-experts/sdk/images'
import {
  type Decoder,
  type DecoderModel,
  type Finding,
  type Item,
  labelOf,
  rounded,
  type Seen
} from './decoder.ts'

/** A box that a model suggests, on its canvas. */
export interface Candidate {
  box: Box
  score: number
  /** Index of the class. */
  label: number
}

/** Keys that every detector's decoder has. */
export const detectorKeys = {
  min_score: Type.Number({ minimum: 0, maximum: 1, default: 0.25 }),
  iou: Type.Number({
    minimum: 0,
    maximum: 1,
    default: 0.45,
    description: 'Of two boxes of a class that overlap by more, the better is kept'
  }),
  top_k: Type.Integer({ minimum: 1, maximum: 1000, default: 100 })
}

/** What kinds of detectors differ in. */
export interface DetectorParts {
  outputs: readonly string[]
  check(items: readonly Item[]): void
  /** Everything that scores at least `minScore`. */
  candidates(items: readonly Item[], minScore: number): Candidate[]
  /** The model has dropped overlapping boxes itself. */
  isSuppressed?: boolean
}

/** Makes a decoder of what is its own: boxes are suppressed, sorted, cut and brought to the picture. */
export function detector(
  parts: DetectorParts,
  settings: { min_score: number; iou: number; top_k: number },
  { labels }: DecoderModel
): Decoder {
  return {
    outputs: parts.outputs,
    check: (items) => parts.check(items),
    read: (items, seen, wishes) => {
      const found = parts.candidates(items, wishes.min_score ?? settings.min_score)
      const limit = wishes.top_k ?? settings.top_k
      const iou = parts.isSuppressed === true ? 1 : (wishes.iou ?? settings.iou)
      return nonMaxSuppression(found.filter(isBox), { iou, limit }).map((one) =>
        findingOf(one, seen, labels)
      )
    }
  }
}

function isBox({ box: [left, top, right, bottom], score }: Candidate): boolean {
  return right > left && bottom > top && Number.isFinite(right - left + bottom - top + score)
}

function findingOf(
  { box, score, label }: Candidate,
  { placement }: Seen,
  labels: readonly string[] | null
): Finding {
  const shown = rounded(score)
  return {
    label: labelOf(labels, label),
    score: shown,
    bbox: placement.toImage(box).map((side) => Math.round(side * 100) / 100) as Finding['bbox'],
    facts: { class: label, score: shown }
  }
}

/** A box from its centre and size. */
export function aroundCentre(x: number, y: number, width: number, height: number): Box {
  return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
}
