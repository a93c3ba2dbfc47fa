import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { floats, type Graph, onnxBytes } from '../../plugins/onnx/test/onnx-bytes.ts'
import { expertOf, listExperts, pidOf, untilTrue } from '../support/experts.ts'
import { call, makeHome, startHost } from '../support/start-host.ts'

/** A model that adds a number. */
function adder(added: number): Buffer {
  const graph: Graph = {
    inputs: [{ name: 'x', type: 'float32', shape: ['n'] }],
    outputs: [{ name: 'sum', type: 'float32', shape: ['n'] }],
    nodes: [{ op: 'Add', inputs: ['x', 'added'], outputs: ['sum'] }],
    constants: [floats('added', [1], [added])]
  }
  return onnxBytes(graph)
}

const inputs = [{ name: 'x', shape: [2], datatype: 'FP32', data: [1, 2] }]

async function drop(folder: string, model: Uint8Array, settings: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'expert.json'), settings)
  await writeFile(join(folder, 'model.onnx'), model)
}

const statusOf = async (url: string, name: string) =>
  (await listExperts(url)).find((row) => row.name === name)?.status

t.test('a model is dropped in, replaced, survives bad versions, and is removed', async (t) => {
  const { url, home } = await startHost(t)
  const folder = join(home, 'plugins', 'signs')
  const infer = () => call(`${url}/experts/signs/infer`, 'POST', { inputs })
  await drop(folder, adder(1), '{"version":"1"}')
  await untilTrue('the model to serve', async () => (await statusOf(url, 'signs')) === 'ACTIVE')
  t.match(await infer(), {
    status: 200,
    json: { model_name: 'signs', model_version: '1', outputs: [{ name: 'sum', data: [2, 3] }] }
  })
  t.match(await expertOf(url, 'signs'), { version: '1', reason: null })

  const { json: document } = await call(`${url}/experts/signs/openapi.json`, 'GET')
  const documented = document.paths['/infer'].post.requestBody.content['application/json']
  t.match(documented.schema.description, 'Inputs: `x` FP32 [-1]. Outputs: `sum` FP32 [-1].')
  t.match(await call(`${url}/experts/signs/infer`, 'POST', documented.example), {
    json: { outputs: [{ name: 'sum', shape: [1], data: [1] }] }
  })

  const failures: string[] = []
  let last: unknown
  let isCalling = true
  const calling = (async () => {
    while (isCalling) {
      const { status, text, json } = await infer()
      if (status !== 200) failures.push(text)
      else last = json.outputs[0].data[0]
    }
  })()
  t.teardown(() => {
    isCalling = false
  })
  await writeFile(join(folder, 'model.onnx'), adder(10))
  await untilTrue('the new model to answer', () => last === 11)

  const bad: Array<[string, Uint8Array | string, RegExp]> = [
    ['model.onnx', Buffer.from('no model'), /Cannot open .*model\.onnx/],
    ['expert.json', '{"version":', /expert\.json is not usable JSON/]
  ]
  for (const [file, content, reason] of bad) {
    await writeFile(join(folder, file), content)
    await untilTrue(`${reason} to be shown`, async () => {
      return reason.test((await expertOf(url, 'signs')).reason ?? '')
    })
    t.match(await expertOf(url, 'signs'), { status: 'ACTIVE', reason: /the old one serves on/ })
  }
  isCalling = false
  await calling
  t.strictSame(failures, [], 'no call failed')
  t.equal(last, 11)

  const pid = await pidOf(url, 'signs')
  process.kill(pid, 'SIGKILL')
  await untilTrue('another process', async () => {
    const { status, instances } = await expertOf(url, 'signs')
    return status === 'ACTIVE' && instances[0]?.pid !== undefined && instances[0].pid !== pid
  })
  t.equal((await infer()).json.outputs[0].data[0], 11, 'it restarts as itself, whatever lies there')

  await rename(folder, join(home, 'away'))
  await untilTrue('its removal', async () => (await statusOf(url, 'signs')) === 'STOPPED')
  t.match(await infer(), { status: 404, json: { code: 'HOST_EXPERT_ABSENT' } })
})

t.test('entries of the configuration name models beside it', async (t) => {
  const home = await makeHome(t, {
    config: {
      experts: {
        one: { package: 'onnx', env: { ONNX_MODEL: './models/one.onnx' } },
        two: {
          package: 'onnx',
          env: { ONNX_MODEL: './models/two.onnx', ONNX_CONFIG: './models/two.json' }
        },
        none: { package: 'onnx', env: { ONNX_MODEL: './models/none.onnx' } },
        unset: { package: 'onnx' }
      }
    }
  })
  const models = join(home, 'models')
  await mkdir(models)
  await writeFile(join(models, 'one.onnx'), adder(1))
  await writeFile(join(models, 'two.onnx'), adder(2))
  await writeFile(join(models, 'two.json'), '{"version":"two"}')
  const { url } = await startHost(t, { home })
  t.match(await listExperts(url), [
    { name: 'one', status: 'ACTIVE' },
    { name: 'two', status: 'ACTIVE' },
    { name: 'none', reason: /none\.onnx: there is no such file/ },
    { name: 'unset', reason: /There is no model: set ONNX_MODEL/ }
  ])
  const { json } = await call(`${url}/experts/two/infer`, 'POST', { inputs })
  t.match(json, { model_name: 'two', model_version: 'two', outputs: [{ data: [3, 4] }] })
  t.match((await call(`${url}/experts/one/model`, 'GET')).json, {
    name: 'one',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }]
  })
  const wrong = await call(`${url}/experts/one/infer`, 'POST', {
    inputs: [{ ...inputs[0], data: [1] }]
  })
  t.match(wrong, { status: 422, json: { detail: /inputs\[0\]\.data: found 1 values, wanted 2/ } })
  t.match((await call(`${url}/experts/one/infer`, 'POST', { inputs: 5 })).json.detail, [
    { loc: ['body', 'inputs'] }
  ])
  await rm(models, { recursive: true })
})

t.test('a model takes and gives the bytes of safetensors over HTTP', async (t) => {
  const home = await makeHome(t)
  await drop(join(home, 'plugins', 'signs'), adder(0.5), '{}')
  const { url } = await startHost(t, { home })
  const header = '{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
  const length = Buffer.alloc(8)
  length.writeUInt32LE(header.length)
  const values = Buffer.from(Float32Array.of(1, -3).buffer)
  const response = await fetch(`${url}/experts/signs/infer/safetensors`, {
    method: 'POST',
    body: Buffer.concat([length, Buffer.from(header), values])
  })
  t.equal(response.status, 200)
  const bytes = Buffer.from(await response.arrayBuffer())
  const end = 8 + bytes.readUInt32LE(0)
  t.match(JSON.parse(bytes.subarray(8, end).toString()), {
    sum: { dtype: 'F32', shape: [2], data_offsets: [0, 8] }
  })
  t.strictSame([bytes.readFloatLE(end), bytes.readFloatLE(end + 4)], [1.5, -2.5])
  const { json } = await call(`${url}/experts/signs/openapi.json`, 'GET')
  t.ok(
    json.paths['/infer'].post && json.paths['/infer/safetensors'].post && json.paths['/model'].get
  )
})
