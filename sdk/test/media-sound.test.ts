import { join } from 'node:path'
import t from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure } from './media-canary.ts'
import { ffmpeg, script, writeNumbered } from './numbered-video.ts'

const skip = skipWithout('ffmpeg')
const media = createMedia(defaultMediaPolicy)
const base = t.testdir({})
const at = (name: string) => join(base, name)
const tone = (hertz: number, seconds: number) => [
  ...['-f', 'lavfi', '-i', `sine=f=${hertz}:r=44100:d=${seconds}`]
]

async function read(path: string, sampleRate?: number): Promise<Float32Array> {
  const pieces: Float32Array[] = []
  for await (const piece of media.sound(path, { sampleRate })) pieces.push(piece)
  const all = new Float32Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let place = 0
  for (const piece of pieces) {
    all.set(piece, place)
    place += piece.length
  }
  return all
}

/** Rising zero crossings a second, between the first and the last tenth. */
function pitch(samples: Float32Array, sampleRate: number): number {
  const [from, to] = [Math.floor(samples.length * 0.1), Math.floor(samples.length * 0.9)]
  let crossings = 0
  for (let n = from + 1; n < to; n++) if (samples[n - 1]! < 0 && samples[n]! >= 0) crossings++
  return crossings / ((to - from) / sampleRate)
}

t.test(
  'bare sound of every kind, and that of a video, at the rate that is asked for',
  { skip },
  async (t) => {
    const film = [
      '-f',
      'lavfi',
      '-i',
      'testsrc=s=64x64:d=3',
      '-c:v',
      'libx264',
      '-preset',
      'ultrafast'
    ]
    const files: Array<[string, string[]]> = [
      ['a.wav', []],
      ['a.flac', []],
      ['a.mp3', []],
      ['a.ogg', ['-c:a', 'libvorbis']],
      ['stereo.m4a', ['-ac', '2']],
      ['8-bit.wav', ['-c:a', 'pcm_u8']],
      ['film.mp4', film],
      ['film.mkv', film]
    ]
    for (const [name, args] of files) {
      await ffmpeg([...tone(440, 3), ...args, at(name)])
      for (const rate of name === 'a.wav' ? [undefined, 8000, 44_100] : [undefined]) {
        const samples = await read(at(name), rate)
        const hertz = rate ?? 16_000
        t.ok(Math.abs(samples.length / hertz - 3) < 0.1, `${name}: ${samples.length / hertz} s`)
        const found = pitch(samples, hertz)
        t.ok(Math.abs(found - 440) < 2, `${name}: ${found} Hz`)
        const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)
        t.ok(peak > 0.08 && peak < 0.2, `${name}: a sine of 1/8, peak ${peak}`)
      }
    }
  }
)

t.test('all channels are mixed into one', { skip }, async (t) => {
  const left = Float32Array.from({ length: 20_000 }, (_, n) => Math.sin(n / 9) / 2)
  const both = Float32Array.from({ length: 40_000 }, (_, n) => (n % 2 === 0 ? left[n >> 1]! : 0.25))
  const raw = ['-f', 'f32le', '-ar', '16000', '-ac', '2', '-i', 'pipe:0', '-c:a', 'pcm_f32le']
  await ffmpeg([...raw, at('two.wav')], (write) => write(new Uint8Array(both.buffer)))
  const mixed = await read(at('two.wav'))
  t.equal(mixed.length, left.length)
  const off = mixed.reduce((most, sample, n) => {
    return Math.max(most, Math.abs(sample - (left[n]! + 0.25) / 2))
  }, 0)
  t.ok(off < 1e-6, `off by ${off}`)
})

t.test('the samples are those of the file, in order', { skip }, async (t) => {
  const wanted = new Float32Array(50_000).map((_, n) => Math.fround(Math.sin(n * n * 1e-4) / 2))
  const raw = ['-f', 'f32le', '-ar', '16000', '-ac', '1', '-i', 'pipe:0', '-c:a', 'pcm_f32le']
  await ffmpeg([...raw, at('exact.wav')], (write) => write(new Uint8Array(wanted.buffer)))
  t.strictSame([...(await read(at('exact.wav')))], [...wanted])
})

t.test('it streams, and leaving the loop ends ffmpeg', { skip }, async (t) => {
  await ffmpeg([...tone(440, 1200), at('long.wav')])
  const { path, pids } = await script(t, 'exec ffmpeg "$@"')
  const watched = createMedia({ ...defaultMediaPolicy, ffmpeg: path })
  let samples = 0
  for await (const piece of watched.sound(at('long.wav'))) {
    t.ok(piece.length > 1000 && piece.length < 100_000)
    samples += piece.length
    if (samples > 30_000) break
  }
  t.equal(await pids.gone(), 1)
  const stop = new AbortController()
  const stopped = (async () => {
    for await (const _ of watched.sound(at('long.wav'), { signal: stop.signal })) stop.abort()
  })()
  t.match(await failure(stopped), { code: 'EXP_CANCELED' })
  t.equal(await pids.gone(), 2)
})

t.test('no sound, and rates that cannot be', { skip }, async (t) => {
  const args = ['-c:v', 'libx264']
  await writeNumbered(at('silent.mp4'), { frames: 10, args })
  const error = await failure(read(at('silent.mp4')))
  const message = 'silent.mp4 has no sound, wanted a file with sound'
  t.match(error, { code: 'EXP_MEDIA_UNREADABLE', statusCode: 422, message })
  for (const rate of [0, -1, 1.5, Number.NaN, 1e9]) {
    t.match(await failure(read(at('silent.mp4'), rate)), { code: 'EXP_BAD_INPUT' })
  }
})
