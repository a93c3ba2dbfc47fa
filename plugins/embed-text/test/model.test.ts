import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { openSession } from '@nebula-experts/sdk/onnx'
import t from 'tap'

const model = new URL('../model/', import.meta.url)
const fixtures = new URL('fixtures/', import.meta.url)
const size = 512

/** Sentences with the tokens that the original's tokenizer made of them. */
const lines = await readFile(new URL('reference.ndjson', fixtures), 'utf8')
const sentences: { text: string; tokens: number[] }[] = lines
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line))
const bytes = await readFile(new URL('reference-embedding.bin', fixtures))
const all = new Float32Array(Uint8Array.from(bytes).buffer)
const reference = sentences.map((_, row) => all.subarray(row * size, (row + 1) * size))

// One thread: test files run side by side, and spinning threads of two would slow each other.
const session = await openSession(fileURLToPath(new URL('use-lite.onnx', model)), { threads: 1 })
t.teardown(() => session.release())

/** One vector for each list of tokens, all from one run. */
async function embed(rows: number[][]): Promise<Float32Array[]> {
  const values = Int32Array.from(rows.flat())
  const indices = Int32Array.from(
    rows.flatMap((row, index) => row.flatMap((_, position) => [index, position]))
  )
  const { data, shape } = (
    await session.run({
      indices: { data: indices, shape: [values.length, 2] },
      values: { data: values, shape: [values.length] }
    })
  ).embedding!
  t.same(shape, [rows.length, size])
  return rows.map((_, i) => (data as Float32Array).subarray(i * size, (i + 1) * size))
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

t.test('every file of the model is the one that NOTICE tells the origin of', async (t) => {
  const notice = await readFile(new URL('NOTICE', model), 'utf8')
  const names = (await readdir(model)).filter((name) => name !== 'NOTICE')
  t.same(names.sort(), ['use-lite.onnx', 'vocab.json'])
  for (const name of names) {
    const content = await readFile(new URL(name, model))
    const hash = createHash('sha256').update(content).digest('hex')
    t.match(notice, `  ${hash}  ${name}\n`, name)
  }
})

t.test(
  'the model takes the tokens of any number of texts and gives a vector for each',
  async (t) => {
    t.same(session.inputs, [
      { name: 'indices', type: 'int32', shape: [null, 2] },
      { name: 'values', type: 'int32', shape: [null] }
    ])
    t.same(session.outputs, [{ name: 'embedding', type: 'float32', shape: [null, size] }])
    const vocabulary: [string, number][] = JSON.parse(
      await readFile(new URL('vocab.json', model), 'utf8')
    )
    t.equal(vocabulary.length, 8000)
    t.same(vocabulary[sentences[0]!.tokens[0]!]![0], '▁The', 'a token is its index')
  }
)

t.test(
  'the model answers what the graph answers that it was made of, in a batch and alone',
  async (t) => {
    t.equal(all.length, sentences.length * size)
    const batch = await embed(sentences.map(({ tokens }) => tokens))
    for (const [row, { text, tokens }] of sentences.entries()) {
      const title = `'${text.slice(0, 30)}', ${tokens.length} tokens`
      const inBatch = cosine(batch[row]!, reference[row]!)
      t.comment(`${title}: cosine ${inBatch}`)
      t.ok(inBatch >= 0.9999, `${title}: cosine ${inBatch} in a batch`)
      if (tokens.length === 0) continue
      const [vector] = await embed([tokens])
      const alone = cosine(vector!, reference[row]!)
      t.ok(alone >= 0.9999, `${title}: cosine ${alone} alone`)
      const length = Math.hypot(...vector!)
      t.ok(Math.abs(length - 1) < 1e-3, `${title}: length ${length}`)
    }
  }
)

t.test('sentences that mean the like are nearer than others', async (t) => {
  const [fox, animal, old, age, stocks] = await embed(sentences.slice(0, 5).map((s) => s.tokens))
  t.ok(cosine(fox!, animal!) > 0.4)
  t.ok(cosine(old!, age!) > 0.7)
  t.ok(cosine(fox!, stocks!) < 0.3)
  t.ok(cosine(age!, stocks!) < 0.3)
})

t.test('what is past 128 tokens changes nothing', async (t) => {
  const { tokens } = sentences.at(-1)!
  t.ok(tokens.length > 128)
  const [whole] = await embed([tokens])
  const [cut] = await embed([tokens.slice(0, 128)])
  const [shorter] = await embed([tokens.slice(0, 127)])
  t.same(whole, cut)
  t.notSame(shorter, cut)
})
