import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure } from './media-canary.ts'
import { shownNumber, writeNumbered } from './numbered-video.ts'

const skip = skipWithout('ffmpeg')
const media = createMedia(defaultMediaPolicy)
const base = t.testdir({})
const film = join(base, 'film.mp4')
const args = ['-c:v', 'libx264', '-bf', '3', '-preset', 'veryfast']
if (skip === false) await writeNumbered(film, { frames: 400, args })

t.test('A60: three frames out of order become three files, and [] none', { skip }, async (t) => {
  const folder = join(t.testdir({}), 'a', 'frames')
  const paths = await media.divideMovieIntoFrames(film, { frames: [346, 125, 63, 125], folder })
  t.strictSame(
    [...paths],
    [63, 125, 346].map((n) => [n, join(folder, `frame${`${n}`.padStart(4, '0')}.jpg`)])
  )
  t.strictSame(readdirSync(folder).sort(), ['frame0063.jpg', 'frame0125.jpg', 'frame0346.jpg'])
  for (const [number, path] of paths) {
    const picture = await media.decodeImage(path)
    t.match(picture, { width: 96, height: 32 })
    t.equal(shownNumber({ ...picture, number, second: 0 }), number)
  }
  const none = join(t.testdirName, 'none')
  t.equal((await media.divideMovieIntoFrames(film, { frames: [], folder: none })).size, 0)
  t.strictSame(readdirSync(none), [])
})

t.test('all of them', { skip }, async (t) => {
  const folder = t.testdir({})
  const paths = await media.divideMovieIntoFrames(film, { frames: 'all', folder })
  t.equal(paths.size, 400)
  t.strictSame([...paths.keys()], [...Array(400).keys()])
  t.equal(readdirSync(folder).length, 400)
})

t.test('a frame beyond the end, and a signal: no file stays', { skip }, async (t) => {
  const folder = t.testdir({ 'other.jpg': 'mine' })
  const error = await failure(media.divideMovieIntoFrames(film, { frames: [1, 400], folder }))
  t.match(error, { code: 'EXP_BAD_INPUT', message: /film.mp4 has 400 frames .* wanted frame 400/ })
  const signal = AbortSignal.timeout(250)
  const stopped = media.divideMovieIntoFrames(film, { frames: 'all', folder, signal })
  t.match(await failure(stopped), { code: 'EXP_CANCELED' })
  t.strictSame(readdirSync(folder), ['other.jpg'])
})
