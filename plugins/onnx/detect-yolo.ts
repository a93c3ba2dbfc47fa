import { type Static, Type } from '@nebula-experts/sdk'
import {
  checkLabels,
  type Decoder,
  type DecoderKind,
  type DecoderModel,
  type Item,
  misfit,
  outputNamed
} from './decoder.ts'
import { aroundCentre, type Candidate, detector, detectorKeys } from './detect.ts'

// The YOLO family: one output with a row for each suggested box.

const settingsOf = <T extends string>(type: T) =>
  Type.Object(
    {
      type: Type.Literal(type),
      output: Type.Optional(Type.String()),
      normalised: Type.Boolean({
        default: false,
        description: 'Boxes are parts of the canvas, 0 to 1, not pixels'
      }),
      ...detectorKeys
    },
    { additionalProperties: false }
  )

/** Rows of `x, y, width, height, objectness` and the classes, of which each counts times objectness. */
const V5 = settingsOf('yolov5')
export const yolov5: DecoderKind = { settings: V5, make: makeV5 }

function makeV5(settings: Static<typeof V5>, model: DecoderModel): Decoder {
  const unit = unitOf(settings.normalised, model)
  return rowDetector(settings, model, 5, (rows, at, width, minScore) => {
    const objectness = rows[at + 4]!
    if (objectness < minScore) return null
    const { label, score } = best(rows, at + 5, width - 5, 1)
    const total = score * objectness
    if (total < minScore) return null
    return { box: boxAt(rows, at, 1, unit), score: total, label }
  })
}

/** Columns of `x, y, width, height` and the classes: the transposed table, without objectness. */
const V8 = settingsOf('yolov8')
export const yolov8: DecoderKind = { settings: V8, make: makeV8 }

function makeV8(settings: Static<typeof V8>, model: DecoderModel): Decoder {
  const { labels } = model
  const unit = unitOf(settings.normalised, model)
  const measure = ({ shape }: Item) => {
    const [first, second] = tableOf(shape)
    const wanted = labels === null ? Math.min(first, second) : labels.length + 4
    const isColumns = labels === null ? first <= second : first === wanted
    const width = isColumns ? first : second
    return { isColumns, width, count: isColumns ? second : first }
  }
  const parts = {
    outputs: [outputNamed(model, 'output', settings.output)],
    check: ([item]: readonly Item[]) => {
      const { width } = measure(item!)
      if (width < 5) throw misfit(`decoder.type: yolov8 wants 4 + classes, found ${width}`)
      checkLabels(labels, width - 4)
    },
    candidates: ([item]: readonly Item[], minScore: number) => {
      const { isColumns, width, count } = measure(item!)
      const { data } = item!
      const step = isColumns ? count : 1
      const found: Candidate[] = []
      for (let i = 0; i < count; i += 1) {
        const at = isColumns ? i : i * width
        const { label, score } = best(data, at + 4 * step, width - 4, step)
        if (score >= minScore) found.push({ box: boxAt(data, at, step, unit), score, label })
      }
      return found
    }
  }
  return detector(parts, settings, model)
}

const X = Type.Object(
  {
    type: Type.Literal('yolox'),
    output: Type.Optional(Type.String()),
    strides: Type.Array(Type.Integer({ minimum: 1 }), {
      minItems: 1,
      default: [8, 16, 32],
      description: 'Pixels of a cell of each grid, in the order of the rows'
    }),
    ...detectorKeys
  },
  { additionalProperties: false }
)
/** Rows as of yolov5, whose boxes are told from the cell of a grid: centre by offset, size by exponent. */
export const yolox: DecoderKind = { settings: X, make: makeX }

function makeX(settings: Static<typeof X>, model: DecoderModel): Decoder {
  const cells = gridCells(model.canvas, settings.strides)
  const rowCells = cells.length / 3
  return rowDetector(
    settings,
    model,
    5,
    (rows, at, width, minScore) => {
      const { label, score } = best(rows, at + 5, width - 5, 1)
      const total = score * rows[at + 4]!
      if (total < minScore) return null
      const cell = (at / width) * 3
      const stride = cells[cell + 2]!
      const box = aroundCentre(
        (rows[at]! + cells[cell]!) * stride,
        (rows[at + 1]! + cells[cell + 1]!) * stride,
        Math.exp(rows[at + 2]!) * stride,
        Math.exp(rows[at + 3]!) * stride
      )
      return { box, score: total, label }
    },
    (count) => {
      if (count === rowCells) return
      const grids = `grids of ${settings.strides.join(', ')} pixels have ${rowCells} cells`
      throw misfit(`decoder.strides: ${grids}, the output has ${count} rows`)
    }
  )
}

