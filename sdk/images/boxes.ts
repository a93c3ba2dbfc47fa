import type { Box } from './placement.ts'

/** Area that two boxes share, as a part of the area that both cover: 0 to 1. */
export function intersectionOverUnion(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0])
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1])
  if (width <= 0 || height <= 0) return 0
  const shared = width * height
  return shared / (areaOf(a) + areaOf(b) - shared)
}

/** What {@link nonMaxSuppression} needs to know of a detection. */
export interface ScoredBox {
  box: Box
  score: number
  /** Of what class it is; boxes of different classes do not suppress each other. */
  label?: unknown
}

export interface SuppressionOptions {
  /** Boxes that overlap a better one by more are dropped, 0 to 1. Default: 0.5. */
  iou?: number
  /** Only boxes of one `label` suppress each other. Default: true. */
  perClass?: boolean
  /** Most boxes to keep. Default: all. */
  limit?: number
}

/** Keeps the best of boxes that overlap. Gives them by score, the best first; the list is left as it is. */
export function nonMaxSuppression<T extends ScoredBox>(
  detections: readonly T[],
  { iou = 0.5, perClass = true, limit = Infinity }: SuppressionOptions = {}
): T[] {
  const kept: T[] = []
  for (const candidate of [...detections].sort((a, b) => b.score - a.score)) {
    if (kept.length >= limit) break
    const isCovered = kept.some(
      (better) =>
        (!perClass || better.label === candidate.label) &&
        intersectionOverUnion(better.box, candidate.box) > iou
    )
    if (!isCovered) kept.push(candidate)
  }
  return kept
}

function areaOf([left, top, right, bottom]: Box): number {
  return Math.max(0, right - left) * Math.max(0, bottom - top)
}
