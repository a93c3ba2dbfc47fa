import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { availableParallelism } from 'node:os'
import { pipeline } from 'node:stream/promises'
import type { InferenceSession } from 'onnxruntime-node'
import { ExpertError, isExpertError } from './errors.ts'
import { checkFeed, type OnnxPort, type OnnxTensor } from './onnx-tensor.ts'

export { fromHalfFloat, toHalfFloat } from './half-float.ts'
export type { OnnxData, OnnxPort, OnnxTensor } from './onnx-tensor.ts'

type Runtime = typeof import('onnxruntime-node')

export interface OpenSessionOptions {
  /** Threads of one operator. Default: `NEBULA_ONNX_THREADS`, which the host sets, else all cores. */
  threads?: number
  /** Further options of onnxruntime's `InferenceSession.create`; they win over the defaults here. */
  options?: Record<string, unknown>
  /** Gives the `onnxruntime-node` module, for a plugin that brings its own copy. */
  runtime?: () => Promise<unknown>
}

/** An open model. Its runs wait for each other: one model never computes twice at a time. */
export interface OnnxSession {
  /** Path of the model, or `model of <n> bytes`. */
  readonly model: string
  /** SHA-256 of the model file, hexadecimal. */
  readonly sha256: string
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly inputs: readonly OnnxPort[]
  readonly outputs: readonly OnnxPort[]
  /**
   * Computes outputs, all or those that are named. The call blocks this process's event loop while it
   * computes.
   *
   * @throws ExpertError EXP_MODEL when a feed does not fit, the run fails or the session is released
   */
  run(
    feeds: Record<string, OnnxTensor>,
    outputs?: readonly string[]
  ): Promise<Record<string, OnnxTensor>>
  /** Runs once and drops the outputs: the first run of a shape is the slow one. Gives milliseconds. */
  warmUp(feeds: Record<string, OnnxTensor>): Promise<number>
  /** Gives the native memory back, after the runs already asked for. May be called again. */
  release(): Promise<void>
}

/**
 * Opens an ONNX model with `onnxruntime-node`, which is loaded now and not before.
 *
 * @param model - path of the model file, or its bytes
 * @throws ExpertError EXP_MODEL when the package is missing or the model cannot be read
 */
export async function openSession(
  model: string | Uint8Array,
  options: OpenSessionOptions = {}
): Promise<OnnxSession> {
  const name = typeof model === 'string' ? model : `model of ${model.byteLength} bytes`
  const runtime = await loadRuntime(options.runtime)
  const sha256 = await hashModel(model, name)
  const settings = {
    intraOpNumThreads: options.threads ?? defaultThreads(),
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    ...options.options
  } as InferenceSession.SessionOptions
  try {
    // A path is handed on as one, because weights in files of their own are looked up beside it.
    const native = await (typeof model === 'string'
      ? runtime.InferenceSession.create(model, settings)
      : runtime.InferenceSession.create(model, settings))
    return await wrapSession(runtime, native, name, sha256)
  } catch (cause) {
    if (isExpertError(cause)) throw cause
    throw new ExpertError('EXP_MODEL', `Cannot open ${name}: ${messageOf(cause)}`, { cause })
  }
}

async function wrapSession(
  runtime: Runtime,
  native: InferenceSession,
  model: string,
  sha256: string
): Promise<OnnxSession> {
  const inputs = native.inputMetadata.map(toPort)
  const outputs = native.outputMetadata.map(toPort)
  if (outputs.some((port) => port.name === '__proto__')) {
    // The runtime collects outputs in plain objects, where this name is taken.
    await native.release()
    throw new ExpertError(
      'EXP_MODEL',
      `${model} has an output '__proto__', which cannot be fetched: rename it`
    )
  }
  let last: Promise<unknown> = Promise.resolve()
  let released: Promise<void> | undefined

  async function compute(
    feeds: Record<string, OnnxTensor>,
    wanted: readonly string[] | undefined
  ): Promise<Record<string, OnnxTensor>> {
    const unknown = Object.keys(feeds).find((name) => inputs.every((port) => port.name !== name))
    if (unknown !== undefined) {
      const known = inputs.map((port) => `'${port.name}'`).join(', ')
      throw new ExpertError('EXP_MODEL', `${model} has no input '${unknown}', it has ${known}`)
    }
    // Without a prototype: an input may be called __proto__.
    const tensors: Record<string, InstanceType<Runtime['Tensor']>> = Object.create(null)
    for (const port of inputs) {
      const feed = Object.hasOwn(feeds, port.name) ? feeds[port.name] : undefined
      if (feed === undefined) {
        throw new ExpertError('EXP_MODEL', `Input '${port.name}' of ${model} is missing`)
      }
      const type = checkFeed(model, port, feed)
      tensors[port.name] = new runtime.Tensor(type as 'float32', feed.data as Float32Array, [
        ...feed.shape
      ])
    }
    try {
      const results = await native.run(tensors, [...(wanted ?? session.outputNames)])
      return Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [
          name,
          { data: tensor.data, shape: tensor.dims } as OnnxTensor
        ])
      )
    } catch (cause) {
      throw new ExpertError('EXP_MODEL', `${model} failed: ${messageOf(cause)}`, { cause })
    }
  }

  const session: OnnxSession = {
    model,
    sha256,
    inputNames: inputs.map((port) => port.name),
    outputNames: outputs.map((port) => port.name),
    inputs,
    outputs,
    run: async (feeds, wanted) => {
      if (released !== undefined) {
        throw new ExpertError('EXP_MODEL', `${model} was released and cannot run any more`)
      }
      const run = last.then(() => compute(feeds, wanted))
      last = run.catch(() => undefined)
      return run
    },
    warmUp: async (feeds) => {
      const start = performance.now()
      await session.run(feeds)
      return performance.now() - start
    },
    release: () => {
      released ??= last.then(() => native.release())
      return released
    }
  }
  return session
}

async function loadRuntime(given: OpenSessionOptions['runtime']): Promise<Runtime> {
  try {
    return (await (given?.() ?? import('onnxruntime-node'))) as Runtime
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND'
    throw new ExpertError(
      'EXP_MODEL',
      missing
        ? "Package 'onnxruntime-node' is not installed. Run: npm install onnxruntime-node"
        : `Package 'onnxruntime-node' cannot be loaded: ${messageOf(cause)}`,
      { cause }
    )
  }
}

async function hashModel(model: string | Uint8Array, name: string): Promise<string> {
  const hash = createHash('sha256')
  if (typeof model !== 'string') return hash.update(model).digest('hex')
  try {
    await pipeline(createReadStream(model, { highWaterMark: 1 << 20 }), hash)
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    const reason = missing ? 'there is no such file' : messageOf(cause)
    throw new ExpertError('EXP_MODEL', `Cannot open ${name}: ${reason}`, { cause })
  }
  return hash.digest('hex')
}

function defaultThreads(): number {
  const wanted = Number(process.env['NEBULA_ONNX_THREADS'])
  return Number.isInteger(wanted) && wanted >= 1 ? wanted : Math.max(1, availableParallelism())
}

function toPort(meta: InferenceSession.ValueMetadata): OnnxPort {
  if (!meta.isTensor) return { name: meta.name, type: 'not a tensor', shape: [] }
  const shape = meta.shape.map((size) => (typeof size === 'number' ? size : null))
  return { name: meta.name, type: meta.type, shape }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
