import { join } from 'node:path'
import t from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import type { FrameOptions } from '../media/media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure } from './media-canary.ts'
import { shownNumber, writeNumbered } from './numbered-video.ts'

const skip = skipWithout('ffmpeg')
const media = createMedia(defaultMediaPolicy)
const base = t.testdir({})
const at = (name: string) => join(base, name)
const h264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-bf', '3', '-pix_fmt', 'yuv420p']
const film = at('film.mp4')
if (skip === false) await writeNumbered(film, { frames: 300, args: [...h264, '-g', '50'] })

/** Number, shown number and second of each frame. */
async function read(path: string, options?: FrameOptions): Promise<number[][]> {
  const found: number[][] = []
  for await (const frame of media.frames(path, options)) {
    found.push([frame.number, shownNumber(frame), frame.second])
  }
  return found
}

const numbersOf = (found: number[][]) => found.map(([number]) => number)
const upTo = (count: number, step = 1) => Array.from({ length: count }, (_, n) => n * step)

t.test('each frame has the number that it shows, and its second', { skip }, async (t) => {
  const found = await read(film)
  t.strictSame(
    found,
    upTo(300).map((number) => [number, number, found[number]![2]!])
  )
  for (const [number, , second] of found) {
    if (Math.abs(second! - number! / 25) > 1e-9) t.fail(`${number} is at ${second}`)
  }
})

t.test('some by number: in order, once, in one run', { skip }, async (t) => {
  const some = (numbers: number[], options?: FrameOptions) => read(film, { numbers, ...options })
  t.strictSame(await some([246, 125, 63, 125]), [
    [63, 63, 2.52],
    [125, 125, 5],
    [246, 246, 9.84]
  ])
  t.strictSame(numbersOf(await some([299])), [299])
  t.strictSame(await some([]), [])
  const odd = upTo(150).map((n) => 2 * n + 1)
  const shown = (await some(odd)).map(([, shown]) => shown)
  t.strictSame(shown, odd)
})

t.test('a list that is too long for an argument of a process', { skip }, async (t) => {
  const numbers = upTo(5000, 2)
  const found = await read(film, { numbers, missing: 'skip' })
  t.strictSame(
    found.map(([, shown]) => shown),
    upTo(150, 2)
  )
  const seconds = upTo(3000).map((n) => n / 250)
  t.strictSame(numbersOf(await read(film, { seconds })), upTo(300))
})

t.test('each n-th, and one each so many seconds', { skip }, async (t) => {
  t.strictSame(numbersOf(await read(film, { every: 70 })), upTo(5, 70))
  t.strictSame(numbersOf(await read(film, { everyS: 2 })), upTo(6, 50))
  t.strictSame(numbersOf(await read(film, { everyS: 0.5 })).slice(0, 4), [0, 13, 25, 38])
  t.strictSame(numbersOf(await read(film, { everyS: 0.001 })), upTo(300))
})

t.test(
  'by second: the first frame from then on; while it is shown, the last',
  { skip },
  async (t) => {
    const seconds = [5, 0, 1.01, 1.02, 1.0404, 3]
    t.strictSame(numbersOf(await read(film, { seconds })), [0, 26, 75, 125])
    t.strictSame(numbersOf(await read(film, { seconds: [1.041] })), [27])
    t.strictSame(numbersOf(await read(film, { seconds: [1, 11.97, 11.999] })), [25, 299])
    t.strictSame(numbersOf(await read(film, { seconds: [11.96, 11.97] })), [299])
  }
)

t.test('beyond the end is an error that says where the end is, or skipped', { skip }, async (t) => {
  for (const [options, wanted] of [
    [{ numbers: [3, 300, 900] }, 'frame 300'],
    [{ seconds: [1, 12.01] }, 'second 12.01'],
    [{ seconds: [1, 11.99, 70, 80] }, 'second 70']
  ] as const) {
    const error = await failure(read(film, options))
    t.match(error, { code: 'EXP_BAD_INPUT', statusCode: 422 })
    t.equal(error.message, `film.mp4 has 300 frames and ends at 12 s, wanted ${wanted}`)
    const found = numbersOf(await read(film, { ...options, missing: 'skip' }))
    t.ok(found.length >= 1 && found.length <= 2, `${found}`)
  }
})

t.test('options that cannot be', async (t) => {
  for (const [options, message] of [
    [{ numbers: [-1] }, /'numbers' has -1, wanted whole numbers from 0/],
    [{ numbers: [1.5] }, /'numbers' has 1.5/],
    [{ numbers: 3 }, /'numbers' is no list/],
    [{ seconds: [Number.NaN] }, /'seconds' has null/],
    [{ every: 0 }, /'every' is 0/],
    [{ everyS: -1 }, /'everyS' is -1/],
    [{ every: 2, seconds: [1] }, /by seconds and every, wanted at most one/]
  ] as const) {
    const error = await failure(read(film, options as unknown as FrameOptions))
    t.match(error, { code: 'EXP_BAD_INPUT', message })
  }
})

t.test('sizes that cannot be', { skip }, async (t) => {
  for (const options of [
    { width: 0 },
    { height: 1.5 },
    { width: 100_000, height: 100_000 },
    { width: 9, fit: 'cover' as 'inside' }
  ]) {
    t.match(await failure(read(film, options)), { code: 'EXP_BAD_INPUT' })
  }
})

t.test('ffmpeg makes the size that is asked for', { skip }, async (t) => {
  const sizeOf = async (options: FrameOptions) => {
    for await (const { width, height, channels, data, ...frame } of media.frames(film, options)) {
      t.equal(data.length, width * height * channels)
      t.equal(shownNumber({ width, height, channels, data, ...frame }), 77)
      return [width, height, channels]
    }
  }
  const numbers = [77]
  t.strictSame(await sizeOf({ numbers }), [96, 32, 3])
  t.strictSame(await sizeOf({ numbers, width: 224, height: 224 }), [224, 224, 3])
  t.strictSame(await sizeOf({ numbers, width: 225, height: 225, fit: 'inside' }), [225, 75, 3])
  t.strictSame(await sizeOf({ numbers, height: 16, channels: 1 }), [48, 16, 1])
  t.strictSame(await sizeOf({ numbers, width: 191, fit: 'inside' }), [191, 64, 3])
})
