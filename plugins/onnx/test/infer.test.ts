import { readFile } from 'node:fs/promises'
import { type OnnxTensor, openSession } from '@nebula-experts/sdk/onnx'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import t from 'tap'
import { dataTypes } from '../data-types.ts'
import { readSafetensors, writeSafetensors } from '../safetensors.ts'
import { floats, type Graph, onnxBytes } from './onnx-bytes.ts'
import { type RandomModel, randomModel, seeded } from './random-graphs.ts'
import { serveModel } from './serve-model.ts'

type Expert = Awaited<ReturnType<typeof serveModel>>

const typeOf = (name: string) => dataTypes.find((type) => type.onnx === name)!
const list = (data: OnnxTensor['data']) => [...(data as unknown as Iterable<number>)]

/** What onnxruntime itself gives, by output name. */
async function direct({ graph, feeds }: RandomModel): Promise<Map<string, Tensor>> {
  const session = await InferenceSession.create(onnxBytes(graph), { logSeverityLevel: 3 })
  const tensors = Object.create(null)
  for (const { name, type } of graph.inputs) {
    const { data, shape } = feeds.get(name)!
    tensors[name] = new Tensor(type as 'float32', data as Float32Array, [...shape])
  }
  const results = await session.run(tensors)
  await session.release()
  return new Map(Object.entries(results) as [string, Tensor][])
}

function requestOf({ graph, feeds }: RandomModel, isNested: boolean) {
  return {
    inputs: graph.inputs.map(({ name, type }) => {
      const { data, shape } = feeds.get(name)!
      const { toJson, wire } = typeOf(type)
      const flat = list(data).map(toJson)
      const nest = (values: unknown[], axes: readonly number[]): unknown[] => {
        if (axes.length <= 1) return values
        const part = values.length / axes[0]!
        return Array.from({ length: axes[0]! }, (_, i) =>
          nest(values.slice(i * part, (i + 1) * part), axes.slice(1))
        )
      }
      return { name, shape, datatype: wire, data: isNested ? nest(flat, shape) : flat }
    })
  }
}

const infer = (expert: Expert, body: unknown) =>
  expert.request('POST', '/infer', { body }) as Promise<{ status: number; value: any }>

async function inferFile(expert: Expert, file: Uint8Array, outputs?: string[]) {
  const querystring = outputs === undefined ? {} : { outputs }
  const parts = { files: { file }, querystring }
  const { value } = await expert.request('POST', '/infer/safetensors', parts)
  return readSafetensors(await readFile((value as { path: string }).path))
}

t.test('any model: JSON and safetensors both answer what onnxruntime does', async (t) => {
  let inFiles = 0
  const seen = new Set<string>()
  for (let seed = 1; seed <= 60; seed += 1) {
    const model = randomModel(seeded(seed))
    const wanted = await direct(model)
    const expert = await serveModel(t, model.graph)
    const { value } = await infer(expert, requestOf(model, seed % 2 === 0))
    const names = model.graph.outputs.map((output) => output.name)
    t.same(
      value.outputs.map((output: any) => output.name),
      names,
      `seed ${seed}`
    )
    for (const output of value.outputs) {
      const { type, dims, data } = wanted.get(output.name)!
      const { wire, toJson } = typeOf(type)
      seen.add(wire)
      t.strictSame(
        { shape: output.shape, datatype: output.datatype, data: output.data },
        { shape: dims, datatype: wire, data: list(data as never).map(toJson) },
        `seed ${seed}: ${output.name}`
      )
    }

    const { inputs } = model.graph
    if (inputs.some((input) => input.type === 'string')) continue
    inFiles += 1
    const tensors = inputs.map(({ name, type }) => ({
      ...{ name, type: typeOf(type) },
      tensor: model.feeds.get(name)!
    }))
    const answer = await inferFile(expert, Buffer.concat(writeSafetensors(tensors)))
    t.same(new Set(answer.map(({ name }) => name)), new Set(names))
    for (const { name, dtype, shape, bytes } of answer) {
      const { type, dims, data } = wanted.get(name)!
      const { buffer, byteOffset, byteLength } = data as Uint8Array
      t.equal(dtype, typeOf(type).file)
      t.strictSame(shape, dims)
      t.ok(Buffer.from(buffer, byteOffset, byteLength).equals(bytes), `seed ${seed}: ${name} bytes`)
    }
  }
  t.ok(inFiles >= 20, `${inFiles} of 60 models went through files too`)
  t.equal(seen.size, dataTypes.length, 'every type was among them')
})

