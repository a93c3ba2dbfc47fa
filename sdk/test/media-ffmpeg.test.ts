import { execFileSync } from 'node:child_process'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createMedia } from '../media/create-media.ts'
import { findFfmpeg } from '../media/find-ffmpeg.ts'
import { failure, policy } from './media-canary.ts'

const unset = { ffmpeg: null, ffprobe: null }
const dist = (file: string) => fileURLToPath(new URL(`../dist/media/${file}`, import.meta.url))

async function program(path: string, mode = 0o755): Promise<string> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, '#!/bin/sh\n')
  await chmod(path, mode)
  return path
}

async function folders(t: Test) {
  const base = t.testdir({})
  const at = (...parts: string[]) => join(base, ...parts)
  const PATH = ['relative', at('none'), at('one'), at('two')].join(':')
  return { at, env: { PATH } }
}

t.test('what the operator names, else the first on PATH that can be run', async (t) => {
  const { at, env } = await folders(t)
  await program(at('one', 'ffmpeg'), 0o644)
  await program(at('two', 'ffmpeg'))
  await program(at('own', 'ffmpeg'))
  t.equal(await findFfmpeg(unset, env).ffmpeg(), at('two', 'ffmpeg'))
  const named = findFfmpeg({ ...unset, ffmpeg: at('own', 'ffmpeg') }, env)
  t.equal(await named.ffmpeg(), at('own', 'ffmpeg'))
  const wrong = findFfmpeg({ ...unset, ffmpeg: at('absent') }, env)
  const error = await failure(wrong.ffmpeg())
  t.match(error, { code: 'EXP_MEDIA_NO_FFMPEG', statusCode: 501, message: /FFMPEG_PATH is '/ })
})

t.test('ffprobe: its own variable, beside the ffmpeg that was found, PATH', async (t) => {
  const { at, env } = await folders(t)
  await program(at('own', 'ffmpeg'))
  await program(at('one', 'ffmpeg'))
  const own = { ...unset, ffmpeg: at('own', 'ffmpeg') }
  await program(at('two', 'ffprobe'))
  t.equal(await findFfmpeg(own, env).ffprobe(), at('two', 'ffprobe'))
  await program(at('one', 'ffprobe'))
  await program(at('own', 'ffprobe'))
  t.equal(await findFfmpeg(own, env).ffprobe(), at('own', 'ffprobe'))
  t.equal(await findFfmpeg(unset, env).ffprobe(), at('one', 'ffprobe'))
  const named = { ...own, ffprobe: at('two', 'ffprobe') }
  t.equal(await findFfmpeg(named, env).ffprobe(), at('two', 'ffprobe'))
})

t.test('it is looked for when it is wanted, and again until it is there', async (t) => {
  const { at, env } = await folders(t)
  const programs = findFfmpeg(unset, env)
  const error = await failure(programs.ffmpeg())
  t.match(error, { code: 'EXP_MEDIA_NO_FFMPEG', statusCode: 501 })
  for (const way of ['apt-get install ffmpeg', 'FFMPEG_PATH', '@ffmpeg-installer/ffmpeg']) {
    t.ok(error.message.includes(way), way)
  }
  t.match(await failure(programs.ffprobe()), { message: /FFPROBE_PATH.*@ffprobe-installer/ })
  await program(at('one', 'ffmpeg'))
  t.equal(await programs.ffmpeg(), at('one', 'ffmpeg'))
})

t.test('an installed package is the last resort', async (t) => {
  const { at } = await folders(t)
  for (const name of ['ffmpeg', 'ffprobe']) {
    const path = await program(at('bin', name))
    const folder = at('node_modules', `@${name}-installer`, name)
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'index.js'), `exports.path = ${JSON.stringify(path)}`)
  }
  const text = `
    import { findFfmpeg } from ${JSON.stringify(dist('find-ffmpeg.js'))}
    const { ffmpeg, ffprobe } = findFfmpeg({ ffmpeg: null, ffprobe: null }, { PATH: '' })
    console.log(JSON.stringify([await ffmpeg(), await ffprobe()]))`
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', text], {
    env: { ...process.env, NODE_PATH: at('node_modules') }
  })
  t.strictSame(JSON.parse(said.toString()), [at('bin', 'ffmpeg'), at('bin', 'ffprobe')])
})

t.test('without it, pictures work and all else says what is missing', async (t) => {
  const folder = t.testdir({ 'a.mp4': 'x' })
  const path = join(folder, 'a.mp4')
  const absent = join(folder, 'absent')
  const media = createMedia(policy({ ffmpeg: absent, ffprobe: absent }))
  const take = async (all: AsyncIterable<unknown>) => {
    for await (const _ of all);
  }
  for (const work of [
    () => media.probe(path),
    () => take(media.frames(path)),
    () => take(media.sound(path)),
    () => media.sceneChanges(path),
    () => media.divideMovieIntoFrames(path, { frames: [1], folder }),
    () => media.downloadVideo('data:video/mp4,x', { folder })
  ]) {
    t.match(await failure(work()), { code: 'EXP_MEDIA_NO_FFMPEG', statusCode: 501 })
  }
  const picture = Buffer.from('R0lGODlhAQABAAAAACwAAAAAAQABAAACAkwBADs=', 'base64')
  t.match(await media.decodeImage(picture), { width: 1, height: 1 })
})

t.test('an expert without video does not load what video needs', async (t) => {
  const text = `
    import { createMedia, defaultMediaPolicy } from ${JSON.stringify(dist('create-media.js'))}
    const media = createMedia(defaultMediaPolicy)
    const loaded = () => process.moduleLoadList.some((name) => /child_process/.test(name))
    await media.decodeImage(Buffer.from('x')).catch(() => {})
    const before = loaded()
    await media.probe('/absent').catch(() => {})
    console.log(JSON.stringify([before, loaded()]))`
  const script = join(t.testdir({ 'run.mjs': text }), 'run.mjs')
  // Without the environment, through which the test runner loads things of its own.
  const said = execFileSync('env', ['-i', process.execPath, script])
  t.strictSame(JSON.parse(said.toString()), [false, true])
})
