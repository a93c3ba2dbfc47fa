import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import type { FrameOptions, VideoFrame } from '../media/media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure } from './media-canary.ts'
import { ffmpeg, shownNumber, writeNumbered } from './numbered-video.ts'

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

t.test('containers, codecs and kinds of pixels', { skip }, async (t) => {
  const raw = { frames: 60, args: ['-c:v', 'ffv1'] }
  const videos: Array<[string, Parameters<typeof writeNumbered>[1]]> = [
    ['late.ts', { frames: 60, args: h264 }],
    ['b.mkv', { frames: 60, args: h264 }],
    ['a.webm', { frames: 60, args: ['-c:v', 'libvpx', '-deadline', 'realtime', '-b:v', '2M'] }],
    ['a.avi', { frames: 60, args: ['-c:v', 'mpeg4', '-q:v', '2', '-bf', '2'] }],
    ['10-bit.mp4', { frames: 60, args: ['-c:v', 'libx264', '-pix_fmt', 'yuv420p10le'] }],
    ['grey.mkv', { ...raw, args: [...raw.args, '-pix_fmt', 'gray'] }],
    ['grey16.mkv', { ...raw, args: [...raw.args, '-pix_fmt', 'gray16le'] }],
    ['odd.mkv', { ...raw, width: 97, height: 33, args: [...raw.args, '-pix_fmt', 'yuv444p'] }],
    ['ntsc.mp4', { frames: 60, rate: 29.97, args: h264 }],
    ['a.gif', { frames: 60, args: [] }]
  ]
  for (const [name, video] of videos) {
    const path = await writeNumbered(at(name), video)
    const found = await read(path, { numbers: [0, 7, 41, 59] })
    t.strictSame(
      found.map(([number, shown]) => [number, shown]),
      [0, 7, 41, 59].map((n) => [n, n]),
      name
    )
    t.equal((await read(path)).length, 60, name)
  }
})

t.test('a frame rate that varies', { skip }, async (t) => {
  // Frames at 0, 0.04, …, 0.76 s, then at 1.2, 2.4, 3.6, …: each shown 30 times as long.
  const path = await writeNumbered(at('vfr.mkv'), {
    frames: 40,
    args: [...['-vf', 'setpts=if(lt(N\\,20)\\,N\\,(N-19)*30)', '-vsync', 'passthrough'], ...h264]
  })
  const found = await read(path)
  t.strictSame(
    found.map(([, shown]) => shown),
    upTo(40)
  )
  t.strictSame(
    found.slice(18, 23).map(([, , second]) => Math.round(second! * 1000)),
    [720, 760, 1200, 2400, 3600]
  )
  t.strictSame(numbersOf(await read(path, { everyS: 1 })).slice(0, 4), [0, 20, 21, 22])
  t.strictSame(numbersOf(await read(path, { seconds: [0.77, 1.3, 2.3] })), [20, 21])
  t.strictSame(numbersOf(await read(path, { seconds: [24.5] })), [39])
})

t.test('the size changes in the middle: the numbers go on', { skip }, async (t) => {
  await writeNumbered(at('one.ts'), { frames: 30, args: [...h264, '-f', 'mpegts'] })
  const args = ['-vf', 'scale=192:64', ...h264, '-f', 'mpegts', '-output_ts_offset', '2']
  await writeNumbered(at('two.ts'), { frames: 30, args })
  execFileSync('sh', ['-c', 'cat one.ts two.ts > both.ts'], { cwd: base })
  const found: VideoFrame[] = []
  for await (const frame of media.frames(at('both.ts'))) found.push(frame)
  t.strictSame(
    found.map(({ number }) => number),
    upTo(60)
  )
  t.strictSame(found.map(shownNumber), [...upTo(30), ...upTo(30)])
  t.ok(found.every(({ width, height }) => width === 96 && height === 32))
})