const pair: Graph = {
  inputs: [
    { name: 'ids', type: 'int64', shape: ['rows', 2] },
    { name: 'weights', type: 'float32', shape: [2] },
    { name: 'words', type: 'string', shape: [1] }
  ],
  outputs: [
    { name: 'ids out', type: 'int64', shape: ['rows', 2] },
    { name: 'ratio', type: 'float32', shape: [2] },
    { name: 'words out', type: 'string', shape: [1] }
  ],
  nodes: [
    { op: 'Identity', inputs: ['ids'], outputs: ['ids out'] },
    { op: 'Div', inputs: ['weights', 'zeros'], outputs: ['ratio'] },
    { op: 'Identity', inputs: ['words'], outputs: ['words out'] }
  ],
  constants: [floats('zeros', [2], [0, 4])]
}
const ids = { name: 'ids', shape: [1, 2], datatype: 'INT64', data: [1, 2] as unknown }
const weights = { name: 'weights', shape: [2], datatype: 'FP32', data: [1, 2] as unknown }
const words = { name: 'words', shape: [1], datatype: 'BYTES', data: ['é'] as unknown }

t.test('GET /model tells names, types and shapes, and the schema of requests', async (t) => {
  const expert = await serveModel(t, pair, { 'expert.json': { version: '3.1' } })
  const { value } = (await expert.request('GET', '/model')) as { value: any }
  t.match(value, {
    ...{ name: 'model', versions: ['3.1'], platform: 'onnx', task: null, left_out: [] },
    sha256: /^[0-9a-f]{64}$/,
    inputs: [
      { name: 'ids', datatype: 'INT64', shape: [-1, 2] },
      { name: 'weights', datatype: 'FP32', shape: [2] },
      { name: 'words', datatype: 'BYTES', shape: [1] }
    ],
    outputs: [{ name: 'ids out' }, { name: 'ratio', datatype: 'FP32', shape: [2] }, {}]
  })
  const { items } = value.request_schema.properties.inputs
  t.match(items.oneOf[0].properties.shape.prefixItems, [{ type: 'integer' }, { const: 2 }])
})

t.test('what JSON cannot say: long whole numbers are strings, NaN and infinity null', async (t) => {
  const expert = await serveModel(t, pair)
  const long = ['9223372036854775807', '-9223372036854775808']
  const { value } = await infer(expert, {
    id: 'mine',
    inputs: [words, { ...ids, data: [long] }, { ...weights, data: [1, 2] }]
  })
  t.match(value, { model_name: 'model', model_version: /^[0-9a-f]{12}$/, id: 'mine' })
  t.strictSame(value.outputs[0].data, long)
  t.strictSame(value.outputs[1].data, [null, 0.5])
  t.strictSame(value.outputs[1].parameters, { non_finite: 1 })
  t.strictSame(value.outputs[2].data, ['é'])
})

t.test('the outputs that are named come, in that order', async (t) => {
  const expert = await serveModel(t, pair)
  const inputs = [ids, weights, words]
  const outputs = [{ name: 'words out' }, { name: 'ids out' }]
  const { value } = await infer(expert, { inputs, outputs })
  t.strictSame(
    value.outputs.map((output: any) => output.name),
    ['words out', 'ids out']
  )
})

