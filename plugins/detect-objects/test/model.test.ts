import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { imageTensor } from '@nebula-experts/sdk/images'
import { type OnnxTensor, openSession } from '@nebula-experts/sdk/onnx'
import sharp from 'sharp'
import t from 'tap'

const model = new URL('../model/', import.meta.url)
const fixtures = new URL('fixtures/', import.meta.url)
const strides = [8, 16, 32]
const labels: string[] = JSON.parse(await readFile(new URL('labels.json', model), 'utf8'))

// One thread: test files run side by side, and spinning threads of two would slow each other.
const session = await openSession(fileURLToPath(new URL('nanodet.onnx', model)), { threads: 1 })
t.teardown(() => session.release())

/** Scores and boxes of a picture, laid in the middle of a black square of 416 pixels. */
async function run(file: string): Promise<Record<string, OnnxTensor>> {
  const { data, info } = await sharp(await readFile(new URL(file, fixtures)))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  const channels = info.channels as 1 | 3
  const { tensor } = await imageTensor(
    { data: new Uint8Array(data), width: info.width, height: info.height, channels },
    {
      width: 416,
      height: 416,
      fit: 'letterbox',
      channels: 3,
      channelOrder: 'BGR',
      mean: [103.53, 116.28, 123.675],
      std: [57.375, 57.12, 58.395]
    }
  )
  return session.run({ input: tensor })
}

/** The surest class of a picture and its score. */
function surest(outputs: Record<string, OnnxTensor>): { label: string; score: number } {
  let best = { label: '', score: 0 }
  for (const stride of strides) {
    const scores = outputs[`scores_${stride}`]!.data as Float32Array
    for (const [index, score] of scores.entries()) {
      if (score > best.score) best = { label: labels[index % 80]!, score }
    }
  }
  return best
}

/** What the original graph answered at each of 169 places, evenly spread over the grid. */
async function referenceOf(name: string): Promise<Float32Array> {
  const bytes = await readFile(new URL(`reference-${name}.bin`, fixtures))
  return new Float32Array(Uint8Array.from(bytes).buffer)
}

function samePlaces({ data, shape }: OnnxTensor): Float32Array {
  const [, rows, columns] = shape as [number, number, number]
  const all = data as Float32Array
  return Float32Array.from({ length: 169 * columns }, (_, i) => {
    const place = Math.floor(i / columns)
    return all[place * (rows / 169) * columns + (i % columns)]!
  })
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

t.test('every file of the model is the one that NOTICE tells the origin of', async (t) => {
  const notice = await readFile(new URL('NOTICE', model), 'utf8')
  const names = (await readdir(model)).filter((name) => name !== 'NOTICE')
  t.same(names.sort(), ['labels.json', 'nanodet.onnx'])
  for (const name of names) {
    const content = await readFile(new URL(name, model))
    const hash = createHash('sha256').update(content).digest('hex')
    t.match(notice, `  ${hash}  ${name}\n`, name)
  }
})

t.test('the model takes one picture and gives scores and boxes for three grids', async (t) => {
  t.same(session.inputs, [{ name: 'input', type: 'float32', shape: [1, 3, 416, 416] }])
  const wanted = strides.flatMap((stride) => {
    const places = (416 / stride) ** 2
    return [
      { name: `scores_${stride}`, type: 'float32', shape: [1, places, 80] },
      { name: `boxes_${stride}`, type: 'float32', shape: [1, places, 44] }
    ]
  })
  t.same(session.outputs, wanted)
  t.equal(new Set(labels).size, 80)
})

t.test('the model answers what the graph answers that it was made of', async (t) => {
  const outputs = await run('reference.png')
  for (const name of session.outputNames) {
    const reference = await referenceOf(name)
    const found = samePlaces(outputs[name]!)
    t.equal(found.length, reference.length, name)
    const alike = cosine(found, reference)
    const error = found.reduce((most, v, i) => Math.max(most, Math.abs(v - reference[i]!)), 0)
    t.comment(`${name}: cosine ${alike}, greatest difference ${error}`)
    t.ok(alike >= 0.9999, `${name}: cosine ${alike}`)
    t.ok(error < 1e-3, `${name}: greatest difference ${error}`)
  }
})

t.test('what the pictures show has the highest score', async (t) => {
  const shown = { astronaut: 'person', camera: 'person', chelsea: 'cat', coffee: 'dining table' }
  for (const [name, label] of Object.entries(shown)) {
    const found = surest(await run(`${name}.jpg`))
    t.equal(found.label, label, `${name}: ${found.label} ${found.score.toFixed(2)}`)
    t.ok(found.score >= 0.45, `${name}: ${found.score.toFixed(2)}`)
  }
  t.ok(surest(await run('rocket.jpg')).score < 0.35, 'and where there is none of its classes, none')
})
