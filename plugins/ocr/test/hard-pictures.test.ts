import sharp, { type Sharp } from 'sharp'
import t from 'tap'
import { openOcrModels } from '../ocr-models.ts'
import { readLines } from '../read-lines.ts'
import { decodePage, fixtures, pasteCuts, pixelsOf, readPages } from './read-pages.ts'

// One thread: test files run side by side, and spinning threads of two would slow each other.
const models = await openOcrModels({ threads: 1 })
t.teardown(() => models.release())
const settings = { maxSide: 960, minScore: 0.5 }

async function textOf(picture: Sharp): Promise<string[]> {
  const lines = await readLines(models, await pixelsOf(picture), settings)
  return lines.map((line) => line.text)
}

const blank = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: '#fff' } })

t.test('a picture of one pixel, of one column and a blank one have no text', async (t) => {
  t.same(await textOf(blank(1, 1)), [])
  t.same(await textOf(blank(1, 4000)), [])
  t.same(await textOf(blank(640, 480)), [])
})

t.test('noise is no text', async (t) => {
  const data = new Uint8Array(400 * 300 * 3)
  let seed = 7
  for (let i = 0; i < data.length; i += 1) {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    data[i] = seed >> 16
  }
  const image = { data, width: 400, height: 300, channels: 3 as const }
  t.same(await readLines(models, image, settings), [])
})

async function linesOf(file: string): Promise<{ text: string; bbox: number[] }[]> {
  const page = (await readPages()).find((one) => one.file === file)!
  return page.lines.map(({ text, bbox }) => ({ text, bbox: bbox! }))
}

t.test('a small picture that its text fills is read', async (t) => {
  const { text, bbox } = (await linesOf('receipt.png'))[0]!
  const cut = await pasteCuts(bbox[2]! - bbox[0]!, bbox[3]! - bbox[1]!, 'receipt.png', [
    { bbox, left: 0, top: 0 }
  ])
  t.same(await textOf(cut), [text])
})

t.test('a line of seven thousand pixels is read in pieces', async (t) => {
  const { text, bbox } = (await linesOf('sans-paragraph.png'))[0]!
  const step = bbox[2]! - bbox[0]! + 10
  const cuts = Array.from({ length: 11 }, (_, index) => ({ bbox, left: 10 + index * step, top: 8 }))
  const strip = await pasteCuts(20 + 11 * step, 45, 'sans-paragraph.png', cuts)
  t.same(await textOf(strip), [Array(11).fill(text).join(' ')])
})

t.test('a tall strip is not made so small that its text is lost', async (t) => {
  const lines = await linesOf('sans-paragraph.png')
  const cuts = lines.map(({ bbox }, index) => ({ bbox, left: 20, top: 60 + index * 560 }))
  const strip = await pasteCuts(720, 4000, 'sans-paragraph.png', cuts)
  t.same(
    await textOf(strip),
    lines.map((line) => line.text)
  )
})

for (const angle of [90, 180, 270]) {
  t.test(`a page turned by ${angle} degrees is read`, async (t) => {
    const picture = sharp(`${fixtures}light-on-dark.png`).rotate(angle)
    const texts = await textOf(picture)
    t.equal(texts.length, 5)
    t.ok(texts.includes('Next inspection is due on Thursday at 06:30'))
  })
}

t.test('a photograph of twelve megapixels is searched in the size of a small one', async (t) => {
  const picture = sharp(`${fixtures}photo-screen-list.jpg`).resize(4000, 3000)
  const image = await pixelsOf(picture)
  let pixels = 0
  const detector = {
    ...models.detector,
    run: (feeds: Parameters<typeof models.detector.run>[0]) => {
      pixels = feeds[detector.inputNames[0]!]!.data.length / 3
      return models.detector.run(feeds)
    }
  }
  const lines = await readLines({ ...models, detector }, image, settings)
  t.equal(lines[0]?.text, 'Adopt A Dolphin')
  t.ok(pixels <= 1024 * 800, `${pixels} pixels`)
})

t.test('an aborted signal stops between lines', async (t) => {
  const image = await decodePage('sans-paragraph.png')
  const stop = new AbortController()
  const notes: string[] = []
  const reading = readLines(models, image, {
    ...settings,
    signal: stop.signal,
    onProgress: (_fraction, note) => {
      notes.push(note)
      if (notes.length === 3) stop.abort()
    }
  })
  await t.rejects(reading, { name: 'ExpertError', code: 'EXP_CANCELED' })
  t.same(notes, ['line 1 of 7', 'line 2 of 7', 'line 3 of 7'])
})
