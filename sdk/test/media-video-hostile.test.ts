import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { createMedia } from '../media/create-media.ts'
import type { Media } from '../media/media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure, policy, startCanary } from './media-canary.ts'
import { ffmpeg, script, writeNumbered } from './numbered-video.ts'

const skip = skipWithout('ffmpeg')
const media = createMedia(policy())
const base = t.testdir({})
const at = (name: string) => join(base, name)
const h264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-bf', '3']

async function frames(media: Media, path: string): Promise<number> {
  let count = 0
  for await (const _ of media.frames(path, { numbers: [0] })) count++
  return count
}

async function everything(path: string): Promise<string[]> {
  const folder = join(base, 'frames')
  const take = async (all: AsyncIterable<unknown>) => {
    for await (const _ of all);
  }
  const errors = await Promise.all([
    failure(media.probe(path)),
    failure(frames(media, path)),
    failure(take(media.sound(path))),
    failure(media.sceneChanges(path)),
    failure(media.divideMovieIntoFrames(path, { frames: 'all', folder }))
  ])
  t.strictSame(readdirSync(folder), [])
  return errors.map(({ code, message }) => `${code}: ${message}`)
}

t.test('a file that names others: none is read, nothing is fetched', { skip }, async (t) => {
  const canary = await startCanary((_, response) => response.end(clip))
  t.teardown(() => canary.close())
  const clip = await readFile(await writeNumbered(at('clip.ts'), { frames: 20, args: h264 }))
  await writeFile(at('secret.txt'), 'the secret')
  // With an ffprobe that takes everything for a video, so that ffmpeg itself is asked too.
  const stream = '{"index":0,"codec_type":"video","codec_name":"h264","width":96,"height":32}'
  const lie = `echo '{"format":{"format_name":"mpegts"},"streams":[${stream}]}'`
  const misled = createMedia(policy({ ffprobe: (await script(t, lie)).path }))
  t.equal(await frames(misled, at('clip.ts')), 1)
  const address = `http://${canary.host}/clip.ts`
  const hls = (uri: string) =>
    `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${uri}\n#EXT-X-ENDLIST\n`
  const dash = (uri: string) => `<?xml version="1.0"?>
    <MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
      profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp2t">
      <Representation id="1" bandwidth="9"><BaseURL>${uri}</BaseURL></Representation></AdaptationSet></Period></MPD>`
  const sdp = `v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video ${canary.port} RTP/AVP 96\na=rtpmap:96 H264/90000\n`
  const texts: Record<string, string> = {
    'hls-http.mp4': hls(address),
    'hls-http.m3u8': hls(address),
    'hls-clip.m3u8': hls('clip.ts'),
    'hls-file.m3u8': hls(`file://${at('clip.ts')}`),
    'hls-passwd.m3u8': hls('file:///etc/passwd'),
    'hls-key.m3u8': hls('clip.ts').replace(
      '#EXTINF',
      `#EXT-X-KEY:METHOD=AES-128,URI="${address}"\n#EXTINF`
    ),
    'concat.mp4': 'ffconcat version 1.0\nfile clip.ts\n',
    'concat-http.mp4': `ffconcat version 1.0\nfile ${address}\n`,
    'concat-passwd.mp4': 'ffconcat version 1.0\nfile /etc/passwd\n',
    'dash.mp4': dash(address),
    'dash-file.mpd': dash('clip.ts'),
    'a.sdp': sdp,
    'sdp.mp4': sdp,
    'redirect.mp4': `[Reference]\nRef1=${address}\n`,
    'picture.mp4': `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="${address}"/></svg>`,
    'subtitles.mp4': '1\n00:00:01,000 --> 00:00:02,000\nthe secret\n',
    'text.mp4': 'the secret\n'.repeat(1000)
  }
  for (const [name, text] of Object.entries(texts)) {
    await writeFile(at(name), text)
    for (const work of [() => media.probe(at(name)), () => frames(misled, at(name))]) {
      const { code, message } = await failure(work())
      t.equal(code, 'EXP_MEDIA_UNREADABLE', name)
      t.notMatch(message, /secret|root:|127\.0\.0\.1/, name)
      t.notOk(message.includes(base), `${name}: ${message}`)
    }
  }
  t.equal(canary.connections(), 0, 'nothing was fetched')
  // That is for what we tell ffmpeg: left alone, it follows them.
  for (const name of ['hls-clip.m3u8', 'concat.mp4']) {
    const alone = spawnSync('ffprobe', ['-v', 'error', '-show_streams', at(name)])
    t.match(alone.stdout.toString(), /codec_name=h264/, name)
  }
})

