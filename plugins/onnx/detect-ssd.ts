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
import { aroundCentre, type Candidate, detector, detectorKeys } from './detect.ts'

const Settings = Type.Object(
  {
    type: Type.Literal('ssd'),
    outputs: Type.Object(
      {
        boxes: Type.String({ description: '4 values for each box' }),
        scores: Type.String({
          description: 'One for each box where there are classes, else one for each of its classes'
        }),
        classes: Type.Optional(Type.String({ description: 'The class of each box' })),
        count: Type.Optional(Type.String({ description: 'How many boxes there are' }))
      },
      { additionalProperties: false }
    ),
    boxes: Type.Enum(['xyxy', 'yxyx', 'cxcywh'], { default: 'xyxy' }),
    normalised: Type.Boolean({ default: true, description: 'Parts of the canvas, not pixels' }),
    first_class: Type.Integer({
      minimum: 0,
      default: 0,
      description: 'Number of the class that the first label names; lower ones are background'
    }),
    ...detectorKeys
  },
  { additionalProperties: false }
)
type Settings = Static<typeof Settings>

/** Boxes and scores in outputs of their own, as SSD and what follows it give them. */
export const ssd: DecoderKind = { settings: Settings, make }

function make(settings: Settings, model: DecoderModel): Decoder {
  const { boxes, scores, classes, count } = settings.outputs
  const named = Object.entries({ boxes, scores, classes, count }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined
  )
  const outputs = named.map(([key, name]) => outputNamed(model, `outputs.${key}`, name))
  const pick = (items: readonly Item[]) =>
    Object.fromEntries(named.map(([key], index) => [key, items[index]!])) as Record<string, Item>
  const parts = {
    outputs,
    check: (items: readonly Item[]) => checkItems(pick(items), settings, model),
    candidates: (items: readonly Item[], minScore: number) =>
      candidatesOf(pick(items), settings, model, minScore)
  }
  return detector(parts, settings, model)
}

function checkItems(items: Record<string, Item>, settings: Settings, model: DecoderModel): void {
  const boxes = items.boxes!.data.length
  const scores = items.scores!.data.length
  const { classes } = items
  if (boxes % 4 !== 0) {
    throw misfit(`decoder.outputs.boxes: found ${boxes} values, wanted 4 for each box`)
  }
  if (boxes === 0) return
  const each = scores / (boxes / 4)
  const lists = `${boxes / 4} boxes and ${scores} scores`
  if (classes !== undefined) {
    if (each === 1 && classes.data.length === scores) return
    throw misfit(`decoder.outputs: found ${lists}, ${classes.data.length} classes: wanted the same`)
  }
  if (!Number.isInteger(each) || each <= settings.first_class) {
    throw misfit(`decoder.outputs: found ${lists}: wanted a score for each class of each box`)
  }
  checkLabels(model.labels, each - settings.first_class)
}

function candidatesOf(
  { boxes, scores, classes, count }: Record<string, Item>,
  settings: Settings,
  { canvas }: DecoderModel,
  minScore: number
): Candidate[] {
  const { data } = boxes!
  const all = data.length / 4
  const total = Math.min(all, count === undefined ? all : (count.data[0] ?? 0))
  const each = scores!.data.length / Math.max(1, all)
  const [unitX, unitY] = settings.normalised ? [canvas.width, canvas.height] : [1, 1]
  const found: Candidate[] = []
  const add = (index: number, score: number, label: number) => {
    if (score < minScore || label < 0) return
    const box = boxOf(data, index * 4, settings.boxes, unitX, unitY)
    found.push({ box, score, label })
  }
  for (let i = 0; i < total; i += 1) {
    if (classes !== undefined) {
      add(i, scores!.data[i]!, Math.round(classes.data[i]!) - settings.first_class)
      continue
    }
    for (let label = settings.first_class; label < each; label += 1) {
      add(i, scores!.data[i * each + label]!, label - settings.first_class)
    }
  }
  return found
}

function boxOf(
  data: ArrayLike<number>,
  at: number,
  order: Settings['boxes'],
  unitX: number,
  unitY: number
): Box {
  const [a, b, c, d] = [data[at]!, data[at + 1]!, data[at + 2]!, data[at + 3]!]
  if (order === 'yxyx') return [b * unitX, a * unitY, d * unitX, c * unitY]
  if (order === 'xyxy') return [a * unitX, b * unitY, c * unitX, d * unitY]
  return aroundCentre(a * unitX, b * unitY, c * unitX, d * unitY)
}
