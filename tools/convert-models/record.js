// Runs the original graphs with TensorFlow.js on fixed inputs, and writes inputs and answers as
// fixtures: what the converted graphs have to answer too.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { installPackages } from './packages.js'

const packages = [
  '@tensorflow/tfjs-core@4.22.0',
  '@tensorflow/tfjs-converter@4.22.0',
  '@tensorflow/tfjs-backend-cpu@4.22.0',
  '@tensorflow-models/universal-sentence-encoder@1.3.3'
]

/** Every place of the coarsest grid, and as many of the finer ones, spread evenly. */
const places = 169

const sentences = [
  'The quick brown fox jumps over the lazy dog.',
  'A fast auburn animal leaps across a sleepy hound!',
  'How old are you?',
  'What is your age?',
  'Stock markets fell sharply on Thursday, by more than 3.5 %.',
  '',
  'zzxqj €100 naïve 日本語',
  'What is longer than the model reads is cut off. '.repeat(20)
]

/**
 * Fetches what the recording needs.
 *
 * @param {string} home folder for what is installed
 * @returns {Promise<NodeJS.Require>}
 */
export async function loadTensorFlow(home) {
  const load = await installPackages(packages, home)
  load('@tensorflow/tfjs-backend-cpu')
  await load('@tensorflow/tfjs-core').setBackend('cpu')
  return load
}

/**
 * @param {import('./models.js').Model} model
 * @param {Map<string, Buffer>} sources
 * @param {string} root of the repository
 * @param {NodeJS.Require} load what `loadTensorFlow` gave
 */
export async function record(model, sources, root, load) {
  const fixtures = join(root, model.folder, 'test', 'fixtures')
  await mkdir(fixtures, { recursive: true })
  const tf = load('@tensorflow/tfjs-core')
  const { model: topology, weights } = model.read(sources)
  const graph = await load('@tensorflow/tfjs-converter').loadGraphModel(
    tf.io.fromMemory({
      modelTopology: topology.modelTopology,
      weightSpecs: topology.weightsManifest.flatMap((group) => group.weights),
      weightData: Uint8Array.from(weights).buffer
    })
  )
  const save = async (/** @type {string} */ name, /** @type {Uint8Array | string} */ content) => {
    await writeFile(join(fixtures, name), content)
    console.log(`${model.folder}/test/fixtures/${name}: ${content.length} bytes`)
  }
  /** @param {Record<string, any>} feeds @returns {Promise<Float32Array[]>} */
  const run = async (feeds) => {
    const outputs = await graph.executeAsync(
      feeds,
      model.outputs.map(({ from }) => from)
    )
    return Promise.all([outputs].flat().map((tensor) => tensor.data()))
  }
  await recorders[model.name]({ tf, model, sources, load, run, save, root })
}

// A PNG is decoded to the same bytes everywhere; few colours make it small.
const fewColours = { palette: true, colours: 48, dither: 0, compressionLevel: 9 }

const recorders = {
  nanodet: async ({ tf, model, run, save, root }) => {
    const picture = await sharp(stillOf(root, 'chelsea.jpg'))
      .resize(416, 416, { fit: 'contain', background: 'black' })
      .png(fewColours)
      .toBuffer()
    await save('reference.png', picture)
    const pixels = await sharp(picture).removeAlpha().raw().toBuffer()
    const mean = [103.53, 116.28, 123.675]
    const deviation = [57.375, 57.12, 58.395]
    const area = 416 * 416
    const planes = Float32Array.from({ length: 3 * area }, (_, i) => {
      const channel = Math.floor(i / area)
      const value = pixels[(i % area) * 3 + 2 - channel] ?? 0
      return (value - (mean[channel] ?? 0)) / (deviation[channel] ?? 1)
    })
    const outputs = await run({ input_1: tf.tensor(planes, [1, 3, 416, 416]) })
    for (const [index, { name, shape }] of model.outputs.entries()) {
      const [, rows, columns] = shape
      const kept = Array.from({ length: places }, (_, place) => {
        const row = (place * rows) / places
        return outputs[index].subarray(row * columns, (row + 1) * columns)
      })
      await save(`reference-${name}.bin`, bytesOf(kept))
    }
  },

  mobilenet: async ({ tf, run, save, root }) => {
    const vectors = []
    for (const name of ['chelsea', 'coffee']) {
      const picture = await sharp(stillOf(root, `${name}.jpg`))
        .resize(224, 224, { fit: 'fill' })
        .png(fewColours)
        .toBuffer()
      await save(`reference-${name}.png`, picture)
      const pixels = await sharp(picture).removeAlpha().raw().toBuffer()
      const values = Float32Array.from(pixels, (value) => value / 255)
      vectors.push(...(await run({ input: tf.tensor(values, [1, 224, 224, 3]) })))
    }
    await save('reference-embedding.bin', bytesOf(vectors))
  },

  'use-lite': async ({ tf, sources, load, run, save }) => {
    const vocabulary = JSON.parse(String(sources.get('dist/vocab.json')))
    const { Tokenizer } = load('@tensorflow-models/universal-sentence-encoder')
    const tokens = sentences.map((text) => new Tokenizer(vocabulary).encode(text))
    const indices = tokens.flatMap((row, index) => row.map((_, position) => [index, position]))
    const feeds = {
      indices: tf.tensor2d(indices, [indices.length, 2], 'int32'),
      values: tf.tensor1d(tokens.flat(), 'int32')
    }
    const texts = sentences.map((text, index) => ({ text, tokens: tokens[index] }))
    await save('reference.ndjson', texts.map((text) => `${JSON.stringify(text)}\n`).join(''))
    await save('reference-embedding.bin', bytesOf(await run(feeds)))
  }
}

/** The pictures for detection serve all. @param {string} root @param {string} name */
function stillOf(root, name) {
  return join(root, 'plugins/detect-objects/test/fixtures', name)
}

/** @param {Float32Array[]} lists */
function bytesOf(lists) {
  return Buffer.concat(
    lists.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength))
  )
}
