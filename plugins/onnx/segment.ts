import { type Static, Type } from '@nebula-experts/sdk'
import {
  checkLabels,
  type Decoder,
  type DecoderKind,
  type DecoderModel,
  type Finding,
  type Item,
  labelOf,
  misfit,
  outputNamed,
  rounded,
  type Seen,
  sigmoid
} from './decoder.ts'
import { maskPng } from './mask-png.ts'

const Settings = Type.Object(
  {
    type: Type.Enum(['softmax', 'logits', 'sigmoid', 'classes'], {
      default: 'softmax',
      description:
        'Values of each class are probabilities (softmax), or become such (logits, sigmoid); classes: the output is the class of each place'
    }),
    output: Type.Optional(Type.String()),
    layout: Type.Optional(
      Type.Enum(['CHW', 'HWC'], {
        description: 'Default: CHW unless the last axis is the shortest'
      })
    ),
    background_class: Type.Optional(
      Type.Integer({ minimum: 0, description: 'The class that is not told of' })
    ),
    min_score: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 0.5,
      description: 'Places that are less certain belong to no class'
    }),
    top_k: Type.Integer({ minimum: 1, maximum: 1000, default: 100 })
  },
  { additionalProperties: false }
)
type Settings = Static<typeof Settings>

/** What class each place of a picture is of: a record and a mask for each class that is there. */
export const segmenter: DecoderKind = { settings: Settings, make }

const NONE = -1

function make(settings: Settings, model: DecoderModel): Decoder {
  const { labels } = model
  return {
    outputs: [outputNamed(model, 'output', settings.output)],
    check: ([item]) => {
      const { classes } = planesOf(item!, settings)
      if (settings.type !== 'classes') checkLabels(labels, classes)
    },
    read: ([item], seen, { min_score = settings.min_score, top_k = settings.top_k }) => {
      const cells = classify(item!, settings, min_score)
      const places = placesOf(cells, seen, model.canvas)
      return [...new Set(cells.classes)]
        .filter((index) => index !== NONE && index !== settings.background_class)
        .map((index) => findingOf(index, cells, places, seen, labels))
        .filter((finding): finding is Finding => finding !== null)
        .sort((a, b) => (b.facts!.share as number) - (a.facts!.share as number))
        .slice(0, top_k)
    }
  }
}

interface Planes {
  classes: number
  width: number
  height: number
  /** From one class to the next, and from one place to the next. */
  classStep: number
  placeStep: number
}

function planesOf({ shape }: Item, { type, layout }: Settings): Planes {
  // Without an axis of classes there is one class, or the values are the classes.
  const axes = shape.length === 2 ? [1, ...shape] : [...shape]
  const [a, b, c] = axes as [number, number, number]
  if (axes.length !== 3 || axes.includes(0)) {
    const found = `[${shape.join(', ')}] for each picture`
    throw misfit(`decoder.output: found ${found}, wanted classes, height and width`)
  }
  const isLast = layout === undefined ? c < a && c < b : layout === 'HWC'
  const planes = isLast
    ? { classes: c, height: a, width: b, classStep: 1, placeStep: c }
    : { classes: a, height: b, width: c, classStep: b * c, placeStep: 1 }
  if (type === 'classes' && planes.classes !== 1) {
    throw misfit(`decoder.type: classes wants one value for each place, found ${planes.classes}`)
  }
  return planes
}

interface Cells {
  width: number
  height: number
  /** Class of each cell, or {@link NONE}. */
  classes: Int32Array
  scores: Float32Array
}

function classify(item: Item, settings: Settings, minScore: number): Cells {
  const { width, height, ...planes } = planesOf(item, settings)
  const count = width * height
  const classes = new Int32Array(count)
  const scores = new Float32Array(count)
  for (let i = 0; i < count; i += 1) {
    const at = i * planes.placeStep
    if (settings.type === 'classes') {
      classes[i] = Math.round(item.data[at]!)
      scores[i] = 1
      continue
    }
    let label = 0
    let best = item.data[at]!
    for (let k = 1; k < planes.classes; k += 1) {
      const value = item.data[at + k * planes.classStep]!
      if (value > best) {
        best = value
        label = k
      }
    }
    const score = scoreOf(best, item.data, at, planes, settings.type)
    classes[i] = score >= minScore ? label : NONE
    scores[i] = score
  }
  return { width, height, classes, scores }
}

