import t, { type Test } from 'tap'
import { drawPicture } from './draw-pictures.ts'
import { type Constant, floats, type Graph, type Node } from './onnx-bytes.ts'
import { predict, serveModel } from './serve-model.ts'

// Models whose outputs are written into them. The canvas has 64 x 64 pixels; the picture, 128 x 64, fills
// its middle at half the size, with 16 pixels above and below.
const CANVAS = 64
const PERSON = [16, 24, 32, 40] as const
const ON_PICTURE = { person: [32, 16, 64, 48], hat: [0, 0, 40, 64] }
const labels = ['hat', 'person', 'sun']

/** What an output always says: its values for each picture, of that shape. */
interface Said {
  shape: readonly number[]
  values: readonly number[]
}

/** A model of pictures that says the same of each. */
function sayer(outputs: Record<string, Said>): Graph {
  const nodes: Node[] = [
    {
      op: 'ReduceMean',
      inputs: ['x'],
      outputs: ['mean'],
      attributes: { axes: [1, 2, 3], keepdims: 0 }
    },
    { op: 'Mul', inputs: ['mean', 'zero'], outputs: ['nothing'] }
  ]
  const constants: Constant[] = [floats('zero', [], [0])]
  for (const [name, { shape, values }] of Object.entries(outputs)) {
    const axes = BigInt64Array.from([-1n, ...shape.map(() => 1n)])
    const data = new Uint8Array(axes.buffer)
    constants.push({ name: `${name} axes`, type: 'int64', shape: [axes.length], data })
    constants.push(floats(`${name} values`, [1, ...shape], values))
    nodes.push(
      { op: 'Reshape', inputs: ['nothing', `${name} axes`], outputs: [`${name} nothing`] },
      { op: 'Add', inputs: [`${name} values`, `${name} nothing`], outputs: [name] }
    )
  }
  return {
    inputs: [{ name: 'x', type: 'float32', shape: ['n', 3, CANVAS, CANVAS] }],
    outputs: Object.entries(outputs).map(([name, { shape }]) => ({
      ...{ name, type: 'float32' as const },
      shape: ['n', ...shape]
    })),
    ...{ nodes, constants }
  }
}

/** Rows as one list, and as columns. */
const rows = (...table: number[][]): Said => ({
  shape: [table.length, table[0]!.length],
  values: table.flat()
})
const columns = (...table: number[][]): Said => ({
  shape: [table[0]!.length, table.length],
  values: table[0]!.flatMap((_, column) => table.map((row) => row[column]!))
})

const v5 = [
  [10, 32, 20, 32, 0.75, 0.8, 0.1, 0.1],
  [24, 32, 16, 16, 1, 0.1, 0.9, 0],
  // The same person once more, not so well; and one that scores too little.
  [25, 32, 16, 16, 1, 0.1, 0.8, 0],
  [40, 40, 8, 8, 0.1, 0.9, 0, 0]
]
const v8 = v5.map(([x, y, w, h, objectness, ...classes]) => [
  ...[x!, y!, w!, h!],
  ...classes.map((score) => score * objectness!)
])
const xyxy = v5.map(([x, y, w, h]) => [x! - w! / 2, y! - h! / 2, x! + w! / 2, y! + h! / 2])
const parts = (box: readonly number[]) => box.map((side) => side / CANVAS)
const classScores = v8.map((row) => row.slice(4))

/** One row for each cell of grids of 16 and 32 pixels, of which two say something. */
function yoloxRows(): number[][] {
  const table = Array.from({ length: 16 + 4 }, () => [0, 0, 0, 0, 0, 0, 0, 0])
  table[2 * 4 + 1] = [0.5, 0, 0, 0, 1, 0.1, 0.9, 0]
  table[16 + 2] = [10 / 32, 0, Math.log(20 / 32), 0, 0.75, 0.8, 0.1, 0.1]
  return table
}

/** How likely each side lies 0, 1 or 2 cells away: logits whose mean is that. */
function distances(...cells: number[]): number[] {
  return cells.flatMap((away) => {
    const least = Math.min(1, Math.floor(away))
    const logits = [-99, -99, -99]
    logits[least] = Math.log(Math.max(1e-30, 1 - (away - least)))
    logits[least + 1] = Math.log(Math.max(1e-30, away - least))
    return logits
  })
}

function nanodetOutputs(): Record<string, Said> {
  const scores = Array.from({ length: 16 }, () => [0, 0, 0])
  const boxes = Array.from({ length: 16 }, () => distances(1, 1, 1, 1))
  scores[1 * 4 + 1] = [0.1, 0.9, 0]
  boxes[1 * 4 + 1] = distances(0.5, 0, 0.5, 1)
  scores[1 * 4] = [0.6, 0.1, 0]
  boxes[1 * 4] = distances(0.5, 0.5, 0.75, 1.5)
  return { scores: rows(...scores), boxes: rows(...boxes) }
}

