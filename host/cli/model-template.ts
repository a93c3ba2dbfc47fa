import type { OnnxPort } from '@nebula-experts/sdk/onnx'

/** What pictures may be answered with. */
export const MODEL_TASKS = ['classification', 'detection', 'embedding', 'segmentation'] as const
export type ModelTask = (typeof MODEL_TASKS)[number]

/** What is known of a model when its folder is written. */
export interface KnownModel {
  inputs: readonly OnnxPort[]
  /** Outputs of {@link KnownModel.sample}, in order; those declared when there is none. */
  outputs: readonly OnnxPort[]
  /** Shapes of inputs, in order, on which the model ran; null when none was found. */
  sample: number[][] | null
}

/** Pixels of a side that the model leaves open. */
const OPEN_SIDE: Record<ModelTask, number> = {
  classification: 224,
  detection: 640,
  embedding: 224,
  segmentation: 256
}

/** Sizes to try, for all open axes of an input at once; a task's own first. */
export function sampleSizes(task: ModelTask | undefined): number[] {
  return [...(task === undefined ? [] : [OPEN_SIDE[task]]), 1, 32, 64, 224]
}

/**
 * The files beside a model that is served with no code: what is to be known of it, its README and its test.
 * @returns texts by path
 */
export function modelTemplate(
  name: string,
  model: KnownModel,
  task: ModelTask | undefined
): Record<string, string> {
  const settings: Record<string, unknown> = { version: '0.1.0' }
  const files: Record<string, string> = {}
  if (task !== undefined) {
    const { decoder, classes } = guessDecoder(task, model.outputs)
    settings.task = task
    settings.input = pictureInput(task, model.inputs)
    if (classes !== null) {
      settings.labels = 'labels.txt'
      files['labels.txt'] = Array.from({ length: classes }, (_, i) => `class ${i}\n`).join('')
    }
    settings.decoder = decoder
  }
  return {
    'expert.json': `${JSON.stringify(settings, null, 2)}\n`,
    ...files,
    'README.md': readme(name, task),
    'test/model.test.mjs': testOf(name, model.sample, task)
  }
}

function pictureInput(task: ModelTask, inputs: readonly OnnxPort[]): Record<string, unknown> {
  const [port] = inputs
  const isBytes = port?.type === 'uint8' || port?.type === 'int32'
  const isWideOpen = port?.shape.slice(1).some((size) => size === null) === true
  return {
    ...(isWideOpen && openSides(task, port.shape)),
    fit: task === 'detection' ? 'letterbox' : 'stretch',
    channel_order: 'RGB',
    // A picture's bytes from 0 to 1, as most models want them.
    scale: isBytes ? 1 : 1 / 255,
    mean: 0,
    std: 1
  }
}

function openSides(task: ModelTask, shape: OnnxPort['shape']): Record<string, number> {
  const isLast = shape[3] === 1 || shape[3] === 3
  const [height, width] = isLast ? [shape[1], shape[2]] : [shape[2], shape[3]]
  const side = OPEN_SIDE[task]
  return { width: width ?? side, height: height ?? side }
}

/** What the shapes of its outputs let one think; its author knows better. */
function guessDecoder(
  task: ModelTask,
  outputs: readonly OnnxPort[]
): { decoder: Record<string, unknown>; classes: number | null } {
  const numbers = outputs.filter((port) => port.type !== 'string')
  const [first] = numbers
  const output = numbers.length > 1 ? { output: first?.name } : {}
  const shape = first?.shape.slice(1) ?? []
  if (task === 'embedding') return { decoder: { type: 'vector', ...output }, classes: null }
  if (task === 'detection') return guessDetector(numbers)
  if (task === 'classification') {
    return { decoder: { type: 'softmax', ...output }, classes: shape.at(-1) ?? null }
  }
  const sizes = [shape[0], shape.at(-1)].filter((size) => typeof size === 'number')
  const classes = shape.length === 3 && sizes.length === 2 ? Math.min(...sizes) : null
  return { decoder: { type: 'softmax', ...output }, classes }
}

