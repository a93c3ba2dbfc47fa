import type { ScoredBox } from './boxes.ts'
import type { Box } from './placement.ts'

/** What the model says of the cells of one grid. */
export interface NanodetGrid {
  /** Pixels of the canvas that a cell is wide and high. */
  stride: number
  /** Cells in a row. */
  columns: number
  rows: number
  /** Certainty of each class, 0 to 1: [cells, classes] row-major. */
  scores: ArrayLike<number>
  /**
   * How likely each side of the box lies 0, 1, 2, … cells from the cell's centre, as logits: [cells, 4, bins]
   * row-major, sides in the order left, top, right, bottom.
   */
  sides: ArrayLike<number>
}

/**
 * Turns the outputs of a NanoDet model into boxes: of each cell the likeliest class, where it is likely enough.
 * Many cells suggest the same object: {@link nonMaxSuppression} keeps one of them.
 *
 * @param minScore - 0 to 1
 * @param wanted - whether a class counts; what is likeliest to be another class is left out. Default: all count
 * @returns boxes on the model's canvas, `label` the index of the class
 */
export function decodeNanodet(
  grids: readonly NanodetGrid[],
  minScore: number,
  wanted: (label: number) => boolean = () => true
): Array<ScoredBox & { label: number }> {
  const candidates: Array<ScoredBox & { label: number }> = []
  for (const { stride, columns, rows, scores, sides } of grids) {
    const cells = columns * rows
    const classes = scores.length / cells
    const bins = sides.length / cells / 4
    for (let cell = 0; cell < cells; cell += 1) {
      const start = cell * classes
      let best = -1
      let score = 0
      for (let label = 0; label < classes; label += 1) {
        const other = scores[start + label]!
        if (other > score && other >= minScore) {
          score = other
          best = label
        }
      }
      if (best === -1 || !wanted(best)) continue
      const x = ((cell % columns) + 0.5) * stride
      const y = (Math.floor(cell / columns) + 0.5) * stride
      const away = (side: number) => stride * meanBin(sides, (cell * 4 + side) * bins, bins)
      const box: Box = [x - away(0), y - away(1), x + away(2), y + away(3)]
      candidates.push({ box, score, label: best })
    }
  }
  return candidates
}

/** The mean of a distribution over bins that is given by its logits. */
function meanBin(logits: ArrayLike<number>, start: number, bins: number): number {
  let most = logits[start]!
  for (let bin = 1; bin < bins; bin += 1) most = Math.max(most, logits[start + bin]!)
  let sum = 0
  let weighted = 0
  for (let bin = 0; bin < bins; bin += 1) {
    const weight = Math.exp(logits[start + bin]! - most)
    sum += weight
    weighted += weight * bin
  }
  return weighted / sum
}
