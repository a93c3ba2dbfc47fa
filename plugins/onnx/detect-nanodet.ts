import { type Static, Type } from '@nebula-experts/sdk'
import { decodeNanodet } from '@nebula-experts/sdk/images'
import {
  checkLabels,
  type Decoder,
  type DecoderKind,
  type DecoderModel,
  type Item,
  misfit,
  outputNamed
} from './decoder.ts'
import { detector, detectorKeys } from './detect.ts'

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
    candidates: (items: readonly Item[], minScore: number) =>
      decodeNanodet(
        grids.map((grid, index) => ({
          ...grid,
          scores: items[index]!.data,
          sides: items[grids.length + index]!.data
        })),
        minScore
      )
  }
  return detector(parts, settings, model)
}
