import { type Static, Type } from '@nebula-experts/sdk'
import type { Box } from '@nebula-experts/sdk/images'
import {
  checkLabels,
  type Decoder,
  type DecoderKind,
  type DecoderModel,
  type Item,
  misfit,
  outputNamed
} from './decoder.ts'
import { type Candidate, detector, detectorKeys } from './detect.ts'

const Settings = Type.Object(
  {
    type: Type.Literal('nanodet'),
    outputs: Type.Object(
      {
        scores: Type.Array(Type.String(), { minItems: 1, description: 'One for each grid' }),
        boxes: Type.Array(Type.String(), { minItems: 1, description: 'One for each grid' })
      },
      { additionalProperties: false }
    ),
    strides: Type.Array(Type.Integer({ minimum: 1 }), { minItems: 1, default: [8, 16, 32] }),
    ...detectorKeys
  },
  { additionalProperties: false }
)
type Settings = Static<typeof Settings>

/**
 * Scores of the classes for each cell of several grids, already between 0 and 1, and for each side of its
 * box how likely it lies 0, 1, 2, … cells from the cell's centre.
 */
export const nanodet: DecoderKind = { settings: Settings, make }

function make(settings: Settings, model: DecoderModel): Decoder {
  const { strides, outputs } = settings
  for (const key of ['scores', 'boxes'] as const) {
    if (outputs[key].length === strides.length) continue
    const found = `found ${outputs[key].length}`
    throw misfit(`decoder.outputs.${key}: ${found}, wanted one for each of ${strides.length} grids`)
  }
  const names = (['scores', 'boxes'] as const).flatMap((key) =>
    outputs[key].map((name, index) => outputNamed(model, `outputs.${key}[${index}]`, name))
  )
  const grids = strides.map((stride) => ({
    stride,
    columns: Math.ceil(model.canvas.width / stride),
    rows: Math.ceil(model.canvas.height / stride)
  }))
  const parts = {
    outputs: names,
    check: (items: readonly Item[]) => {
      for (const [index, { stride, columns, rows }] of grids.entries()) {
        const cells = columns * rows
        const scores = items[index]!.data.length / cells
        const bins = items[grids.length + index]!.data.length / cells / 4
        if (!Number.isInteger(scores) || !Number.isInteger(bins) || bins < 2) {
          throw misfit(`decoder.outputs: the grid of ${stride} pixels has not ${cells} cells`)
        }
        checkLabels(model.labels, scores)
      }
    },
    candidates: (items: readonly Item[], minScore: number) => {
      const found: Candidate[] = []
      for (const [index, { stride, columns, rows }] of grids.entries()) {
        const scores = items[index]!.data
        const sides = items[grids.length + index]!.data
        const cells = columns * rows
        const classes = scores.length / cells
        for (let cell = 0; cell < cells; cell += 1) {
          let label = 0
          for (let i = 1; i < classes; i += 1) {
            if (scores[cell * classes + i]! > scores[cell * classes + label]!) label = i
          }
          const score = scores[cell * classes + label]!
          if (score < minScore) continue
          const x = ((cell % columns) + 0.5) * stride
          const y = (Math.floor(cell / columns) + 0.5) * stride
          const bins = sides.length / cells / 4
          found.push({ box: boxAt(sides, cell * bins * 4, bins, stride, x, y), score, label })
        }
      }
      return found
    }
  }
  return detector(parts, settings, model)
}

function boxAt(
  sides: ArrayLike<number>,
  at: number,
  bins: number,
  stride: number,
  x: number,
  y: number
): Box {
  const away = [0, 1, 2, 3].map((side) => stride * expected(sides, at + side * bins, bins)) as [
    number,
    number,
    number,
    number
  ]
  return [x - away[0], y - away[1], x + away[2], y + away[3]]
}

/** The mean place of a distribution that is given by its logits. */
function expected(logits: ArrayLike<number>, from: number, bins: number): number {
  let most = Number.NEGATIVE_INFINITY
  for (let i = 0; i < bins; i += 1) most = Math.max(most, logits[from + i]!)
  let sum = 0
  let weighted = 0
  for (let i = 0; i < bins; i += 1) {
    const power = Math.exp(logits[from + i]! - most)
    sum += power
    weighted += power * i
  }
  return weighted / sum
}
