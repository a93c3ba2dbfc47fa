import { join } from 'node:path'
import t from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure } from './media-canary.ts'
import { ffmpeg } from './numbered-video.ts'

const skip = skipWithout('ffmpeg')
const media = createMedia(defaultMediaPolicy)
const base = t.testdir({})
const at = (name: string) => join(base, name)
const h264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p']

/** Stills that differ, slowly moved over and into. */
const stills = [
  'testsrc=s=320x180',
  'mandelbrot=s=320x180',
  'smptehdbars=s=320x180',
  'rgbtestsrc=s=320x180'
]
const moved = "scale=640:-1,zoompan=z='1+0.004*on':x='on*3':d=60:s=320x180:fps=25,format=yuv420p"

async function still(name: string, source: number): Promise<string> {
  const path = at(name)
  const input = ['-f', 'lavfi', '-i', `${stills[source]}`]
  await ffmpeg([...input, '-vf', `trim=end_frame=1,${moved}`, '-frames:v', '60', ...h264, path])
  return path
}

async function cuts(name: string, threshold?: number): Promise<number[]> {
  const { changes: found } = await media.sceneChanges(at(name), { threshold })
  return found.map(({ frame }) => frame)
}

if (skip === false) for (const n of stills.keys()) await still(`still-${n}.mp4`, n)

t.test('hard cuts, to the frame, and none in what moves', { skip }, async (t) => {
  const inputs = stills.flatMap((_, n) => ['-i', at(`still-${n}.mp4`)])
  const joined = ['-filter_complex', `concat=n=${stills.length}`, '-bf', '3', ...h264]
  await ffmpeg([...inputs, ...joined, at('film.mp4')])
  const { changes: found } = await media.sceneChanges(at('film.mp4'))
  t.strictSame(
    found.map(({ frame, second }) => [frame, second]),
    [
      [60, 2.4],
      [120, 4.8],
      [180, 7.2]
    ]
  )
  for (const { score } of found) t.ok(score > 0.1 && score <= 1, `${score}`)
  t.strictSame(await cuts('film.mp4', 1), [])
  t.strictSame(await cuts('still-1.mp4'), [])
})

t.test('fades and dissolves are no cuts', { skip }, async (t) => {
  const two = ['-i', at('still-0.mp4'), '-i', at('still-1.mp4'), '-filter_complex']
  await ffmpeg([...two, 'xfade=transition=fade:duration=0.4:offset=1', ...h264, at('fade.mp4')])
  t.strictSame(await cuts('fade.mp4'), [])
  await ffmpeg(['-i', at('still-1.mp4'), '-vf', 'fade=out:20:12', ...h264, at('black.mp4')])
  t.strictSame(await cuts('black.mp4'), [])
})

t.test('a flash of up to three frames is no cut, a longer picture is two', { skip }, async (t) => {
  for (const length of [1, 3, 6]) {
    const flash = `drawbox=c=white:t=fill:enable='between(n,30,${29 + length})'`
    await ffmpeg(['-i', at('still-1.mp4'), '-vf', flash, ...h264, at('flash.mp4')])
    t.strictSame(await cuts('flash.mp4'), length < 4 ? [] : [30, 30 + length], `${length}`)
  }
})

t.test('a quick pan and noise are no cuts', { skip }, async (t) => {
  const wide = ['-f', 'lavfi', '-i', 'mandelbrot=s=1280x180', '-vf']
  const pan = "trim=end_frame=1,loop=40:1,setpts=N/25/TB,crop=320:180:x='n*24':y=0"
  await ffmpeg([...wide, pan, '-frames:v', '40', ...h264, at('pan.mp4')])
  t.strictSame(await cuts('pan.mp4'), [])
  const grain = ['-f', 'lavfi', '-i', 'color=gray:s=320x180:d=2,noise=alls=100:allf=t']
  await ffmpeg([...grain, ...h264, at('noise.mp4')])
  t.strictSame(await cuts('noise.mp4'), [])
})

t.test('videos of a few frames, and thresholds that cannot be', { skip }, async (t) => {
  const inputs = ['-i', at('still-0.mp4'), '-i', at('still-2.mp4'), '-filter_complex']
  const short = '[0]trim=end_frame=2[a];[1]trim=end_frame=2,setpts=PTS-STARTPTS[b];[a][b]concat'
  await ffmpeg([...inputs, short, ...h264, at('short.mp4')])
  t.strictSame(await cuts('short.mp4'), [2])
  await ffmpeg(['-i', at('short.mp4'), '-frames:v', '1', ...h264, at('one.mp4')])
  t.strictSame(await cuts('one.mp4'), [])
  for (const threshold of [0, -1, 1.1, Number.NaN]) {
    t.match(await failure(cuts('short.mp4', threshold)), { code: 'EXP_BAD_INPUT' })
  }
})
