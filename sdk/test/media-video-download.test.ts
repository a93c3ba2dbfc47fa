import { symlinkSync } from 'node:fs'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { createMedia } from '../media/create-media.ts'
import type { MediaPolicy } from '../media/media.ts'
import { skipWithout } from '../skip-without.ts'
import { failure, policy, startCanary } from './media-canary.ts'
import { ffmpeg, writeNumbered } from './numbered-video.ts'

const skip = skipWithout('ffmpeg')
const base = t.testdir({ root: {}, secret: {}, own: {} })
const film = join(base, 'root', 'film.mp4')
if (skip === false) {
  await writeNumbered(film, { frames: 30, args: ['-c:v', 'libx264', '-preset', 'veryfast'] })
  await writeFile(join(base, 'secret', 'film.mp4'), await readFile(film))
  await writeFile(join(base, 'root', 'note.mp4'), 'hello')
  symlinkSync(join(base, 'secret', 'film.mp4'), join(base, 'root', 'link.mp4'))
  symlinkSync(film, join(base, 'root', 'within.mp4'))
}
const bytes = skip === false ? await readFile(film) : Buffer.alloc(0)

/** A server whose answers are by path, and what it was asked for. */
async function serve(t: Test, answers: Record<string, Uint8Array>) {
  const asked: string[] = []
  const canary = await startCanary((request, response) => {
    asked.push(`${request.url}`)
    const answer = answers[`${request.url}`]
    response.statusCode = answer === undefined ? 404 : 200
    response.setHeader('content-type', 'video/mp4')
    response.end(answer)
  })
  t.teardown(() => canary.close())
  return { host: canary.host, asked, connections: canary.connections }
}

function fetching(t: Test, changes: Partial<MediaPolicy>) {
  const folder = t.testdir({})
  const media = createMedia(policy(changes))
  return {
    get: (url: string, signal?: AbortSignal) => media.downloadVideo(url, { folder, signal }),
    left: () => readdir(folder),
    folder
  }
}

t.test('by http and data:, into files of their own', { skip }, async (t) => {
  const { host } = await serve(t, { '/a.mp4': bytes })
  const { get, left, folder } = fetching(t, { allowHosts: [host] })
  const url = `http://${host}/a.mp4`
  const [one, two] = await Promise.all([get(url), get(url)])
  t.not(one.path, two.path)
  for (const file of [one, two]) {
    t.match(file, { bytes: bytes.length, type: 'video/mp4' })
    t.ok(file.path.startsWith(folder) && file.path.endsWith('.mp4'), file.path)
    t.ok(bytes.equals(await readFile(file.path)))
  }
  t.match(await get(`data:video/mp4;base64,${bytes.toString('base64')}`), { bytes: bytes.length })
  t.equal((await left()).length, 3)
})

t.test('sound is taken too', { skip }, async (t) => {
  const wav = join(t.testdir({}), 'a.wav')
  await ffmpeg(['-f', 'lavfi', '-i', 'sine=d=1', wav])
  const data = (await readFile(wav)).toString('base64')
  const { get } = fetching(t, {})
  t.match(await get(`data:audio/wav;base64,${data}`), { path: /\.wav$/ })
})

t.test('what cannot be had leaves nothing', { skip }, async (t) => {
  const { host } = await serve(t, {
    '/text.mp4': Buffer.from('hello'),
    '/large.mp4': Buffer.concat([bytes, Buffer.alloc(1_000_000)]),
    '/a.mp4': bytes
  })
  const { get, left } = fetching(t, { allowHosts: [host], maxVideoBytes: 500_000 })
  for (const [path, code] of [
    ['/text.mp4', 'EXP_MEDIA_UNREADABLE'],
    ['/large.mp4', 'EXP_MEDIA_TOO_LARGE'],
    ['/absent.avi', 'EXP_MEDIA_NOT_FOUND']
  ] as const) {
    const error = await failure(get(`http://${host}${path}`))
    t.match(error, { code }, path)
    t.match(error.message, path, 'the message names what was asked for')
  }
  t.match(await failure(get(`http://${host}/a.mp4`, AbortSignal.abort())), { code: 'EXP_CANCELED' })
  const narrow = fetching(t, { allowHosts: [host], maxPixels: 1000 })
  const small = failure(narrow.get(`http://${host}/a.mp4`))
  t.match(await small, { code: 'EXP_MEDIA_TOO_LARGE' })
  t.strictSame(await left(), [])
})

