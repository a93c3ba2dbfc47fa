import { type Static, Type } from '@nebula-experts/sdk'
import {
  checkLabels,
  type Decoder,
  type DecoderKind,
  type DecoderModel,
  type Item,
  labelOf,
  misfit,
  outputNamed,
  rounded,
  sigmoid
} from './decoder.ts'

const Settings = Type.Object(
  {
    type: Type.Enum(['softmax', 'logits', 'sigmoid'], {
      default: 'softmax',
      description:
        'softmax: the output is probabilities; logits: they are made of it; sigmoid: each class by itself'
    }),
    output: Type.Optional(Type.String()),
    min_score: Type.Number({ minimum: 0, maximum: 1, default: 0 }),
    top_k: Type.Integer({ minimum: 1, maximum: 1000, default: 5 })
  },
  { additionalProperties: false }
)

/** One score for each class: the best come first. */
export const classifier: DecoderKind = { settings: Settings, make }

function make(settings: Static<typeof Settings>, model: DecoderModel): Decoder {
  const { labels } = model
  return {
    outputs: [outputNamed(model, 'output', settings.output)],
    check: ([item]) => {
      const { data, shape } = item!
      if (!shape.includes(data.length)) {
        throw misfit(`decoder.output: found ${shapeOf(item!)}, wanted one score for each class`)
      }
      checkLabels(labels, data.length)
    },
    read: ([item], _seen, { min_score = settings.min_score, top_k = settings.top_k }) =>
      scoresOf(item!.data, settings.type)
        .map((score, index) => ({ score: rounded(score), index }))
        .filter(({ score }) => score >= min_score)
        .sort((a, b) => b.score - a.score)
        .slice(0, top_k)
        .map(({ score, index }) => ({
          label: labelOf(labels, index),
          score,
          bbox: null,
          facts: { class: index, score }
        }))
  }
}

function scoresOf(data: ArrayLike<number>, type: Static<typeof Settings>['type']): number[] {
  const values = Array.from(data)
  if (type === 'softmax') return values
  if (type === 'sigmoid') return values.map(sigmoid)
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = values.map((value) => Math.exp(value - most))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / sum)
}

function shapeOf({ shape }: Item): string {
  return `[${shape.join(', ')}] for each picture`
}