t.test('what does not fit is refused with its place and what the model wants', async (t) => {
  const expert = await serveModel(t, pair)
  const rows: Array<[string, unknown[], RegExp]> = [
    ['no inputs', [], /inputs: "ids", "weights", "words" missing/],
    ['a missing one', [ids, weights], /inputs: "words" missing/],
    [
      'an unknown one',
      [ids, { ...weights, name: 'wights' }],
      /inputs\[1\]\.name: .*"wights", it has/
    ],
    ['one twice', [ids, ids, weights, words], /inputs\[1\]\.name: input "ids" came before/],
    [
      'another type',
      [{ ...ids, datatype: 'INT32' }, weights, words],
      /inputs\[0\]\.datatype: .*wanted INT64/
    ],
    [
      'rank',
      [{ ...ids, shape: [2] }, weights, words],
      /inputs\[0\]\.shape: found \[2\], .* \[\?, 2\]/
    ],
    ['a size', [ids, { ...weights, shape: [3] }, words], /inputs\[1\]\.shape: found \[3\]/],
    [
      'no rows',
      [{ ...ids, shape: [0, 2], data: [] }, weights, words],
      /inputs\[0\]\.shape: found \[0,2\]/
    ],
    ['a negative size', [{ ...ids, shape: [-1, 2] }, weights, words], /inputs\[0\]\.shape/],
    [
      'too many values',
      [ids, { ...weights, data: [1, 2, 3] }, words],
      /inputs\[1\]\.data: found 3 values, wanted 2/
    ],
    ['too few values', [ids, { ...weights, data: [] }, words], /inputs\[1\]\.data: found 0 values/],
    [
      'wrong nesting',
      [{ ...ids, data: [[1], [2]] }, weights, words],
      /inputs\[0\]\.data: found a list of 2, wanted a list of 1/
    ],
    [
      'uneven nesting',
      [{ ...ids, data: [[1]] }, weights, words],
      /inputs\[0\]\.data\[0\]: found a list of 1/
    ],
    ['no list', [ids, { ...weights, data: 'AAAA' }, words], /inputs\[1\]\.data: found string/],
    [
      'null, which NaN becomes',
      [ids, { ...weights, data: [1, null] }, words],
      /inputs\[1\]\.data\[1\]: found null \(NaN/
    ],
    [
      'too large',
      [ids, { ...weights, data: [1, 1e39] }, words],
      /inputs\[1\]\.data\[1\]: .*single precision/
    ],
    [
      'a part',
      [{ ...ids, data: [1, 0.5] }, weights, words],
      /inputs\[0\]\.data\[1\]: found 0\.5, .*whole/
    ],
    [
      'not exact',
      [{ ...ids, data: [1, 2 ** 53] }, weights, words],
      /inputs\[0\]\.data\[1\]: .*as a string/
    ],
    [
      'too long',
      [{ ...ids, data: [1, '9223372036854775808'] }, weights, words],
      /inputs\[0\]\.data\[1\]/
    ],
    [
      'a number for a word',
      [ids, weights, { ...words, data: [1] }],
      /inputs\[2\]\.data\[0\]: found 1, .*string/
    ],
    [
      'half a sign',
      [ids, weights, { ...words, data: ['\ud83d'] }],
      /inputs\[2\]\.data\[0\]: .*UTF-8/
    ]
  ]
  for (const [what, inputs, message] of rows) {
    await t.rejects(infer(expert, { inputs }), { code: 'EXP_BAD_INPUT', message }, what)
  }
  const inputs = [ids, weights, words]
  const outputs = (...names: string[]) => ({ inputs, outputs: names.map((name) => ({ name })) })
  await t.rejects(infer(expert, outputs('none')), { message: /outputs\[0\]\.name: found "none"/ })
  await t.rejects(infer(expert, outputs('ratio', 'ratio')), {
    message: /outputs\[1\]\.name.*before/
  })
  t.equal((await infer(expert, { inputs })).status, 200, 'it answers on')
})

const numbers: Graph = {
  inputs: [
    { name: 'a', type: 'float32', shape: ['n'] },
    { name: 'b', type: 'float32', shape: ['n'] },
    { name: 'yes', type: 'bool', shape: [1] }
  ],
  outputs: [
    { name: 'sum', type: 'float32', shape: ['n'] },
    { name: 'not', type: 'bool', shape: [1] }
  ],
  nodes: [
    { op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] },
    { op: 'Not', inputs: ['yes'], outputs: ['not'] }
  ]
}