function guessDetector(outputs: readonly OnnxPort[]) {
  const boxes = outputs.find((port) => port.shape.at(-1) === 4)
  const scores = outputs.find((port) => port !== boxes)
  if (outputs.length > 1 && boxes !== undefined && scores !== undefined) {
    const names = { boxes: boxes.name, scores: scores.name }
    return { decoder: { type: 'ssd', outputs: names }, classes: scores.shape.at(2) ?? null }
  }
  const [rows, columns] = outputs[0]?.shape.slice(1) ?? []
  // A wrong guess might load and answer nonsense; without a type the reason is shown.
  if (outputs.length > 1 || typeof rows !== 'number' || typeof columns !== 'number') {
    return { decoder: {}, classes: null }
  }
  if (columns === 6) return { decoder: { type: 'yolov10' }, classes: null }
  if (rows < columns) return { decoder: { type: 'yolov8' }, classes: rows - 4 }
  return { decoder: { type: 'yolov5' }, classes: columns > 5 ? columns - 5 : null }
}

/** A picture of one red pixel. */
const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAACXBIWXMAAAPoAAAD6AG1e1JrAAAADElEQVQImWP4z8AAAAMBAQCc479ZAAAAAElFTkSuQmCC'

function readme(name: string, task: ModelTask | undefined): string {
  const picture = `
\`\`\`sh
curl --json '{"image_id": "1", "url": "${PIXEL}"}' localhost:8000/experts/${name}/predict/image
\`\`\`

\`expert.json\` was filled in from the shapes of the model. How pictures go in (\`input\`) and what the outputs mean
(\`decoder\`, \`labels\`) is for you to check: a wrong scale or order of colours is no error, only a bad answer.
`
  return `# ${name}

A model that Nebula Experts serves with no code. A host serves this folder when it lies in one of its plugin folders, or
alone:

\`\`\`sh
npx nebula-experts serve .
\`\`\`

\`\`\`sh
curl localhost:8000/experts/${name}/model
\`\`\`

tells what the model takes and gives; \`POST /experts/${name}/infer\` runs it on such tensors.
${task === undefined ? '' : picture}
With a host that serves it on port 8000 (or at \`NEBULA_URL\`), \`node --test\` runs its test.
`
}

function testOf(name: string, sample: number[][] | null, task: ModelTask | undefined): string {
  const start = `import assert from 'node:assert/strict'
import test from 'node:test'

// Where a host serves this folder.
const base = \`\${process.env.NEBULA_URL ?? 'http://127.0.0.1:8000'}/experts/${name}\`
const post = (path, body) =>
  fetch(base + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
`
  const told = `
test('tells what it takes and gives', async () => {
  const model = await (await fetch(\`\${base}/model\`)).json()
  assert.match(model.sha256, /^[0-9a-f]{64}$/)
})
`
  const tensors = `
test('answers tensors with all its outputs', async () => {
  const model = await (await fetch(\`\${base}/model\`)).json()
  // Shapes of its inputs, in their order.
  const shapes = ${JSON.stringify(sample)}
  const inputs = model.inputs.map(({ name, datatype }, index) => {
    const shape = shapes[index]
    const value = datatype === 'BYTES' ? '' : datatype === 'BOOL' ? false : 0
    const count = shape.reduce((product, size) => product * size, 1)
    return { name, datatype, shape, data: new Array(count).fill(value) }
  })
  const response = await post('/infer', { inputs })
  const answer = await response.json()
  assert.equal(response.status, 200, answer.detail)
  assert.deepEqual(answer.outputs.map(({ name }) => name), model.outputs.map(({ name }) => name))
})
`
  const picture = `
test('answers a picture', async () => {
  const url =
    '${PIXEL}'
  const response = await post('/predict/image', { image_id: '1', url })
  const answer = await response.json()
  assert.equal(response.status, 200, answer.detail)
  assert.equal(answer.error, null)
  assert.ok(Array.isArray(answer.result))
})
`
  return [start, told, sample === null ? '' : tensors, task === undefined ? '' : picture].join('')
}