/** x, y and stride of each cell of all grids. */
function gridCells({ width, height }: DecoderModel['canvas'], strides: number[]): number[] {
  const cells: number[] = []
  for (const stride of strides) {
    for (let y = 0; y < Math.floor(height / stride); y += 1) {
      for (let x = 0; x < Math.floor(width / stride); x += 1) cells.push(x, y, stride)
    }
  }
  return cells
}

/** Rows of `left, top, right, bottom, score, class`, of which overlapping ones are dropped already. */
const V10 = settingsOf('yolov10')
export const yolov10: DecoderKind = { settings: V10, make: makeV10 }

function makeV10(settings: Static<typeof V10>, model: DecoderModel): Decoder {
  const [unitX, unitY] = unitOf(settings.normalised, model)
  const parts = {
    outputs: [outputNamed(model, 'output', settings.output)],
    isSuppressed: true,
    check: ([item]: readonly Item[]) => {
      const [, width] = tableOf(item!.shape)
      if (width !== 6) {
        throw misfit(`decoder.type: yolov10 wants rows of 6 values, found rows of ${width}`)
      }
    },
    candidates: ([item]: readonly Item[], minScore: number) => {
      const rows = item!.data
      const found: Candidate[] = []
      for (let at = 0; at + 6 <= rows.length; at += 6) {
        const score = rows[at + 4]!
        if (score < minScore || score <= 0) continue
        const label = Math.round(rows[at + 5]!)
        found.push({
          box: [
            rows[at]! * unitX,
            rows[at + 1]! * unitY,
            rows[at + 2]! * unitX,
            rows[at + 3]! * unitY
          ],
          ...{ score, label }
        })
      }
      return found
    }
  }
  return detector(parts, settings, model)
}

type ReadRow = (
  rows: ArrayLike<number>,
  at: number,
  width: number,
  minScore: number
) => Candidate | null

/** A detector of rows that have `before` values in front of the classes. */
function rowDetector(
  settings: { output?: string; min_score: number; iou: number; top_k: number; type: string },
  model: DecoderModel,
  before: number,
  readRow: ReadRow,
  checkCount: (count: number) => void = () => {}
): Decoder {
  const parts = {
    outputs: [outputNamed(model, 'output', settings.output)],
    check: ([item]: readonly Item[]) => {
      const [count, width] = tableOf(item!.shape)
      if (width <= before) {
        const wanted = `rows of ${before} values and the classes`
        throw misfit(`decoder.type: ${settings.type} wants ${wanted}, found rows of ${width}`)
      }
      checkLabels(model.labels, width - before)
      checkCount(count)
    },
    candidates: ([item]: readonly Item[], minScore: number) => {
      const { data, shape } = item!
      const [, width] = tableOf(shape)
      const found: Candidate[] = []
      for (let at = 0; at + width <= data.length; at += width) {
        const candidate = readRow(data, at, width, minScore)
        if (candidate !== null) found.push(candidate)
      }
      return found
    }
  }
  return detector(parts, settings, model)
}

function tableOf(shape: readonly number[]): [rows: number, width: number] {
  const [rows, width] = shape
  if (shape.length === 2) return [rows!, width!]
  throw misfit(
    `decoder.output: found [${shape.join(', ')}] for each picture, wanted a table of boxes`
  )
}

function unitOf(normalised: boolean, { canvas }: DecoderModel): [number, number] {
  return normalised ? [canvas.width, canvas.height] : [1, 1]
}

function boxAt(data: ArrayLike<number>, at: number, step: number, unit: [number, number]) {
  return aroundCentre(
    data[at]! * unit[0],
    data[at + step]! * unit[1],
    data[at + 2 * step]! * unit[0],
    data[at + 3 * step]! * unit[1]
  )
}

function best(data: ArrayLike<number>, from: number, classes: number, step: number) {
  let label = 0
  let score = data[from]!
  for (let i = 1; i < classes; i += 1) {
    const value = data[from + i * step]!
    if (value > score) {
      score = value
      label = i
    }
  }
  return { label, score }
}
