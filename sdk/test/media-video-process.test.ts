import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createMedia } from '../media/create-media.ts'
import type { MediaPolicy } from '../media/media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure, policy } from './media-canary.ts'
import { ffmpeg, script, writeNumbered } from './numbered-video.ts'

const skip = skipWithout('ffmpeg')
const base = t.testdir({})
const film = join(base, 'film.mp4')
const args = ['-vf', 'scale=640:360', '-c:v', 'libx264', '-preset', 'ultrafast']
if (skip === false) await writeNumbered(film, { frames: 1500, args })

/** With an ffmpeg that tells its process id and keeps its log. */
async function watched(t: Test, changes: Partial<MediaPolicy> = {}) {
  const log = join(t.testdir({}), 'log')
  const copied = `mkfifo '${log}.$$'\ntee -a '${log}' <'${log}.$$' >&2 &\n`
  const { path, pids } = await script(t, `${copied}exec ffmpeg "$@" 2>'${log}.$$'`)
  const decoded = async () => {
    const text = await readFile(log, 'utf8').catch(() => '')
    return text.match(/showinfo@decoded.* n: *\d+ pts/g)?.length ?? 0
  }
  return { media: createMedia(policy({ ffmpeg: path, ...changes })), pids, decoded }
}

/** With an ffmpeg that does as the lines say. */
async function played(t: Test, lines: string, changes: Partial<MediaPolicy> = {}) {
  const { path, pids } = await script(t, lines)
  return { media: createMedia(policy({ ffmpeg: path, ...changes })), pids }
}

async function count(frames: AsyncIterable<unknown>): Promise<number> {
  let found = 0
  for await (const _ of frames) found++
  return found
}

t.test('a slow reader holds ffmpeg up: memory stays some frames', { skip }, async (t) => {
  const { media, pids, decoded } = await watched(t)
  const frames = media.frames(film)[Symbol.asyncIterator]()
  for (let taken = 0; taken < 3; taken++) await frames.next()
  // Until nothing has moved for half a second: an ffmpeg that is not held up decodes hundreds in that time.
  let [seen, still] = [0, 0]
  while (still < 10) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    const now = await decoded()
    still = now === seen ? still + 1 : 0
    seen = now
  }
  t.ok(seen >= 3 && seen < 30, `${seen} frames of 1500 were decoded for 3 that were taken`)
  t.equal((await frames.next()).value.number, 3)
  await frames.return?.()
  t.equal(await pids.gone(), 1)
})

t.test('what is not wanted any more is not decoded', { skip }, async (t) => {
  const { media, pids, decoded } = await watched(t)
  t.equal(await count(media.frames(film, { numbers: [2, 5] })), 2)
  t.equal(await pids.gone(), 1)
  const frames = await decoded()
  t.ok(frames < 50, `${frames} of 1500 frames were decoded`)
})

t.test('leaving the loop ends ffmpeg', { skip }, async (t) => {
  const { media, pids } = await watched(t)
  for await (const { number } of media.frames(film)) if (number === 2) break
  t.equal(await pids.gone(), 1)
  const thrown = (async () => {
    for await (const _ of media.frames(film)) throw new Error('mine')
  })()
  t.match(await failure(thrown), { message: 'mine' })
  t.equal(await pids.gone(), 2)
})

t.test('a signal ends it, while it works and while its reader does', { skip }, async (t) => {
  const { media, pids } = await watched(t)
  const stop = new AbortController()
  const { signal } = stop
  const frames = media.frames(film, { signal })[Symbol.asyncIterator]()
  await frames.next()
  stop.abort(new Error('enough'))
  t.equal(await pids.gone(), 1, 'with nobody reading')
  await t.rejects(frames.next(), { code: 'EXP_CANCELED', statusCode: 499 })

  const already = media.frames(film, { signal })
  t.match(await failure(count(already)), { code: 'EXP_CANCELED' })
  const info = media.probe(film, { signal })
  t.match(await failure(info), { code: 'EXP_CANCELED' })

  const other = await played(t, 'exec sleep 1000')
  const late = new AbortController()
  const waiting = failure(count(other.media.frames(film, { signal: late.signal })))
  await other.pids.started(1)
  late.abort()
  t.match(await waiting, { code: 'EXP_CANCELED' })
  t.equal(await other.pids.gone(), 1)
})

