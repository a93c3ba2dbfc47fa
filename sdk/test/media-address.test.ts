import { readdir } from 'node:fs/promises'
import t from 'tap'
import { createMedia } from '../media/create-media.ts'
import { createDownloader } from '../media/download-image.ts'
import { isPublicAddress } from '../media/public-address.ts'
import { failure, policy, red, startCanary } from './media-canary.ts'

const picture = await red().png().toBuffer()

t.test('no form of an inner address is dialled', async (t) => {
  const canary = await startCanary((_, response) => response.end(picture))
  t.teardown(() => canary.close())
  const folder = t.testdir({})
  const media = createMedia(policy())
  const { port } = canary
  const hosts = [
    `127.0.0.1:${port}`,
    `2130706433:${port}`,
    `0177.0.0.1:${port}`,
    `017700000001:${port}`,
    `0x7f.1:${port}`,
    `0x7f000001:${port}`,
    `127.1:${port}`,
    `127.0.0.1.:${port}`,
    `127。0。0。1:${port}`,
    `%31%32%37.0.0.1:${port}`,
    `127.8.9.10:${port}`,
    `0.0.0.0:${port}`,
    `0:${port}`,
    `[::]:${port}`,
    `[::1]:${port}`,
    `[::ffff:127.0.0.1]:${port}`,
    `[::ffff:7f00:1]:${port}`,
    `[::ffff:0:127.0.0.1]:${port}`,
    `[::127.0.0.1]:${port}`,
    `[64:ff9b::127.0.0.1]:${port}`,
    `[64:ff9b:1::127.0.0.1]:${port}`,
    `[2002:7f00:1::]:${port}`,
    `[2001:0:5db8:d822::80ff:fffe]:${port}`,
    `localhost:${port}`,
    `LOCALHOST:${port}`,
    `user@127.0.0.1:${port}`,
    `user:secret@localhost:${port}`,
    '169.254.169.254',
    '168.63.129.16',
    '100.100.100.200',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '192.0.0.192',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '[fd00::1]',
    '[fd00:ec2::254]',
    '[fe80::1]',
    '[fec0::1]',
    '[ff02::1]'
  ]
  for (const host of hosts) {
    for (const scheme of ['http', 'https']) {
      const url = `${scheme}://${host}/latest/meta-data/`
      await t.rejects(
        media.downloadImage(url, { folder }),
        { name: 'ExpertError', code: 'EXP_MEDIA_ADDRESS', statusCode: 400 },
        url
      )
    }
  }
  t.equal(canary.connections(), 0)
  t.equal(canary.dials.length, 0)
  t.same(await readdir(folder), [])
})

t.test('user info is refused for a host that is allowed, and never shown', async (t) => {
  const canary = await startCanary((_, response) => response.end(picture))
  t.teardown(() => canary.close())
  const media = createMedia(policy({ allowHosts: [canary.host] }))
  const url = `http://user:secret@${canary.host}/${'a'.repeat(300)}`
  const error = await failure(media.downloadImage(url, { folder: t.testdir({}) }))
  t.match(error, { code: 'EXP_MEDIA_ADDRESS', message: /user name or password/ })
  for (const userInfo of ['user', ':secret', 'user:', '%61', 'a@b']) {
    const work = media.downloadImage(`http://${userInfo}@${canary.host}/`, {
      folder: t.testdir({})
    })
    await t.rejects(work, { code: 'EXP_MEDIA_ADDRESS' }, userInfo)
  }
  t.notMatch(error.message, /secret/)
  t.ok(error.message.startsWith(`http://${canary.host}/aaa`))
  t.equal(error.message.split(' ')[0]!.length, 200)
  t.equal(canary.connections(), 0)
})

t.test('other schemes and what is no URL are refused', async (t) => {
  const media = createMedia(policy())
  for (const url of [
    'ftp://example.com/a.png',
    'gopher://u:p@x/',
    'blob:x',
    'C:\\a.png',
    'a.png',
    ''
  ]) {
    const refused = media.downloadImage(url, { folder: t.testdir({}) })
    await t.rejects(refused, { code: 'EXP_MEDIA_ADDRESS' }, url)
  }
})

t.test('every address that a resolver gives must be public', async (t) => {
  const canary = await startCanary((_, response) => response.end(picture))
  t.teardown(() => canary.close())
  for (const answers of [
    ['127.0.0.1'],
    ['93.184.216.34', '127.0.0.1'],
    ['2606:4700::1111', '::ffff:10.0.0.7'],
    ['fe80::1%lo'],
    ['not an address']
  ]) {
    const download = createDownloader(policy(), async () => answers)
    const error = await failure(
      download(`http://pictures.test:${canary.port}/`, {
        folder: t.testdir({})
      })
    )
    t.match(error, { code: 'EXP_MEDIA_ADDRESS', message: /is not public/ }, answers.join())
    t.notOk(answers.some((answer) => error.message.includes(answer)))
  }
  t.equal(canary.dials.length, 0)
})

t.test('a resolver that changes its answer cannot move the connection', async (t) => {
  const canary = await startCanary((_, response) => response.end(picture))
  t.teardown(() => canary.close())
  let asked = 0
  const download = createDownloader(policy(), async () =>
    asked++ === 0 ? ['93.184.216.34'] : ['127.0.0.1']
  )
  const stop = new AbortController()
  // Named like loopback, so that a second resolution by the system would get there.
  const url = `http://localhost:${canary.port}/`
  const running = download(url, { folder: t.testdir({}), signal: stop.signal })
  const ended = t.rejects(running)
  t.equal(await canary.attempted, '93.184.216.34')
  stop.abort()
  await ended
  t.equal(asked, 1)
  t.equal(canary.connections(), 0)
})

t.test('which addresses are public', async (t) => {
  for (const address of [
    '93.184.216.34',
    '1.1.1.1',
    '172.32.0.1',
    '2606:4700::1111',
    '::ffff:1.1.1.1',
    '64:ff9b::1.1.1.1',
    '2002:101:101::1',
    '2001:0:101:101::fefe:fefe'
  ]) {
    t.ok(isPublicAddress(address), address)
  }
  for (const address of [
    '100.64.0.1',
    '192.0.2.1',
    '198.19.255.255',
    '203.0.113.1',
    '240.0.0.1',
    '64:ff9b::10.0.0.1',
    '64:ff9b:1::101:101',
    '2002:a00:1::1',
    '2001:0:101:101::f5ff:fffe',
    '2001:0:a00:1::fefe:fefe',
    '2001:db8::1',
    '::101:101',
    '4000::1',
    '127.1',
    'localhost',
    ''
  ]) {
    t.notOk(isPublicAddress(address), address)
  }
})
