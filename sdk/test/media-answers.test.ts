import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { createMedia } from '../media/create-media.ts'
import { createDownloader } from '../media/download-image.ts'
import { failure, policy, red, scene } from './media-canary.ts'

const picture = await red().jpeg().toBuffer()

t.test('an answer that is not 2xx says its status', async (t) => {
  for (const status of [404, 403, 500, 304, 300]) {
    const { download, left } = await scene(t, (_, response) => {
      response.writeHead(status, { 'content-type': 'image/jpeg' }).end(picture)
    })
    const error = await failure(download())
    t.match(error, { code: 'EXP_MEDIA_NOT_FOUND', message: `answered ${status}, wanted 2xx` })
    t.same(await left(), [])
  }
})

t.test('an answer that breaks off, and one that is no HTTP', async (t) => {
  const broken = await scene(t, (_, response) => {
    response.writeHead(200, { 'content-length': picture.length })
    response.write(picture.subarray(0, 20), () => response.destroy())
  })
  await t.rejects(broken.download(), { code: 'EXP_MEDIA_NOT_FOUND' })
  t.same(await broken.left(), [])

  for (const answer of [
    'SSH-2.0-x\r\n',
    '',
    'HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'
  ]) {
    const server = createServer((socket) => socket.once('data', () => socket.end(answer)))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const host = `127.0.0.1:${(server.address() as { port: number }).port}`
    const media = createMedia(policy({ allowHosts: [host] }))
    const work = media.downloadImage(`http://${host}/`, { folder: t.testdir({}) })
    await t.rejects(work, { code: 'EXP_MEDIA_NOT_FOUND' })
  }
})

t.test('an unreachable host is named by its URL alone', async (t) => {
  const { canary, folder } = await scene(t, () => {})
  const allowHosts = ['hidden.test']
  const download = createDownloader(policy({ allowHosts }), async () => ['127.0.0.1', '::1'])
  await canary.close()
  const error = await failure(download(`http://hidden.test:${canary.port}/`, { folder }))
  t.match(error, { code: 'EXP_MEDIA_NOT_FOUND', message: 'ECONNREFUSED' })
  t.notMatch(error.message, '127.0.0.1')
  t.notMatch(error.message, '::1')
})

t.test('what is no picture is said to be what it is', async (t) => {
  const svg = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
  for (const [type, body, message] of [
    [
      'text/html; charset=utf-8',
      '<!doctype html><title>Hi</title>',
      /is text\/html.*wanted an image/
    ],
    ['text/plain', 'hello', /is text\/plain, wanted an image/],
    ['image/png', '<!doctype html>', /says it is image\/png/],
    ['image/svg+xml', svg, /SVG is not taken/],
    ['image/png', svg, /SVG is not taken/],
    ['application/pdf', '%PDF-1.7\n', /is application\/pdf/],
    ['image/jpeg', picture.subarray(0, 8), /is a jpeg whose header cannot be read/],
    ['image/jpeg', '', /is empty/]
  ] as const) {
    const { download, left } = await scene(t, (_, response) => {
      response.writeHead(200, { 'content-type': type }).end(body)
    })
    const error = await failure(download())
    t.match(error, { code: 'EXP_MEDIA_UNREADABLE', statusCode: 422, message }, type)
    t.same(await left(), [])
  }
})

t.test('no compressed transfer is asked for, none is taken', async (t) => {
  let asked: unknown
  const { download, left } = await scene(t, (request, response) => {
    asked = request.headers['accept-encoding']
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(picture)
  })
  await t.rejects(download(), { code: 'EXP_MEDIA_UNREADABLE', message: /content-encoding gzip/ })
  t.equal(asked, 'identity')
  t.same(await left(), [])
})
