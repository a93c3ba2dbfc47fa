import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestedExpert, testExpert } from '@nebula-experts/sdk/testing'
import type { Test } from 'tap'
import OnnxExpert from '../index.ts'
import { type Graph, onnxBytes } from './onnx-bytes.ts'

/** Files beside the model, by name; what is no text is written as JSON. */
type Files = Record<string, unknown>

/** Writes a model and its files into a folder that goes with the test. Gives the model's path. */
export async function writeModel(
  t: Test,
  model: Graph | Uint8Array,
  files: Files = {}
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nebula-onnx-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'model.onnx')
  await writeFile(path, model instanceof Uint8Array ? model : onnxBytes(model))
  for (const [name, value] of Object.entries(files)) {
    await writeFile(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value))
  }
  return path
}

/** Serves a model as the host would. */
export async function serveModel(
  t: Test,
  model: Graph | Uint8Array | string,
  files?: Files
): Promise<TestedExpert<OnnxExpert>> {
  // One thread: test files run side by side.
  process.env.NEBULA_ONNX_THREADS = '1'
  const path = typeof model === 'string' ? model : await writeModel(t, model, files)
  return testExpert(t, OnnxExpert, { name: 'model', config: { ONNX_MODEL: path } })
}

/** The `result` of a picture, which lies at `url`. */
export async function predict(
  expert: TestedExpert<OnnxExpert>,
  url: string,
  extra: Record<string, unknown> = {}
): Promise<any[]> {
  const body = { image_id: 'p', url, extra_params: extra }
  const answer = (await expert.predictImage(body)) as { result: any[] | null; error: string | null }
  if (answer.result === null) throw new Error(`${answer.error}`)
  return answer.result
}
