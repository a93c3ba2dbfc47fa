import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { imageTensors } from '@nebula-experts/sdk/images'
import { openSession } from '@nebula-experts/sdk/onnx'
import sharp, { type Sharp } from 'sharp'
import t from 'tap'

const model = new URL('../model/', import.meta.url)
const fixtures = new URL('fixtures/', import.meta.url)
const size = 1792
const names = ['chelsea', 'coffee']
const pictures = await Promise.all(
  names.map(async (name) => readFile(new URL(`reference-${name}.png`, fixtures)))
)

// One thread: test files run side by side, and spinning threads of two would slow each other.
const session = await openSession(fileURLToPath(new URL('mobilenet.onnx', model)), { threads: 1 })
t.teardown(() => session.release())

/** One vector for each picture, all from one run. */
async function embed(...all: Sharp[]): Promise<Float32Array[]> {
  const images = await Promise.all(
    all.map(async (picture) => {
      const { data, info } = await picture.removeAlpha().raw().toBuffer({ resolveWithObject: true })
      const { width, height } = info
      return { data: new Uint8Array(data), width, height, channels: 3 as const }
    })
  )
  const options = { width: 224, height: 224, layout: 'NHWC', scale: 1 / 255 } as const
  const { tensor } = await imageTensors(images, options)
  const { data, shape } = (await session.run({ input: tensor })).embedding!
  t.same(shape, [all.length, size])
  return all.map((_, i) => (data as Float32Array).subarray(i * size, (i + 1) * size))
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

t.test('the model is the one that NOTICE tells the origin of', async (t) => {
  t.same((await readdir(model)).sort(), ['NOTICE', 'mobilenet.onnx'])
  const notice = await readFile(new URL('NOTICE', model), 'utf8')
  const content = await readFile(new URL('mobilenet.onnx', model))
  const hash = createHash('sha256').update(content).digest('hex')
  t.match(notice, `  ${hash}  mobilenet.onnx\n`)
})

t.test('the model takes any number of pictures and gives a vector for each', async (t) => {
  t.same(session.inputs, [{ name: 'input', type: 'float32', shape: [null, 224, 224, 3] }])
  t.same(session.outputs, [{ name: 'embedding', type: 'float32', shape: [null, size] }])
})

t.test(
  'the model answers what the graph answers that it was made of, alone and in a batch',
  async (t) => {
    const bytes = await readFile(new URL('reference-embedding.bin', fixtures))
    const reference = new Float32Array(Uint8Array.from(bytes).buffer)
    t.equal(reference.length, names.length * size)
    const batch = await embed(...pictures.map((picture) => sharp(picture)))
    for (const [i, name] of names.entries()) {
      const wanted = reference.subarray(i * size, (i + 1) * size)
      const [alone] = await embed(sharp(pictures[i]!))
      for (const [way, vector] of Object.entries({ alone: alone!, batch: batch[i]! })) {
        const alike = cosine(vector, wanted)
        const error = vector.reduce((most, v, k) => Math.max(most, Math.abs(v - wanted[k]!)), 0)
        t.comment(`${name} ${way}: cosine ${alike}, greatest difference ${error}`)
        t.ok(alike >= 0.9999, `${name} ${way}: cosine ${alike}`)
        t.ok(error < 1e-2, `${name} ${way}: greatest difference ${error}`)
      }
    }
  }
)

t.test('a changed copy of a picture is nearer to it than another picture', async (t) => {
  const [cat, cup] = pictures.map((picture) => sharp(picture)) as [Sharp, Sharp]
  const mirrored = sharp(pictures[0]!).flop()
  const darker = sharp(pictures[0]!).toColourspace('srgb').linear(0.7, 0)
  const [original, other, ...copies] = await embed(cat, cup, mirrored, darker)
  for (const copy of copies) {
    const near = cosine(original!, copy)
    const far = cosine(other!, copy)
    t.ok(near > far + 0.2, `${near.toFixed(2)} to itself, ${far.toFixed(2)} to the other`)
  }
})
