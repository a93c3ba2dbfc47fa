import { type Static, Type } from '@nebula-experts/sdk'
import {
  type Decoder,
  type DecoderKind,
  type DecoderModel,
  misfit,
  outputNamed
} from './decoder.ts'

const Settings = Type.Object(
  {
    type: Type.Literal('vector', { default: 'vector' }),
    output: Type.Optional(Type.String()),
    normalise: Type.Boolean({ default: true, description: 'Scale the vector to length 1' })
  },
  { additionalProperties: false }
)

/** One vector for each picture. */
export const embedder: DecoderKind = { settings: Settings, make }

function make(settings: Static<typeof Settings>, model: DecoderModel): Decoder {
  return {
    outputs: [outputNamed(model, 'output', settings.output)],
    check: ([item]) => {
      const { data, shape } = item!
      if (shape.includes(data.length)) return
      const found = `[${shape.join(', ')}] for each picture`
      throw misfit(`decoder.output: found ${found}, wanted one vector`)
    },
    read: ([item]) => {
      const values = Array.from(item!.data)
      const sum = settings.normalise ? values.reduce((total, value) => total + value * value, 0) : 1
      const length = Math.sqrt(sum)
      const embedding = length === 0 ? values : values.map((value) => value / length)
      return [{ label: null, score: null, bbox: null, facts: null, embedding }]
    }
  }
}