t.test('one that hangs is killed, with what it started', { skip }, async (t) => {
  const sleeper = await script(t, 'exec sleep 1000')
  const { path, pids } = await script(t, `trap '' TERM\n'${sleeper.path}' &\nwait`)
  const folder = t.testdir({})
  const tone = join(folder, 'film.mp4')
  await ffmpeg(['-f', 'lavfi', '-i', 'sine', '-i', film, '-t', '1', '-c:v', 'copy', tone])
  const limits = policy({ videoTimeoutMs: 1500 })
  const media = createMedia({ ...limits, ffmpeg: path })
  const probing = createMedia({ ...limits, ffprobe: path })
  const hangs: Array<() => Promise<unknown>> = [
    () => count(media.frames(film)),
    () => count(media.sound(tone)),
    () => media.sceneChanges(film),
    () => media.divideMovieIntoFrames(film, { frames: [1], folder }),
    () => probing.probe(film),
    () => probing.downloadVideo('data:video/mp4,x', { folder })
  ]
  for (const error of await Promise.all(hangs.map((hang) => failure(hang())))) {
    t.match(error, { code: 'EXP_MEDIA_TIMEOUT', message: /was not complete after 1500 ms/ })
  }
  t.equal(await pids.gone(), 6)
  t.equal(await sleeper.pids.gone(), 6, 'its children too')
  t.strictSame(await readdir(folder), ['film.mp4'])
})

t.test('a long video has its time, and not more', { skip }, async (t) => {
  const long = join(base, 'hour.mkv')
  const still = ['-f', 'lavfi', '-i', 'color=s=64x64:r=5', '-t', '3600', '-c:v', 'libx264']
  await ffmpeg([...still, '-preset', 'ultrafast', '-g', '9999', long])
  const { media, pids } = await watched(t, { videoTimeoutMs: 1500, maxPixels: 4_000_000 })
  const size = { width: 1900, height: 1900 }
  const error = await failure(count(media.frames(long, size)))
  t.match(error, { code: 'EXP_MEDIA_TIMEOUT', statusCode: 400, message: /hour.mkv .* 1500 ms/ })
  t.equal(await pids.gone(), 1)
})

t.test('the time that the reader takes is not ffmpeg’s', { skip }, async (t) => {
  const { media } = await watched(t, { videoTimeoutMs: 2500 })
  let frames = 0
  for await (const _ of media.frames(film, { numbers: [0, 1, 2] })) {
    frames++
    if (frames === 1) await new Promise((resolve) => setTimeout(resolve, 3000))
  }
  t.equal(frames, 3)
})

t.test('an ffmpeg that fails, talks without end, or tells nonsense', { skip }, async (t) => {
  const before = process.memoryUsage().rss
  const noise = `head -c 100000000 /dev/zero | tr '\\0' 'x' >&2\necho >&2\n`
  const errors = 'for n in 1 2 3 4 5 6 7 8 9; do echo "[error] it is bad $n" >&2; done\n'
  const { media } = await played(t, `${noise}${errors}exit 7`)
  const error = await failure(count(media.frames(film)))
  t.match(error, {
    code: 'EXP_MEDIA_UNREADABLE',
    message: /cannot be read \(it is bad 1; .*bad 5\)/
  })
  const grown = (process.memoryUsage().rss - before) / 1e6
  t.ok(grown < 60, `${grown} MB for 100 MB of noise`)
  for (const lines of ['head -c 700000 /dev/zero', 'kill -SEGV $$']) {
    const { media: other } = await played(t, lines)
    t.match(await failure(count(other.frames(film))), { code: 'EXP_MEDIA_UNREADABLE' }, lines)
  }
  const { path } = await script(t, 'yes')
  const probing = createMedia(policy({ ffprobe: path }))
  t.match(await failure(probing.probe(film)), { code: 'EXP_MEDIA_UNREADABLE', message: /bytes/ })
})

t.test('it goes with the process that started it', { skip }, async (t) => {
  const dist = fileURLToPath(new URL('../dist/media/create-media.js', import.meta.url))
  const die = async (end: string) => {
    const { path, pids } = await script(t, 'exec ffmpeg "$@"')
    const text = `
      import { createMedia, defaultMediaPolicy } from ${JSON.stringify(dist)}
      const media = createMedia({ ...defaultMediaPolicy, ffmpeg: ${JSON.stringify(path)} })
      const frames = media.frames(${JSON.stringify(film)})[Symbol.asyncIterator]()
      await frames.next()
      ${end}`
    const child = spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: 'inherit' })
    await once(child, 'exit')
    t.equal(await pids.gone(), 1, end)
  }
  await Promise.all(['process.exit(0)', 'process.kill(process.pid, "SIGKILL")'].map(die))
})

t.test('ffmpeg gets nothing of the environment that may be secret', { skip }, async (t) => {
  const file = join(t.testdir({}), 'env')
  process.env['MY_KEY'] = 'secret'
  process.env['FFREPORT'] = `file=${file}.report`
  t.teardown(() => {
    delete process.env['MY_KEY']
    delete process.env['FFREPORT']
  })
  const { media } = await played(t, `env >'${file}'\nexec ffmpeg "$@"`)
  t.equal(await count(media.frames(film, { numbers: [1] })), 1)
  const text = await readFile(file, 'utf8')
  t.match(text, /^PATH=/m)
  t.notMatch(text, /secret|FFREPORT/)
})