/** A safetensors file by hand: its header as text, then its bytes. */
function fileOf(header: string, values: Uint8Array | number[] = []): Uint8Array {
  const text = Buffer.from(header)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, Buffer.from(values as number[])])
}
const oneByte = '{"dtype":"BOOL","shape":[1],"data_offsets":[8,9]}'
const tensor = (name: string, from: number) =>
  `"${name}":{"dtype":"F32","shape":[1],"data_offsets":[${from},${from + 4}]}`
const bytesOf = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer)

t.test('a file whose values lie as they happen to is read and answered', async (t) => {
  const expert = await serveModel(t, numbers)
  // The header has an odd length: no value lies where a float wants it.
  const header = `{${tensor('b', 4)},${tensor('a', 0)},"yes":${oneByte},"__metadata__":{"by":"me"}} `
  for (const text of [header, `${header} `]) {
    const file = fileOf(text, Buffer.concat([bytesOf(1.5, -4), Buffer.from([1])]))
    const answer = await inferFile(expert, file)
    const [sum, not] = ['sum', 'not'].map((name) => answer.find((one) => one.name === name)!)
    t.match(sum, { dtype: 'F32', shape: [1] })
    t.same(new Float32Array(new Uint8Array(sum!.bytes).buffer), [-2.5])
    t.match(not, { dtype: 'BOOL', shape: [1], bytes: Uint8Array.of(0) })
    const only = await inferFile(expert, file, ['not'])
    t.strictSame(
      only.map(({ name }) => name),
      ['not']
    )
  }
})

t.test('a file that is none, or does not fit, is refused with the reason', async (t) => {
  const expert = await serveModel(t, numbers)
  const good = `{${tensor('a', 0)},${tensor('b', 4)},"yes":${oneByte}}`
  const values = (a: number, b: number, yes = 1) =>
    Buffer.concat([bytesOf(a, b), Buffer.from([yes])])
  t.equal((await inferFile(expert, fileOf(good, values(1, 2)))).length, 2)
  const swap = (from: string, to: string) => fileOf(good.replace(from, to), values(1, 2))
  const rows: Array<[string, Uint8Array, RegExp]> = [
    ['nothing', new Uint8Array(0), /0 bytes, wanted a safetensors file/],
    ['a picture', Buffer.from('\x89PNG\r\n\x1a\n and so on', 'latin1'), /a header of \d+ bytes/],
    ['no JSON', fileOf('{"a":'), /header is not an object of JSON/],
    ['no UTF-8', Buffer.concat([fileOf('').fill(2, 0, 1), Buffer.from([0xff, 0xfe])]), /UTF-8/],
    ['a list', fileOf('[]'), /header is not an object/],
    ['no offsets', fileOf('{"a":{"dtype":"F32","shape":[1]}}'), /tensor "a" wants dtype, shape/],
    ['beyond its end', fileOf(good, bytesOf(1)), /tensor "b" lies at 4 to 8 of 4 bytes/],
    [
      'one over another',
      swap('"data_offsets":[4,8]', '"data_offsets":[3,7]'),
      /"b" begins at 3, not at 4/
    ],
    ['more bytes', fileOf(good, Buffer.concat([values(1, 2), Buffer.alloc(3)])), /end at 9 of 12/],
    ['a name twice', swap('"b"', '"a"'), /"a" begins at 4, not at 0/],
    ['an unknown name', swap('"b"', '"c"'), /tensor "c": the model has no input "c"/],
    ['a missing one', fileOf(`{${tensor('a', 0)}}`, bytesOf(1)), /inputs: "b", "yes" missing/],
    ['another type', swap('"F32"', '"I32"'), /tensor "a": found dtype I32, wanted F32/],
    ['a size', swap('"shape":[1]', '"shape":[2]'), /tensor "a": found 4 bytes, wanted 8/],
    ['rank', swap('"shape":[1]', '"shape":[1,1]'), /tensor "a": found \[1,1\]/],
    ['NaN', fileOf(good, values(1, Number.NaN)), /tensor "b": value 0 is NaN or infinite/],
    ['infinity', fileOf(good, values(Number.NEGATIVE_INFINITY, 1)), /tensor "a": value 0 is NaN/],
    ['no boolean', fileOf(good, values(1, 2, 7)), /tensor "yes": value 0 is 7, wanted 0 or 1/]
  ]
  for (const [what, file, message] of rows) {
    await t.rejects(inferFile(expert, file), { code: 'EXP_BAD_INPUT', message }, what)
  }
  await t.rejects(inferFile(expert, fileOf(good, values(1, 2)), ['diff']), {
    message: /outputs: found "diff", the model gives "sum", "not"/
  })
  const body = { files: { one: fileOf(good), two: fileOf(good) } }
  await t.rejects(expert.request('POST', '/infer/safetensors', body), { message: /found 2/ })
  const ofWords = await serveModel(t, pair)
  const wordsIn = fileOf('{"words":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', [65])
  await t.rejects(inferFile(ofWords, wordsIn), { message: /missing|strings/ })
})