const cases: Record<string, { outputs: Record<string, Said>; decoder: Record<string, unknown> }> = {
  yolov5: { outputs: { out: rows(...v5) }, decoder: { type: 'yolov5' } },
  'yolov5 of parts': {
    outputs: { out: rows(...v5.map((row) => [...parts(row.slice(0, 4)), ...row.slice(4)])) },
    decoder: { type: 'yolov5', normalised: true }
  },
  yolov8: { outputs: { out: columns(...v8) }, decoder: { type: 'yolov8' } },
  'yolov8 in rows': { outputs: { out: rows(...v8) }, decoder: { type: 'yolov8' } },
  yolov10: {
    outputs: {
      out: rows(
        [...PERSON, 0.9, 1],
        [...xyxy[0]!, 0.6, 0],
        [1, 1, 9, 9, 0.1, 2],
        [0, 0, 0, 0, 0, 0]
      )
    },
    decoder: { type: 'yolov10' }
  },
  yolox: { outputs: { out: rows(...yoloxRows()) }, decoder: { type: 'yolox', strides: [16, 32] } },
  'ssd, a score for each class and one for none': {
    outputs: {
      boxes: rows(...xyxy.map(parts)),
      scores: rows(...classScores.map((scores) => [0.99, ...scores]))
    },
    decoder: { type: 'ssd', outputs: { boxes: 'boxes', scores: 'scores' }, first_class: 1 }
  },
  'ssd, with classes and a count': {
    outputs: {
      where: rows(...xyxy.map(([l, t, r, b]) => parts([t!, l!, b!, r!])), [0, 0, 1, 1]),
      score: { shape: [5], values: [0.6, 0.9, 0.8, 0.1, 0.99] },
      class: { shape: [5], values: [0, 1, 1, 2, 2] },
      many: { shape: [], values: [4] }
    },
    decoder: {
      ...{ type: 'ssd', boxes: 'yxyx' },
      outputs: { boxes: 'where', scores: 'score', classes: 'class', count: 'many' }
    }
  },
  'ssd, by centres in pixels': {
    outputs: { boxes: rows(...v5.map((row) => row.slice(0, 4))), scores: rows(...classScores) },
    decoder: {
      ...{ type: 'ssd', boxes: 'cxcywh', normalised: false },
      outputs: { boxes: 'boxes', scores: 'scores' }
    }
  },
  nanodet: {
    outputs: nanodetOutputs(),
    decoder: { type: 'nanodet', outputs: { scores: ['scores'], boxes: ['boxes'] }, strides: [16] }
  }
}

const draw = (t: Test) => drawPicture(t, 128, 64, [])
const settings = (decoder: Record<string, unknown>) => ({
  'expert.json': { task: 'detection', input: { fit: 'letterbox' }, labels, decoder }
})

for (const [what, { outputs, decoder }] of Object.entries(cases)) {
  t.test(`${what}: what is known to be there is found where it is`, async (t) => {
    const expert = await serveModel(t, sayer(outputs), settings(decoder))
    const url = await draw(t)
    const found = await predict(expert, url)
    t.strictSame(
      found.map(({ label, score, bbox }) => ({ label, score, bbox: bbox.map(Math.round) })),
      [
        { label: 'person', score: 0.9, bbox: ON_PICTURE.person },
        { label: 'hat', score: 0.6, bbox: ON_PICTURE.hat }
      ]
    )
    t.match(found[0], { image_id: 'p', expert: 'model', meta_label: { class: 1, score: 0.9 } })
    const labelsWith = async (extra: Record<string, unknown>) =>
      (await predict(expert, url, extra)).map(({ label }) => label)
    t.strictSame(await labelsWith({ min_score: 0.7 }), ['person'])
    t.strictSame(await labelsWith({ top_k: 1 }), ['person'])
    t.ok((await labelsWith({ min_score: 0.05 })).length >= 2)
  })
}

t.test('overlapping boxes of a class are one unless the request says otherwise', async (t) => {
  const { outputs, decoder } = cases.yolov8!
  const expert = await serveModel(t, sayer(outputs), settings(decoder))
  const url = await draw(t)
  t.equal((await predict(expert, url)).length, 2)
  t.equal((await predict(expert, url, { iou: 1 })).length, 3)
  await t.rejects(predict(expert, url, { iou: 2 }), { code: 'EXP_BAD_INPUT', message: /iou/ })
  await t.rejects(predict(expert, url, { top_k: 'all' }), { message: /top_k/ })
})

t.test('a decoder that does not fit the outputs is refused when the model is loaded', async (t) => {
  const { outputs } = cases.yolov5!
  const two = cases['ssd, by centres in pixels']!.outputs
  const rowsOf: Array<[Record<string, Said>, Record<string, unknown>, RegExp]> = [
    [outputs, { type: 'yolov10' }, /yolov10 wants rows of 6 values, found rows of 8/],
    [outputs, { type: 'yolox' }, /grids of 8, 16, 32 pixels have 84 cells, the output has 4 rows/],
    [outputs, { type: 'yolov8' }, /labels: found 3, the model tells 4 classes/],
    [{ out: rows([1, 2, 3, 4, 5, 6]) }, { type: 'yolov5' }, /labels: found 3, .* 1 classes/],
    [
      { out: { shape: [4], values: [1, 2, 3, 4] } },
      { type: 'yolov5' },
      /found \[4\].*a table of boxes/
    ],
    [two, { type: 'yolov5' }, /decoder\.output is required: .*'boxes', 'scores'/],
    [two, { type: 'yolov5', output: 'box' }, /decoder\.output: the model has no output 'box'/],
    [two, { type: 'ssd' }, /decoder\.outputs: field required/],
    [two, { type: 'ssd', outputs: { boxes: 'scores', scores: 'boxes' } }, /scores: wanted a score/],
    [
      two,
      { type: 'ssd', outputs: { boxes: 'boxes', scores: 'scores' }, first_class: 1 },
      /labels: found 3, .* 2 classes/
    ],
    [outputs, { type: 'yolov5', min_scores: 1 }, /decoder\.min_scores: extra fields/],
    [outputs, { type: 'yolov7' }, /decoder\.type: found 'yolov7', detection has yolov5, yolov8/],
    [outputs, {}, /decoder\.type is required: one of yolov5/]
  ]
  for (const [said, decoder, message] of rowsOf) {
    await t.rejects(
      serveModel(t, sayer(said), settings(decoder)),
      { code: 'EXP_MODEL', message },
      JSON.stringify(decoder)
    )
  }
})
