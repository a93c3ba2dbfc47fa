import type { Box } from '@nebula-experts/sdk/images'

/** What the model says of the cells of one grid. */
export interface NanodetGrid {
  /** Pixels of the canvas that a cell is wide and high. */
  stride: number
  /** Cells in a row. */
  columns: number
  /** Certainty of each class, 0 to 1: [cells, classes] row-major. */
  scores: Float32Array
  /**
   * How likely each side of the box lies 0, 1, 2, … cells from the cell's centre, as logits: [cells, 4, bins]
   * row-major, sides in the order left, top, right, bottom.
   */
  sides: Float32Array
}

/** A box that the model suggests, on its canvas. */
export interface Candidate {
  box: Box
  score: number
  /** Index of the class. */
  label: number
}

/**
 * Turns the output of a NanoDet model into boxes: of each cell the likeliest class, where it is likely enough.
 * Many cells suggest the same object.
 *
 * @param wanted - whether a class counts; what is likeliest to be another class is left out
 */
export function decodeNanodet(
  grids: readonly NanodetGrid[],
  minScore: number,
  wanted: (label: number) => boolean
): Candidate[] {
  const candidates: Candidate[] = []
  for (const { stride, columns, scores, sides } of grids) {
    const cells = columns * columns
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
function meanBin(logits: Float32Array, start: number, bins: number): number {
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
