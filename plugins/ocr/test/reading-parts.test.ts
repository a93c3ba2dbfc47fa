import t from 'tap'
import { LINE_HEIGHT } from '../crop-line.ts'
import { decodeCtc } from '../decode-ctc.ts'
import { mergeLines } from '../merge-lines.ts'
import { plainPunctuation } from '../plain-punctuation.ts'
import { restoreSpaces } from '../restore-spaces.ts'
import { sortLines } from '../sort-lines.ts'
import { boxAround, cornersOf, levelBounds, type TextBox } from '../text-box.ts'
import { textRegions } from '../text-regions.ts'

const box = (left: number, top: number, width: number, height: number): TextBox => ({
  x: left + width / 2,
  y: top + height / 2,
  width,
  height,
  angle: 0
})

t.test('decoding joins repeats, drops blanks and keeps doubles that a blank parts', async (t) => {
  const charset = ['', 'a', 'b']
  const best = [1, 1, 0, 1, 2, 2, 0]
  const data = Float32Array.from(
    best.flatMap((sign) => charset.map((_, i) => (i === sign ? 0.8 : 0.1)))
  )
  const decoded = decodeCtc(data, charset)
  t.equal(decoded.text, 'aab')
  t.same(decoded.steps, [0, 3, 4])
  t.ok(Math.abs(decoded.score - 0.8) < 1e-6)
  t.same(decodeCtc(new Float32Array([1, 0, 0]), charset), { text: '', score: 0, steps: [] })
})

t.test('a region becomes a rectangle grown around it, and a faint one none', async (t) => {
  const map = { data: new Float32Array(100 * 60), width: 100, height: 60 }
  for (let y = 20; y < 30; y += 1) for (let x = 10; x < 70; x += 1) map.data[y * 100 + x] = 0.9
  for (let y = 50; y < 55; y += 1) for (let x = 10; x < 70; x += 1) map.data[y * 100 + x] = 0.4
  const [region, ...others] = textRegions(map)
  t.same(others, [])
  t.match(region, { x: 40, y: 25, angle: 0 })
  t.ok(region!.height > 20 && region!.height < 26 && region!.width > 70 && region!.width < 76)
})

t.test('a long tilted region keeps its tilt', async (t) => {
  const map = { data: new Float32Array(200 * 120), width: 200, height: 120 }
  for (let x = 20; x < 180; x += 1) {
    for (let y = 0; y < 10; y += 1) map.data[(Math.round(30 + x / 4) + y) * 200 + x] = 0.9
  }
  const [region] = textRegions(map)
  t.ok(Math.abs(region!.angle - Math.atan(1 / 4)) < 0.03, `${region!.angle}`)
})

t.test('words of one line are joined; a next column and a next line are not', async (t) => {
  const words = [
    box(10, 10, 60, 20),
    box(76, 11, 50, 20),
    box(170, 10, 60, 20),
    box(10, 40, 60, 20)
  ]
  const lines = mergeLines(words).map((line) => levelBounds(line, { width: 300, height: 100 }))
  t.same(lines, [
    [10, 10, 126, 31],
    [170, 10, 230, 30],
    [10, 40, 70, 60]
  ])
})

t.test('lines are sorted by rows, and within a row from the left', async (t) => {
  const lines = [box(100, 52, 40, 20), box(90, 8, 40, 20), box(5, 50, 40, 20), box(5, 10, 40, 20)]
  const sorted = sortLines(lines.map((one) => ({ box: one }))).map((line) => line.box)
  t.same(sorted, [lines[3], lines[1], lines[2], lines[0]])
})

t.test('a turned rectangle has the bounds of its corners, cut at the picture', async (t) => {
  const turned = { x: 20, y: 20, width: 60, height: 10, angle: Math.PI / 2 }
  t.same(levelBounds(turned, { width: 40, height: 40 }), [15, 0, 25, 40])
  const again = boxAround(cornersOf(turned), turned.angle)
  t.ok(Math.abs(again.width - 60) < 1e-9 && Math.abs(again.x - 20) < 1e-9)
})

t.test('a swallowed space is put back where the gap is as wide as a seen one', async (t) => {
  // Five strokes: two gaps of letters, then two of spaces.
  const width = 112
  const data = new Float32Array(3 * LINE_HEIGHT * width).fill(1)
  for (const x of [4, 20, 36, 68, 100]) {
    for (let row = 0; row < 3 * LINE_HEIGHT; row += 1)
      data.fill(-1, row * width + x, row * width + x + 8)
  }
  const crop = { data, shape: [1, 3, LINE_HEIGHT, width] }
  const decoded = { text: 'abc, d', score: 1, steps: [0, 2, 4, 8, 10, 12] }
  t.equal(restoreSpaces(crop, decoded), 'abc , d')
})

t.test(
  'full-width punctuation becomes plain in Latin lines and stays in Chinese ones',
  async (t) => {
    t.equal(plainPunctuation('f（a，b）：1'), 'f(a,b):1')
    t.equal(plainPunctuation('你好，世界'), '你好，世界')
  }
)
