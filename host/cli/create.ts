import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import type { OnnxSession, OnnxTensor } from '@nebula-experts/sdk/onnx'
import { LEGAL_NAME } from '../registry/plugin-source.ts'
import { EXIT_FAILED } from './exit-codes.ts'
import { expertTemplate } from './expert-template.ts'
import {
  type KnownModel,
  MODEL_TASKS,
  type ModelTask,
  modelTemplate,
  sampleSizes
} from './model-template.ts'

/**
 * Writes the folder of a new expert, which a running host serves as it is.
 * @param folder - its last part is the expert's name; a bare name is put into `plugins/`
 */
export async function create(folder: string): Promise<void> {
  const place = await makeFolder(folder)
  if (place === null) return
  await writeFiles(place.path, expertTemplate(place.name))
  tell(place.path)
}

/**
 * Writes the folder of a model that is served with no code: the model, what is to be known of it, its test.
 * @param folder - as of {@link create}
 * @param options.model - path of the ONNX model, which is copied
 * @param options.task - what pictures are answered with; without it, tensors alone are served
 */
export async function createModel(
  folder: string,
  options: { model: string; task: string | undefined }
): Promise<void> {
  const task = MODEL_TASKS.find((word) => word === options.task)
  if (options.task !== undefined && task === undefined) {
    fail(`'${options.task}' is no task of a model: wanted ${MODEL_TASKS.join(', ')}`)
    return
  }
  let known: KnownModel
  try {
    known = await lookAt(resolve(options.model), task)
  } catch (error) {
    fail((error as Error).message)
    return
  }
  const place = await makeFolder(folder)
  if (place === null) return
  await copyFile(options.model, join(place.path, 'model.onnx'))
  await writeFiles(place.path, modelTemplate(place.name, known, task))
  tell(place.path)
}

async function lookAt(path: string, task: ModelTask | undefined): Promise<KnownModel> {
  // For this command alone: a host never loads a model.
  const { openSession } = await import('@nebula-experts/sdk/onnx')
  const session = await openSession(path)
  try {
    for (const size of sampleSizes(task)) {
      const known = await tryShapes(session, size)
      if (known !== null) return known
    }
    return { inputs: session.inputs, outputs: session.outputs, sample: null }
  } finally {
    await session.release()
  }
}

/** Runs the model on zeros; null when it does not run with open axes of that size. */
async function tryShapes(session: OnnxSession, size: number): Promise<KnownModel | null> {
  // The first axis counts pictures, sentences and the like.
  const shapes = session.inputs.map(({ shape }) =>
    shape.map((own, axis) => own ?? (axis === 0 ? 1 : size))
  )
  try {
    const feeds = session.inputs.map(({ name, type }, index): [string, OnnxTensor] => {
      const shape = shapes[index] as number[]
      return [name, { data: zeros(type, shape), shape }]
    })
    const results = await session.run(Object.fromEntries(feeds))
    const outputs = session.outputs.map((port) => ({
      ...port,
      shape: [...(results[port.name]?.shape ?? port.shape)]
    }))
    return { inputs: session.inputs, outputs, sample: shapes }
  } catch {
    return null
  }
}

const ARRAYS: Record<string, new (count: number) => OnnxTensor['data']> = {
  ...{ float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array },
  ...{ int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array },
  ...{ uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array }
}

function zeros(type: string, shape: readonly number[]): OnnxTensor['data'] {
  const count = shape.reduce((product, size) => product * size, 1)
  const Data = ARRAYS[type]
  return Data === undefined ? new Array<string>(count).fill('') : new Data(count)
}

/** Makes the folder of an expert; says why, and gives null, when it cannot be made. */
async function makeFolder(folder: string): Promise<{ path: string; name: string } | null> {
  const path = /[/\\]/.test(folder) ? resolve(folder) : resolve('plugins', folder)
  const name = path.slice(dirname(path).length + 1)
  if (!LEGAL_NAME.test(name)) {
    fail(`'${name}' is no name of an expert: wanted a letter or digit, then those and . _ -`)
    return null
  }
  try {
    await mkdir(dirname(path), { recursive: true })
    await mkdir(path)
    return { path, name }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    fail(code === 'EEXIST' ? `${relative('', path)} is there already` : message)
    return null
  }
}

async function writeFiles(folder: string, files: Record<string, string>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, file)), { recursive: true })
    await writeFile(join(folder, file), text)
  }
}

function tell(path: string): void {
  const shown = relative('', path)
  process.stdout.write(
    `${shown} is an expert now. A host that watches ${relative('', dirname(path)) || '.'} serves it in a moment; ` +
      `without one: npx nebula-experts serve ./${shown}\n`
  )
}

function fail(message: string): void {
  process.stderr.write(`${message}\n`)
  process.exitCode = EXIT_FAILED
}