t.test('what is no video', { skip }, async (t) => {
  await writeFile(at('empty.mp4'), '')
  await writeFile(at('zeros.mp4'), Buffer.alloc(100_000))
  await writeFile(at('noise.mp4'), Buffer.from(Array.from({ length: 99_999 }, (_, n) => n ** 3)))
  await sharp({ create: { width: 9, height: 9, channels: 3, background: 'red' } }).toFile(
    at('a.png')
  )
  await writeFile(at('png.mp4'), await readFile(at('a.png')))
  execFileSync('mkfifo', [at('pipe.mp4')])
  for (const name of ['empty.mp4', 'zeros.mp4', 'png.mp4', 'pipe.mp4', 'absent.mp4', '.']) {
    for (const said of await everything(at(name))) t.match(said, /^EXP_MEDIA_UNREADABLE: /, name)
  }
  // Noise may look like a piece of some sound; it must not do more than fail or be that.
  const noise = await failure(media.sceneChanges(at('noise.mp4')))
  t.equal(noise.code, 'EXP_MEDIA_UNREADABLE')
})

t.test('a file that breaks off', { skip }, async (t) => {
  const front = ['-movflags', '+faststart', '-g', '25']
  const args = [...h264, '-vf', 'noise=alls=40:allf=t', ...front]
  const film = await writeNumbered(at('whole.mp4'), { frames: 250, args })
  const { length } = await readFile(film)
  await truncate(film, Math.floor(length / 2))
  let frames = 0
  const read = async (missing: 'error' | 'skip') => {
    frames = 0
    for await (const _ of media.frames(film, { missing })) frames++
  }
  const error = await failure(read('error'))
  t.match(error, { code: 'EXP_MEDIA_UNREADABLE', message: /whole.mp4 breaks off after \d+ frames/ })
  t.ok(frames > 50 && frames < 200, `${frames} frames`)
  await read('skip')
  t.ok(frames > 50 && frames < 200, `${frames} frames`)
  const folder = at('some')
  const divided = media.divideMovieIntoFrames(film, { frames: 'all', folder })
  t.match(await failure(divided), { code: 'EXP_MEDIA_UNREADABLE' })
  t.strictSame(readdirSync(folder), [])
  await truncate(film, 500)
  for (const said of await everything(film)) t.match(said, /^EXP_MEDIA_UNREADABLE: /)
})

t.test('no frame at all', { skip }, async (t) => {
  const film = await writeNumbered(at('hollow.mkv'), { frames: 30, args: h264 })
  const bytes = await readFile(film)
  const first = bytes.indexOf(Buffer.from([0x1f, 0x43, 0xb6, 0x75]))
  t.ok(first > 0, 'the first cluster')
  await writeFile(film, bytes.subarray(0, first))
  const error = await failure(media.sceneChanges(film))
  t.match(error, { code: 'EXP_MEDIA_UNREADABLE', message: /hollow.mkv / })
})

t.test('frames that are too large are refused before one is decoded', { skip }, async (t) => {
  await writeFile(at('huge.y4m'), 'YUV4MPEG2 W30000 H30000 F25:1 C420\nFRAME\n')
  await ffmpeg(['-f', 'lavfi', '-i', 'color=s=1024x1024:d=0.2', ...h264, at('large.mp4')])
  for (const name of ['huge.y4m', 'large.mp4']) {
    const error = await failure(media.sceneChanges(at(name)))
    t.ok(['EXP_MEDIA_TOO_LARGE', 'EXP_MEDIA_UNREADABLE'].includes(`${error.code}`), error.message)
  }
  t.match(await failure(media.sceneChanges(at('large.mp4'))), {
    code: 'EXP_MEDIA_TOO_LARGE',
    statusCode: 413,
    message: /large.mp4 has frames of 1024 × 1024 = 1048576 pixels, wanted at most 1000000/
  })
})