function scoreOf(
  best: number,
  data: ArrayLike<number>,
  at: number,
  { classes, classStep }: Pick<Planes, 'classes' | 'classStep'>,
  type: Settings['type']
): number {
  if (type === 'softmax') return best
  if (type === 'sigmoid' || classes === 1) return sigmoid(best)
  let sum = 0
  for (let k = 0; k < classes; k += 1) sum += Math.exp(data[at + k * classStep]! - best)
  return 1 / sum
}

/** Column and row of cells in which each column and row of the picture lies; {@link NONE} beyond them. */
interface Places {
  columns: Int32Array
  rows: Int32Array
}

function placesOf(
  { width, height }: Cells,
  { placement, ...picture }: Seen,
  canvas: DecoderModel['canvas']
): Places {
  const columns = new Int32Array(picture.width)
  const rows = new Int32Array(picture.height)
  const [left, top, right, bottom] = placement.toCanvas([0, 0, picture.width, picture.height])
  const place = (at: number, of: number, from: number, to: number, side: number, cells: number) => {
    const cell = Math.floor(((from + ((at + 0.5) / of) * (to - from)) / side) * cells)
    return cell >= 0 && cell < cells ? cell : NONE
  }
  for (let x = 0; x < columns.length; x += 1) {
    columns[x] = place(x, columns.length, left, right, canvas.width, width)
  }
  for (let y = 0; y < rows.length; y += 1) {
    rows[y] = place(y, rows.length, top, bottom, canvas.height, height)
  }
  return { columns, rows }
}

function findingOf(
  index: number,
  cells: Cells,
  { columns, rows }: Places,
  { width, height }: Seen,
  labels: readonly string[] | null
): Finding | null {
  const line = Math.ceil(width / 8)
  const mask = new Uint8Array(line * height)
  const box = { left: width, top: height, right: 0, bottom: 0 }
  let [pixels, total] = [0, 0]
  // Rows of the picture that lie in one row of cells look the same.
  let last = { row: NONE, pixels: 0, total: 0 }
  for (let y = 0; y < height; y += 1) {
    const row = rows[y]!
    if (row === NONE) continue
    if (row === last.row) mask.copyWithin(y * line, (y - 1) * line, y * line)
    else last = { row, ...drawRow(mask, y * line, index, cells, row, columns, box) }
    if (last.pixels === 0) continue
    pixels += last.pixels
    total += last.total
    box.top = Math.min(box.top, y)
    box.bottom = y + 1
  }
  if (pixels === 0) return null
  const score = rounded(total / pixels)
  const png = maskPng(mask, width, height).toString('base64')
  return {
    label: labelOf(labels, index),
    score,
    bbox: [box.left, box.top, box.right, box.bottom],
    facts: {
      ...{ class: index, score },
      share: rounded(pixels / (width * height)),
      mask: `data:image/png;base64,${png}`
    }
  }
}

function drawRow(
  mask: Uint8Array,
  from: number,
  index: number,
  cells: Cells,
  row: number,
  columns: Int32Array,
  box: { left: number; right: number }
): { pixels: number; total: number } {
  let [pixels, total] = [0, 0]
  for (let x = 0; x < columns.length; x += 1) {
    const column = columns[x]!
    if (column === NONE) continue
    const cell = row * cells.width + column
    if (cells.classes[cell] !== index) continue
    mask[from + (x >> 3)]! |= 0x80 >> (x & 7)
    pixels += 1
    total += cells.scores[cell]!
    box.left = Math.min(box.left, x)
    box.right = Math.max(box.right, x + 1)
  }
  return { pixels, total }
}
