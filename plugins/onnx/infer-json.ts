import { ExpertError, type Static, Type } from '@nebula-experts/sdk'
import type { OnnxTensor } from '@nebula-experts/sdk/onnx'
import { dataTypes } from './data-types.ts'
import type { Port } from './model-ports.ts'
import { checkShape, feedsOf, type ModelPorts, matchInputs, matchOutputs } from './model-ports.ts'

// Tensors as JSON, in the words of the Open Inference Protocol, version 2.

const Parameters = Type.Optional(Type.Record(Type.String(), Type.Unknown()))

/** Body of `POST /infer`. The model's own names, types and shapes are checked by {@link readInfer}. */
export const InferBody = Type.Object(
  {
    id: Type.Optional(Type.String({ description: 'Comes back in the answer' })),
    parameters: Parameters,
    inputs: Type.Array(
      Type.Object({
        name: Type.String(),
        shape: Type.Array(Type.Integer()),
        datatype: Type.String({ examples: dataTypes.map((type) => type.wire) }),
        data: Type.Unknown({
          description: 'A list of the values, row by row, or lists of lists as the shape says'
        }),
        parameters: Parameters
      }),
      { description: 'Each of the inputs that GET /model lists, once' }
    ),
    outputs: Type.Optional(
      Type.Array(Type.Object({ name: Type.String(), parameters: Parameters }), {
        description: 'Those that are wanted, in their order; default: all'
      })
    )
  },
  { description: 'Tensors, as the Open Inference Protocol V2 writes them' }
)
export type InferBody = Static<typeof InferBody>

/** One tensor of an answer. */
export const InferOutput = Type.Object({
  name: Type.String(),
  datatype: Type.String(),
  shape: Type.Array(Type.Integer()),
  data: Type.Unknown({ description: 'The values, row by row' }),
  parameters: Type.Optional(
    Type.Object({
      non_finite: Type.Integer({
        description: 'Values that are NaN or infinite, which JSON cannot say: they are null'
      })
    })
  )
})
type InferOutput = Static<typeof InferOutput>

/** Answer of `POST /infer`. */
export const InferAnswer = Type.Object({
  model_name: Type.String(),
  model_version: Type.String(),
  id: Type.Optional(Type.String()),
  outputs: Type.Array(InferOutput)
})

/** What a request asks for: tensors by input, and the outputs to compute. */
export interface Inference {
  feeds: Record<string, OnnxTensor>
  outputs: Port[]
}

/** @throws ExpertError EXP_BAD_INPUT naming the field, what was found and what the model wants */
export function readInfer(body: InferBody, ports: ModelPorts): Inference {
  const names = body.inputs.map((input) => input.name)
  const matched = matchInputs(ports.inputs, names, placesOf('inputs', names))
  const feeds = feedsOf(
    matched.map((port, index): [string, OnnxTensor] => [
      port.name,
      readTensor(`inputs[${index}]`, port, body.inputs[index]!)
    ])
  )
  const wanted = body.outputs?.map((output) => output.name)
  if (wanted === undefined || wanted.length === 0) return { feeds, outputs: ports.outputs }
  return { feeds, outputs: matchOutputs(ports.outputs, wanted, placesOf('outputs', wanted)) }
}

function placesOf(list: string, names: readonly string[]): string[] {
  return names.map((_, index) => `${list}[${index}].name`)
}

function readTensor(where: string, port: Port, input: InferBody['inputs'][number]): OnnxTensor {
  const { type } = port
  if (input.datatype !== type.wire) {
    throw wrong(
      `${where}.datatype`,
      JSON.stringify(input.datatype),
      `${type.wire}: input ${JSON.stringify(port.name)} is that`
    )
  }
  const count = checkShape(`${where}.shape`, port, input.shape)
  const values = flatten(`${where}.data`, input.data, input.shape, count)
  const data = type.make(count) as (number | bigint | string)[]
  for (let i = 0; i < count; i += 1) {
    const value = type.fromJson(values[i])
    if (value === undefined) {
      const found = JSON.stringify(values[i])?.slice(0, 60)
      const note = values[i] === null ? ' (NaN and infinite numbers are not taken)' : ''
      throw wrong(`${where}.data[${i}]`, `${found}${note}`, `${type.wire}: ${type.wanted}`)
    }
    data[i] = value
  }
  return { data: data as unknown as OnnxTensor['data'], shape: input.shape }
}