t.test('as shown: turned as the file says, and so does ffmpeg', { skip }, async (t) => {
  for (const turn of [0, 90, 180, 270]) {
    const path = at(`turned-${turn}.mp4`)
    await ffmpeg(['-i', film, '-t', '1', '-c', 'copy', '-metadata:s:v', `rotate=${turn}`, path])
    const info = await media.probe(path)
    const upright = turn % 180 === 0
    t.match(info.video, upright ? { width: 96, height: 32 } : { width: 32, height: 96 })
    t.equal(info.video!.rotation % 180, turn % 180)
    const raw = ['-frames:v', '1', '-pix_fmt', 'rgb24', '-f', 'rawvideo', 'pipe:1']
    const args = ['-v', 'error', '-i', path, '-vf', 'select=eq(n\\,5)', ...raw]
    const wanted = execFileSync('ffmpeg', args)
    for await (const { data, width, height } of media.frames(path, { numbers: [5] })) {
      t.strictSame([width, height], [info.video!.width, info.video!.height])
      t.ok(wanted.equals(data), `${turn} degrees`)
    }
    for await (const { width, height } of media.frames(path, { numbers: [5], width: 30 })) {
      t.strictSame([width, height], upright ? [30, 10] : [30, 90])
    }
  }
})

t.test('colours are the right way round', { skip }, async (t) => {
  await ffmpeg([
    '-f',
    'lavfi',
    '-i',
    'color=#c83214:s=64x48:d=1',
    '-pix_fmt',
    'yuv444p',
    at('c.mkv')
  ])
  for await (const { data } of media.frames(at('c.mkv'), { numbers: [3] })) {
    const wanted = [0xc8, 0x32, 0x14]
    t.ok(
      wanted.every((value, index) => Math.abs(value - data[index]!) <= 4),
      `${data.subarray(0, 3)}`
    )
  }
})

t.test('a cover picture is no video, and does not stand for it', { skip }, async (t) => {
  await ffmpeg(['-f', 'lavfi', '-i', 'color=red:s=200x200', '-frames:v', '1', at('cover.png')])
  const cover = ['-map', '1:v', '-map', '0:v', '-c:v:0', 'png', '-disposition:v:0', 'attached_pic']
  await ffmpeg(['-i', film, '-i', at('cover.png'), ...cover, '-c:v:1', 'copy', at('covered.mp4')])
  t.match((await media.probe(at('covered.mp4'))).video, { codec: 'h264', width: 96 })
  t.strictSame(
    (await read(at('covered.mp4'), { numbers: [9] })).map(([, shown]) => shown),
    [9]
  )
  const tone = ['-f', 'lavfi', '-i', 'sine=d=1', '-i', at('cover.png'), '-map', '0', '-map', '1']
  await ffmpeg([...tone, '-c:v', 'copy', '-disposition:v', 'attached_pic', at('song.mp3')])
  t.match(await media.probe(at('song.mp3')), { video: null, audio: { codec: 'mp3' } })
  const error = await failure(read(at('song.mp3')))
  t.match(error, { code: 'EXP_MEDIA_UNREADABLE', message: /song.mp3 has no video, only sound/ })
})

t.test('probe says what a file holds', { skip }, async (t) => {
  const tone = ['-f', 'lavfi', '-i', 'sine=r=44100:d=4']
  const both = at('both.mkv')
  await writeNumbered(both, {
    frames: 100,
    inputs: tone,
    args: [...h264, '-c:a', 'aac', '-ac', '2']
  })
  const info = await media.probe(both)
  t.strictSame(Object.keys(info), ['format', 'durationS', 'video', 'audio'])
  t.match(info, {
    format: 'matroska,webm',
    video: { codec: 'h264', width: 96, height: 32, fps: 25, frames: null, rotation: 0 },
    audio: { codec: 'aac', sampleRate: 44100, channels: 2 }
  })
  t.ok(Math.abs(info.durationS! - 4) < 0.1, `${info.durationS}`)
  t.match(await media.probe(film), { durationS: 12, video: { frames: 300 }, audio: null })
})
