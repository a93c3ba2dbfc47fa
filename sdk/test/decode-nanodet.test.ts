import { decodeNanodet } from '@nebula-experts/sdk/images'
import t from 'tap'

const CLASSES = 3
const BINS = 5

/** A grid of 2 × 2 cells of 10 pixels, in which nothing is seen. */
function emptyGrid(stride = 10) {
  const scores = new Float32Array(4 * CLASSES)
  return { stride, columns: 2, rows: 2, scores, sides: new Float32Array(4 * 4 * BINS) }
}

/** Makes one side of a cell's box certain to lie so many cells away. */
function setSide(
  grid: ReturnType<typeof emptyGrid>,
  cell: number,
  side: number,
  away: number
): void {
  grid.sides[(cell * 4 + side) * BINS + away] = 1000
}

const all = () => true

t.test('a box lies around the centre of its cell, each side in its own distance', async (t) => {
  const grid = emptyGrid()
  grid.scores[3 * CLASSES + 1] = 0.75
  for (const [side, away] of [0, 1, 2, 3].entries()) setSide(grid, 3, side, away)
  const found = decodeNanodet([grid], 0.5, all)
  // Cell 3 is the second of the second row: its centre is 15, 15.
  t.same(found, [{ box: [15, 5, 35, 45], score: 0.75, label: 1 }])
})

t.test('a side that is uncertain lies in the middle of what is likely', async (t) => {
  const grid = emptyGrid(8)
  grid.scores[0] = 1
  // Logits that are all the same: the mean of 0 to 4 is 2 cells of 8 pixels.
  const { box } = decodeNanodet([grid], 0.5, all)[0]!
  t.same(box, [4 - 16, 4 - 16, 4 + 16, 4 + 16])
})

t.test('large logits overflow nothing', async (t) => {
  const grid = emptyGrid()
  grid.scores[0] = 1
  grid.sides.fill(3e38)
  const { box } = decodeNanodet([grid], 0.5, all)[0]!
  t.ok(box.every(Number.isFinite))
})

t.test('a cell counts for its likeliest class alone, where it is likely enough', async (t) => {
  const grid = emptyGrid()
  grid.scores.set([0.6, 0.7, 0.1], 0)
  grid.scores.set([0.1, 0.2, 0.5], CLASSES)
  grid.scores.set([0.49, 0.1, 0.1], 2 * CLASSES)
  const labels = (minScore: number, wanted = all as (label: number) => boolean) =>
    decodeNanodet([grid], minScore, wanted).map(({ label }) => label)
  t.same(labels(0.5), [1, 2])
  t.same(labels(0.55), [1])
  t.same(
    labels(0.5, (label) => label === 0),
    [],
    'what is likelier to be another class is left out'
  )
  t.equal(labels(0).length, 3, 'a class of which nothing is seen is never found')
})

t.test('a grid may have more columns than rows', async (t) => {
  const scores = new Float32Array(6 * CLASSES)
  scores[5 * CLASSES] = 1
  const grid = { stride: 10, columns: 3, rows: 2, scores, sides: new Float32Array(6 * 4 * BINS) }
  const { box } = decodeNanodet([grid], 0.5)[0]!
  t.same(box, [25 - 20, 15 - 20, 25 + 20, 15 + 20])
})

t.test('all grids are read', async (t) => {
  const grids = [emptyGrid(8), emptyGrid(16)]
  for (const grid of grids) grid.scores[0] = 1
  const centres = decodeNanodet(grids, 0.5, all).map(({ box }) => (box[0] + box[2]) / 2)
  t.same(centres, [4, 8])
})