t.test('inputs that fit alone and not together are refused as input', async (t) => {
  const expert = await serveModel(t, numbers)
  const vector = (name: string, size: number) => ({
    ...{ name, shape: [size], datatype: 'FP32' },
    data: new Array(size).fill(1)
  })
  const yes = { name: 'yes', shape: [1], datatype: 'BOOL', data: [true] }
  await t.rejects(infer(expert, { inputs: [vector('a', 2), vector('b', 3), yes] }), {
    code: 'EXP_BAD_INPUT',
    message: /cannot run on these inputs/
  })
  const { value } = await infer(expert, { inputs: [vector('a', 2), vector('b', 2), yes] })
  t.strictSame(value.outputs[1].data, [false])
})

t.test('an output that the runtime cannot name is refused when the model is opened', async (t) => {
  const output = { name: '__proto__', type: 'float32', shape: [1] } as const
  const graph: Graph = {
    inputs: [{ ...output, name: 'x' }],
    outputs: [output],
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['__proto__'] }]
  }
  await t.rejects(openSession(onnxBytes(graph)), { code: 'EXP_MODEL', message: /'__proto__'/ })
})

t.test('a session computes the outputs that are named', async (t) => {
  const session = await openSession(onnxBytes(numbers), { threads: 1 })
  t.teardown(() => session.release())
  const one = { data: Float32Array.of(1), shape: [1] }
  const feeds = { a: one, b: one, yes: { data: Uint8Array.of(1), shape: [1] } }
  t.strictSame(Object.keys(await session.run(feeds, ['not'])), ['not'])
  t.strictSame(Object.keys(await session.run(feeds)).sort(), ['not', 'sum'])
  await t.rejects(session.run(feeds, ['none']), { code: 'EXP_MODEL', message: /none/ })
})

const rest: Graph = {
  inputs: [{ name: 'x', type: 'float32', shape: null }],
  outputs: [
    { name: 'parts', type: 'float32', shape: ['n'], isSequence: true },
    { name: 'same', type: 'float32', shape: null }
  ],
  nodes: [
    { op: 'SequenceConstruct', inputs: ['x'], outputs: ['parts'] },
    { op: 'Identity', inputs: ['x'], outputs: ['same'] }
  ]
}

t.test('outputs that are no tensors are left out; an open rank takes any', async (t) => {
  const expert = await serveModel(t, rest)
  const { value } = (await expert.request('GET', '/model')) as { value: any }
  t.match(value, { left_out: ['parts'], outputs: [{ name: 'same' }] })
  for (const shape of [[], [1], [2, 1, 3]]) {
    const count = shape.reduce((a, b) => a * b, 1)
    const data = Array.from({ length: count }, (_, i) => i)
    const answer = await infer(expert, { inputs: [{ name: 'x', shape, datatype: 'FP32', data }] })
    t.strictSame(answer.value.outputs, [{ name: 'same', datatype: 'FP32', shape, data }])
  }
  const onlyParts: Graph = {
    ...rest,
    outputs: rest.outputs.slice(0, 1),
    nodes: rest.nodes.slice(0, 1)
  }
  await t.rejects(serveModel(t, onlyParts), { code: 'EXP_MODEL', message: /No output is a tensor/ })
})