/** The values as one list: it was one, or its lists nest as the shape says. */
function flatten(
  where: string,
  data: unknown,
  shape: readonly number[],
  count: number
): readonly unknown[] {
  if (!Array.isArray(data)) throw wrong(where, typeof data, `a list of ${count} values`)
  if (!Array.isArray(data[0])) {
    if (data.length === count) return data
    throw wrong(where, `${data.length} values`, `${count}, as its shape says`)
  }
  const flat: unknown[] = []
  const walk = (list: unknown, axis: number, place: string): void => {
    if (!Array.isArray(list) || list.length !== shape[axis]) {
      const found = Array.isArray(list) ? `a list of ${list.length}` : typeof list
      throw wrong(place, found, `a list of ${shape[axis]}, as its shape says`)
    }
    if (axis === shape.length - 1) {
      for (const value of list) flat.push(value)
      return
    }
    for (const [index, item] of list.entries()) walk(item, axis + 1, `${place}[${index}]`)
  }
  if (shape.length === 0) throw wrong(where, 'lists of lists', 'one value, as its shape says')
  walk(data, 0, where)
  return flat
}

function wrong(where: string, found: string, wanted: string): ExpertError {
  return new ExpertError('EXP_BAD_INPUT', `${where}: found ${found}, wanted ${wanted}`)
}

/** One computed output as JSON can say it. */
export function writeOutput(port: Port, { data, shape }: OnnxTensor): InferOutput {
  const { type } = port
  const values = new Array<unknown>(data.length)
  let missing = 0
  for (let i = 0; i < data.length; i += 1) {
    const value = type.toJson(data[i] as number)
    if (value === null) missing += 1
    values[i] = value
  }
  return {
    name: port.name,
    datatype: type.wire,
    shape: [...shape],
    data: values,
    ...(missing > 0 && { parameters: { non_finite: missing } })
  }
}

/** The most values of an input that are spelled out in an example. */
const EXAMPLE_VALUES = 256

/** {@link InferBody} with the names, types and shapes of a model's own tensors, and a request that it takes. */
export function inferBody(ports: ModelPorts): typeof InferBody {
  const list = (all: readonly Port[]) =>
    all.map((port) => `\`${port.name}\` ${shown(port)}`).join(', ')
  const description = `Inputs: ${list(ports.inputs)}. Outputs: ${list(ports.outputs)}.`
  const inputs = ports.inputs.map(({ name, type, shape }) => {
    const sizes = shape.map((size) => size ?? 1)
    const count = sizes.reduce((product, size) => product * size, 1)
    const [zero] = type.make(1) as (number | bigint | string)[]
    const value = type.toJson((zero ?? '') as number)
    return { name, datatype: type.wire, shape: sizes, count, value }
  })
  const isShort = inputs.every(({ count }) => count <= EXAMPLE_VALUES)
  const example = {
    inputs: inputs.map(({ count, value, ...input }) => ({
      ...input,
      data: Array(count).fill(value)
    }))
  }
  const about = { description, ...(isShort && { examples: [example] }) }
  return { ...InferBody, ...about } as typeof InferBody
}

function shown({ type, shape }: Port): string {
  return `${type.wire} [${shape.map((size) => size ?? -1).join(', ')}]`
}

/** JSON Schema of the requests that this model takes, for `GET /model`. */
export function requestSchema(ports: ModelPorts): object {
  const inputs = ports.inputs.map(({ name, type, shape }) => ({
    type: 'object',
    required: ['name', 'shape', 'datatype', 'data'],
    properties: {
      name: { const: name },
      datatype: { const: type.wire },
      shape:
        shape.length === 0
          ? { type: 'array', items: { type: 'integer', minimum: 1 } }
          : {
              type: 'array',
              prefixItems: shape.map((size) =>
                size === null ? { type: 'integer', minimum: 1 } : { const: size }
              ),
              minItems: shape.length,
              maxItems: shape.length
            },
      data: { type: 'array', description: `Each ${type.wanted}` }
    }
  }))
  return {
    type: 'object',
    required: ['inputs'],
    properties: {
      id: { type: 'string' },
      inputs: {
        type: 'array',
        items: { oneOf: inputs },
        minItems: inputs.length,
        maxItems: inputs.length
      },
      outputs: {
        type: 'array',
        items: {
          type: 'object',
          required: ['name'],
          properties: { name: { enum: ports.outputs.map((port) => port.name) } }
        }
      }
    }
  }
}
