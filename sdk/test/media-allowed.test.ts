import { readFile } from 'node:fs/promises'
import t from 'tap'
import { allowedHosts } from '../media/allowed-hosts.ts'
import { createMedia } from '../media/create-media.ts'
import { createDownloader } from '../media/download-image.ts'
import { failure, policy, red, startCanary } from './media-canary.ts'

const picture = await red().png().toBuffer()
const hosts: (string | undefined)[] = []

// Paths: /to/<url> redirects there, /chain/<n> redirects n times more.
const canary = await startCanary((request, response) => {
  const url = request.url!
  hosts.push(request.headers.host)
  if (url.startsWith('/to/')) {
    response.writeHead(302, { location: decodeURIComponent(url.slice(4)) }).end()
  } else if (url.startsWith('/chain/') && url !== '/chain/0') {
    response.writeHead(307, { location: `${Number(url.slice(7)) - 1}` }).end('moved')
  } else if (url === '/lost') {
    response.writeHead(301).end()
  } else {
    response.writeHead(200, { 'content-type': 'image/png' }).end(picture)
  }
})
t.teardown(() => canary.close())

const media = createMedia(policy({ allowHosts: [canary.host] }))
const redirect = (to: string) => `http://${canary.host}/to/${encodeURIComponent(to)}`

t.test('a listed host is fetched, however the URL spells it', async (t) => {
  const folder = t.testdir({})
  for (const host of [canary.host, `2130706433:${canary.port}`, `0x7f.1:${canary.port}`]) {
    const file = await media.downloadImage(`http://${host}/a.png`, { folder })
    t.match(file, { bytes: picture.length, type: 'image/png', path: /\.png$/ })
    t.same(await readFile(file.path), picture)
  }
})

t.test('a listed name is asked by that name at the address that was resolved', async (t) => {
  const allowHosts = [`Canary.Test:${canary.port}`]
  const download = createDownloader(policy({ allowHosts }), async () => ['127.0.0.1'])
  await download(`http://cANARY.test:${canary.port}/a.png`, { folder: t.testdir({}) })
  t.equal(hosts.at(-1), `canary.test:${canary.port}`)
})

t.test('what a list stands for', async (t) => {
  const list = allowedHosts([
    'Files.LAN',
    '10.0.0.5:9000',
    '[fd00::1]:80',
    'FD00::0002',
    ' bücher.de '
  ])
  for (const url of [
    'http://files.lan/',
    'https://FILES.lan.:8443/',
    'http://10.0.0.5:9000/',
    'http://0xa000005:9000/',
    'http://[fd00:0::1]/',
    'https://[fd00::2]:1234/',
    'https://xn--bcher-kva.de/'
  ]) {
    t.ok(list(new URL(url)), url)
  }
  for (const url of [
    'http://10.0.0.5/',
    'https://[fd00::1]/',
    'http://[::ffff:10.0.0.5]:9000/',
    'http://sub.files.lan/',
    'http://files.lan.evil.test/',
    'http://10.0.0.5.evil.test:9000/'
  ]) {
    t.notOk(list(new URL(url)), url)
  }
  t.notOk(allowedHosts(['', ' '])(new URL('http://localhost/')))
  for (const entry of ['http://a/', 'a/b', 'user@a', 'a:b', 'a b', '[::1']) {
    t.throws(() => allowedHosts([entry]), { message: /EXPERT_ALLOW_HOSTS has/ }, entry)
  }
})

t.test('the port of an entry counts', async (t) => {
  const other = await startCanary((_, response) => response.end(picture))
  t.teardown(() => other.close())
  const work = media.downloadImage(`http://${other.host}/`, { folder: t.testdir({}) })
  await t.rejects(work, { code: 'EXP_MEDIA_ADDRESS' })
  t.equal(other.connections(), 0)
})

t.test('every redirect is checked as the first URL is', async (t) => {
  const other = await startCanary((_, response) => response.end(picture))
  t.teardown(() => other.close())
  const folder = t.testdir({ 'a.png': picture })
  for (const target of [
    `http://${other.host}/`,
    `//localhost:${other.port}/`,
    `http://[::1]:${canary.port}/`,
    `http://[::ffff:127.0.0.1]:${other.port}/`,
    `https://${other.host}/`,
    `http://user:secret@${canary.host}/a.png`,
    'http://169.254.169.254/latest/meta-data/',
    `file://${folder}/a.png`,
    `data:image/png;base64,${picture.toString('base64')}`,
    'ftp://example.com/',
    redirect(`http://${other.host}/`)
  ]) {
    const error = await failure(media.downloadImage(redirect(target), { folder }))
    t.equal(error.code, 'EXP_MEDIA_ADDRESS', target)
    t.match(error.message, 'redirected to')
    t.notMatch(error.message, 'user:secret')
  }
  t.equal(other.connections(), 0)
})

t.test('a name that a redirect leads to is resolved and checked anew', async (t) => {
  const before = canary.connections()
  const answers = ['93.184.216.34', '127.0.0.1']
  const allowHosts = [canary.host]
  const download = createDownloader(policy({ allowHosts }), async () => [answers.pop()!])
  const url = redirect(`http://rebind.test:${canary.port}/a.png`)
  await t.rejects(download(url, { folder: t.testdir({}) }), { code: 'EXP_MEDIA_ADDRESS' })
  t.equal(canary.connections(), before + 1)
})

t.test('five redirects are followed, not six', async (t) => {
  const folder = t.testdir({})
  const file = await media.downloadImage(`http://${canary.host}/chain/5`, { folder })
  t.equal(file.bytes, picture.length)
  const before = canary.connections()
  const tooLong = media.downloadImage(`http://${canary.host}/chain/7`, { folder })
  await t.rejects(tooLong, { code: 'EXP_MEDIA_NOT_FOUND', message: /more than 5 times/ })
  t.equal(canary.connections(), before + 6)
  for (const url of [`http://${canary.host}/lost`, redirect('http://')]) {
    const lost = media.downloadImage(url, { folder })
    await t.rejects(lost, { code: 'EXP_MEDIA_NOT_FOUND', message: /no usable Location/ })
  }
})

t.test('no proxy of the environment is used', async (t) => {
  const proxy = await startCanary((_, response) => response.end(picture))
  t.teardown(() => proxy.close())
  const names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'all_proxy', 'NODE_USE_ENV_PROXY']
  for (const name of names) {
    process.env[name] = name === 'NODE_USE_ENV_PROXY' ? '1' : `http://${proxy.host}`
  }
  t.teardown(() => {
    for (const name of names) delete process.env[name]
  })
  await media.downloadImage(`http://${canary.host}/a.png`, { folder: t.testdir({}) })
  t.equal(proxy.connections(), 0)
})
