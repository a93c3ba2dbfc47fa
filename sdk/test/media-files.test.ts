import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync } from 'node:fs'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { createMedia } from '../media/create-media.ts'
import { failure, policy, red } from './media-canary.ts'

const picture = await red().webp().toBuffer()
const base = t.testdir({
  root: { 'a b.webp': picture, 'note.txt': 'hello', inner: { 'c.webp': picture } },
  'root-2': { 'd.webp': picture },
  secret: { 's.webp': picture, 'sub.webp': picture },
  out: {}
})
const root = join(base, 'root')
const folder = join(base, 'out')
symlinkSync(join(base, 'secret', 's.webp'), join(root, 'link.webp'))
symlinkSync(join(base, 'secret'), join(root, 'linked'))
symlinkSync(join(root, 'inner', 'c.webp'), join(root, 'within.webp'))
symlinkSync(root, join(base, 'alias'))
execFileSync('mkfifo', [join(root, 'pipe')])

const media = createMedia(policy({ fileRoots: [root] }))
const href = (...path: string[]) => pathToFileURL(join(base, ...path)).href
const get = (url: string) => media.downloadImage(url, { folder })

t.test('a file under a root is copied', async (t) => {
  for (const url of [
    href('root', 'a b.webp'),
    href('root', 'a b.webp').replace('file://', 'file://localhost'),
    href('root', 'a b.webp').replace('root', '%72oot'),
    href('root', 'inner', 'c.webp'),
    `${href('root')}/inner/../a%20b.webp`,
    href('root', 'within.webp'),
    href('alias', 'a b.webp')
  ]) {
    const file = await get(url)
    t.match(file, { bytes: picture.length, type: null, path: /out[\\/][^\\/]+\.webp$/ }, url)
    t.same(await readFile(file.path), picture)
  }
  const own = await get(href('root', 'inner', 'c.webp'))
  await writeFile(join(root, 'inner', 'c.webp'), 'changed')
  t.same(await readFile(own.path), picture)
})

t.test('roots are resolved, and an absent one changes nothing', async (t) => {
  const fileRoots = [join(base, 'absent'), join(base, 'alias')]
  const aliased = createMedia(policy({ fileRoots }))
  const file = await aliased.downloadImage(href('root', 'a b.webp'), { folder })
  t.equal(file.bytes, picture.length)
})

t.test('what is not under a root is refused, links resolved', async (t) => {
  const before = await readdir(folder)
  mkdirSync(join(root, 'empty'))
  for (const url of [
    href('secret', 's.webp'),
    href('secret', 'absent.webp'),
    href('root-2', 'd.webp'),
    href('root', 'link.webp'),
    href('root', 'linked', 'sub.webp'),
    href('root', 'linked', 'absent.webp'),
    `${href('root')}/../secret/s.webp`,
    `${href('root')}/%2e%2e/secret/s.webp`,
    `${href('root')}/..%2fsecret/s.webp`,
    `${href('root')}/a%20b.webp%00.png`,
    `file://evil.test${root}/a%20b.webp`,
    `file://127.0.0.1${root}/a%20b.webp`,
    href('root'),
    href('root', 'empty'),
    href('root', 'pipe'),
    'file:///dev/zero',
    'file:///proc/self/environ',
    'file:///etc/passwd'
  ]) {
    await t.rejects(get(url), { code: 'EXP_MEDIA_ADDRESS', statusCode: 400 }, url)
  }
  await t.rejects(get(`file://evil.test${root}/a%20b.webp`), { message: /names a host/ })
  t.same(await readdir(folder), before)
})

t.test('devices and pipes are refused even under a root', async (t) => {
  const everything = createMedia(policy({ fileRoots: ['/'], timeoutMs: 2000 }))
  for (const path of ['/dev/zero', '/dev/null', '/dev/stdin', join(root, 'pipe')]) {
    const error = await failure(everything.downloadImage(pathToFileURL(path).href, { folder }))
    t.match(error, { code: 'EXP_MEDIA_ADDRESS', message: /not a regular file/ }, path)
  }
})

t.test('a missing file under a root is not found', async (t) => {
  for (const url of [
    href('root', 'absent.webp'),
    href('root', 'x', 'y', 'z'),
    href('root', 'note.txt', 'x')
  ]) {
    const error = await failure(get(url))
    t.match(error, { code: 'EXP_MEDIA_NOT_FOUND', message: url }, url)
  }
})

t.test('without roots there are no files', async (t) => {
  for (const fileRoots of [[], ['', ' ']]) {
    const closed = createMedia(policy({ fileRoots }))
    for (const url of [href('root', 'a b.webp'), pathToFileURL('package.json').href]) {
      const error = await failure(closed.downloadImage(url, { folder }))
      t.match(error, { code: 'EXP_MEDIA_ADDRESS', message: /EXPERT_FILE_ROOTS/ })
    }
  }
})

t.test('a file is bounded and must be a picture', async (t) => {
  const before = await readdir(folder)
  const small = createMedia(policy({ fileRoots: [root], maxBytes: picture.length - 1 }))
  const large = small.downloadImage(href('root', 'a b.webp'), { folder })
  await t.rejects(large, { code: 'EXP_MEDIA_TOO_LARGE' })
  await truncate(join(root, 'note.txt'), 100_000_000)
  // The whole size is named, so it was not found out by reading.
  const message = /has 100000000 bytes/
  await t.rejects(get(href('root', 'note.txt')), { code: 'EXP_MEDIA_TOO_LARGE', message })
  await truncate(join(root, 'note.txt'), 5)
  await t.rejects(get(href('root', 'note.txt')), { code: 'EXP_MEDIA_UNREADABLE' })
  t.same(await readdir(folder), before)
})

t.test('a folder that turns into a link between check and open', async (t) => {
  const secret = await red(400, 300).webp().toBuffer()
  const turning = t.testdir({ root: { flip: { 'x.webp': picture } }, secret: { 'x.webp': secret } })
  symlinkSync(join(turning, 'secret'), join(turning, 'root', 'link'))
  const script = `
    const { renameSync } = require('node:fs')
    process.chdir(process.argv[1])
    process.stdout.write('turning')
    for (;;) {
      renameSync('flip', 'folder'); renameSync('link', 'flip')
      renameSync('flip', 'link'); renameSync('folder', 'flip')
    }`
  const turner = spawn(process.execPath, ['-e', script, join(turning, 'root')])
  await once(turner.stdout, 'data')
  const fileRoots = [join(turning, 'root')]
  const guarded = createMedia(policy({ fileRoots }))
  const url = pathToFileURL(join(turning, 'root', 'flip', 'x.webp')).href
  let taken = 0
  let stolen = 0
  const outcomes = new Set<string>()
  for (let round = 0; round < 1500; round++) {
    const file = await guarded.downloadImage(url, { folder }).catch((error) => {
      outcomes.add(error.code)
      return null
    })
    if (file?.bytes === picture.length) taken++
    if (file?.bytes === secret.length) stolen++
  }
  turner.kill('SIGKILL')
  await once(turner, 'exit')
  t.comment(`taken ${taken}, stolen ${stolen}, else ${[...outcomes].join(' ')}`)
  t.equal(stolen, 0)
  t.not(taken, 0)
})
