import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { openOcrModels } from '../ocr-models.ts'
import { readLines } from '../read-lines.ts'
import type { TextLine } from '../recognise-text.ts'
import { levelBounds } from '../text-box.ts'
import { editDistance } from './edit-distance.ts'
import { decodePage, fixtures, pixelsOf, readPages } from './read-pages.ts'

// One thread: test files run side by side, and spinning threads of two would slow each other.
const models = await openOcrModels({ threads: 1 })
t.teardown(() => models.release())
const pages = await readPages()
const settings = { maxSide: 960, minScore: 0.5 }

/** Shared area of two boxes by the area they cover together. */
function overlap(a: readonly number[], b: readonly number[]): number {
  const width = Math.min(a[2]!, b[2]!) - Math.max(a[0]!, b[0]!)
  const height = Math.min(a[3]!, b[3]!) - Math.max(a[1]!, b[1]!)
  const shared = Math.max(0, width) * Math.max(0, height)
  const area = (box: readonly number[]) => (box[2]! - box[0]!) * (box[3]! - box[1]!)
  return shared / (area(a) + area(b) - shared)
}

const textOf = (lines: { text: string }[]) => lines.map((line) => line.text).join('\n')

t.test('the fixtures hold at least twelve pages with text and one without', async (t) => {
  t.ok(pages.filter((page) => page.lines.length > 0).length >= 12)
  t.ok(pages.some((page) => page.lines.length === 0))
})

t.test('pages are read in order, with few wrong characters, where they stand', async (t) => {
  let [wrong, all] = [0, 0]
  for (const page of pages) {
    const image = await decodePage(page.file)
    const lines: TextLine[] = await readLines(models, image, settings)
    if (page.lines.length === 0) {
      t.same(lines, [], `${page.file}: nothing is read where nothing is written`)
      continue
    }
    const wanted = textOf(page.lines)
    const errors = editDistance(textOf(lines), wanted)
    const right = 100 * (1 - errors / wanted.length)
    t.ok(right >= 85, `${page.file}: ${right.toFixed(1)} % of ${wanted.length} characters`)
    t.equal(lines.length, page.lines.length, `${page.file}: as many lines as there are`)
    for (const [index, { text, bbox }] of page.lines.entries()) {
      const line = lines[index]
      if (bbox === null || line === undefined) continue
      const found = overlap(levelBounds(line.box, image), bbox)
      t.ok(found >= 0.5, `${page.file}: '${text}' overlaps its place by ${found.toFixed(2)}`)
    }
    wrong += errors
    all += wanted.length
  }
  const right = 100 * (1 - wrong / all)
  t.comment(`${right.toFixed(2)} % of ${all} characters, ${wrong} wrong`)
  t.ok(right >= 98, `over all pages ${right.toFixed(2)} % of ${all} characters`)
})

t.test('lines of two columns are not joined', async (t) => {
  const lines = await readLines(models, await decodePage('two-columns.png'), settings)
  t.equal(lines.length, 16)
  t.ok(lines.every((line) => line.box.width < 400))
})

for (const angle of [5, 90, 270]) {
  t.test(`pages turned by ${angle} degrees are read almost as well`, async (t) => {
    let [wrong, all] = [0, 0]
    for (const page of pages.filter(({ file }) => file.endsWith('.png'))) {
      // On the paper's own colour: else the edge of the picture is something to see.
      const background = await cornerOf(page.file)
      const turned = sharp(join(fixtures, page.file)).rotate(angle, { background })
      const found = await readLines(models, await pixelsOf(turned), settings)
      const left = found.map(({ text }) => text)
      for (const { text } of page.lines) {
        const errors = left.map((other) => editDistance(other, text))
        const best = errors.indexOf(Math.min(...errors))
        wrong += Math.min(text.length, errors[best] ?? text.length)
        all += text.length
        if (best !== -1) left.splice(best, 1)
      }
      wrong += left.join('').length
    }
    const right = 100 * (1 - wrong / all)
    t.comment(`${right.toFixed(2)} % of ${all} characters, ${wrong} wrong`)
    t.ok(all > 1000 && right >= 95, `${right.toFixed(2)} % of ${all} characters`)
  })
}

async function cornerOf(file: string): Promise<{ r: number; g: number; b: number }> {
  const { data } = await decodePage(file)
  return { r: data[0]!, g: data[1]!, b: data[2]! }
}