t.test('addresses that are not public are refused, as for pictures', { skip }, async (t) => {
  const { host, connections } = await serve(t, { '/a.mp4': bytes })
  const { get } = fetching(t, {})
  for (const url of [`http://${host}/a.mp4`, 'ftp://example.org/a.mp4', 'concat:a|b', 'a.mp4']) {
    t.match(await failure(get(url)), { code: 'EXP_MEDIA_ADDRESS' }, url)
  }
  t.equal(connections(), 0)
})

t.test('a file under a root is used where it lies, by URL or by path', { skip }, async (t) => {
  const { get, left } = fetching(t, { fileRoots: [join(base, 'root')], maxVideoBytes: 10 })
  for (const path of [film, join(base, 'root', 'within.mp4')]) {
    for (const url of [path, pathToFileURL(path).href]) {
      t.strictSame(await get(url), { path: film, bytes: bytes.length, type: null })
    }
  }
  for (const [path, code] of [
    [join(base, 'secret', 'film.mp4'), 'EXP_MEDIA_ADDRESS'],
    [join(base, 'root', 'link.mp4'), 'EXP_MEDIA_ADDRESS'],
    [`${base}/root/../secret/film.mp4`, 'EXP_MEDIA_ADDRESS'],
    ['/etc/passwd', 'EXP_MEDIA_ADDRESS'],
    [join(base, 'root', 'absent.mp4'), 'EXP_MEDIA_NOT_FOUND'],
    [join(base, 'root', 'note.mp4'), 'EXP_MEDIA_UNREADABLE']
  ] as const) {
    for (const url of [path, pathToFileURL(path).href]) {
      t.match(await failure(get(url)), { code }, url)
    }
  }
  t.strictSame(await left(), [])
})

t.test('a bare path is asked of WEB_SERVER, an absent .avi as .mp4', { skip }, async (t) => {
  const { host, asked } = await serve(t, { '/x.avi/a.avi.mp4': bytes, '/w/b.avi': bytes })
  const { get } = fetching(t, { webServer: `http://${host}/` })
  t.match(await get('/x.avi/a.avi.avi'), { bytes: bytes.length })
  t.strictSame(asked.splice(0), ['/x.avi/a.avi.avi', '/x.avi/a.avi.mp4'])
  t.match(await fetching(t, { webServer: `http://${host}/w` }).get('/b.avi'), {
    bytes: bytes.length
  })
  t.strictSame(asked.splice(0), ['/w/b.avi'])
  for (const path of ['/absent.avi', '/absent.mp4']) {
    t.match(await failure(get(path)), { code: 'EXP_MEDIA_NOT_FOUND' })
  }
  t.strictSame(asked.splice(0), ['/absent.avi', '/absent.mp4', '/absent.mp4'])
  // The operator meant paths: a URL that names the server is judged as any other.
  t.match(await failure(get(`http://${host}/w/b.avi`)), { code: 'EXP_MEDIA_ADDRESS' })
  for (const path of ['//127.0.0.1:1/a.mp4', '/@127.0.0.1:1/a.mp4']) {
    t.match(await failure(get(path)), { code: 'EXP_MEDIA_NOT_FOUND' })
  }
  t.equal(asked.length, 2, 'no path leads to another server')
  t.throws(() => createMedia(policy({ webServer: 'files.lan' })), { message: /WEB_SERVER is/ })
})

t.test('the folder of the host: one writes there, all read', { skip }, async (t) => {
  const root = join(t.testdir({}), 'media')
  const media = createMedia(policy({ folder: root }))
  const folder = await media.folder('movies/7')
  t.equal(folder, join(root, 'movies', '7'))
  t.equal(await media.folder('movies/7'), folder)
  await writeFile(join(folder, 'a.mp4'), bytes)
  const other = createMedia(policy({ folder: root }))
  const file = await other.downloadVideo(join(folder, 'a.mp4'), { folder: t.testdirName })
  t.equal(file.bytes, bytes.length)
  for (const name of ['', '.', '..', 'a/../../b', '/a', 'a//b', 'a\0b', 'a\\..\\b']) {
    t.match(await failure(media.folder(name)), { code: 'EXP_BAD_INPUT' }, name)
  }
  await t.rejects(createMedia(policy()).folder('a'), { message: /no folder/ })
})

t.test('an answer that breaks off is no video', { skip }, async (t) => {
  const cut = join(t.testdir({}), 'cut.mp4')
  await writeFile(cut, bytes)
  await truncate(cut, 300)
  const { host } = await serve(t, { '/cut.mp4': await readFile(cut) })
  const { get, left } = fetching(t, { allowHosts: [host] })
  t.match(await failure(get(`http://${host}/cut.mp4`)), { code: 'EXP_MEDIA_UNREADABLE' })
  t.strictSame(await left(), [])
})
