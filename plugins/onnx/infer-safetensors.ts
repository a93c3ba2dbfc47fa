import { ExpertError } from '@nebula-experts/sdk'
import type { OnnxTensor } from '@nebula-experts/sdk/onnx'
import { type DataType, findNonFinite } from './data-types.ts'
import type { Inference } from './infer-json.ts'
import { checkShape, feedsOf, type ModelPorts, matchInputs, matchOutputs } from './model-ports.ts'
import { readSafetensors, type StoredTensor, valuesOf } from './safetensors.ts'

/**
 * The inference that a safetensors file asks for: its tensors are the model's inputs.
 *
 * @param wanted - names of outputs; none for all
 * @throws ExpertError EXP_BAD_INPUT naming the tensor, what was found and what the model wants
 */
export function readInferFile(
  file: Uint8Array,
  wanted: readonly string[],
  ports: ModelPorts
): Inference {
  const stored = readSafetensors(file)
  const names = stored.map((tensor) => tensor.name)
  const places = names.map((name) => `tensor ${JSON.stringify(name)}`)
  const matched = matchInputs(ports.inputs, names, places)
  const feeds = feedsOf(
    matched.map((port, index): [string, OnnxTensor] => {
      const tensor = stored[index]!
      const where = places[index]!
      checkType(where, port.type, tensor)
      const count = checkShape(where, port, tensor.shape)
      const data = valuesOf(where, tensor, port.type, count)
      checkValues(where, port.type, data)
      return [port.name, { data, shape: tensor.shape }]
    })
  )
  const outputs =
    wanted.length === 0
      ? ports.outputs
      : matchOutputs(
          ports.outputs,
          wanted,
          wanted.map(() => 'outputs')
        )
  const text = outputs.find((port) => port.type.file === null)
  if (text !== undefined) {
    throw new ExpertError(
      'EXP_BAD_INPUT',
      `outputs: ${JSON.stringify(text.name)} is strings, which safetensors cannot hold: use /infer`
    )
  }
  return { feeds, outputs }
}

function checkType(where: string, type: DataType, { dtype }: StoredTensor): void {
  if (dtype === type.file) return
  const wanted = type.file ?? 'strings, which safetensors cannot hold: use /infer'
  throw new ExpertError('EXP_BAD_INPUT', `${where}: found dtype ${dtype}, wanted ${wanted}`)
}

function checkValues(where: string, type: DataType, data: OnnxTensor['data']): void {
  const place = findNonFinite(type, data)
  if (place !== -1) {
    throw new ExpertError(
      'EXP_BAD_INPUT',
      `${where}: value ${place} is NaN or infinite, wanted ${type.wanted}`
    )
  }
  if (type.onnx !== 'bool') return
  const wrong = (data as Uint8Array).findIndex((byte) => byte > 1)
  if (wrong === -1) return
  throw new ExpertError(
    'EXP_BAD_INPUT',
    `${where}: value ${wrong} is ${data[wrong]}, wanted 0 or 1`
  )
}
