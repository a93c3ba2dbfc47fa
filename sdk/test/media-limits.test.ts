import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { createDownloader } from '../media/download-image.ts'
import { failure, policy, red, scene } from './media-canary.ts'

const picture = await red().jpeg().toBuffer()

t.test('a declared length over the limit is refused before the body is read', async (t) => {
  let answer: ServerResponse | undefined
  const { download, left } = await scene(
    t,
    (_, response) => {
      answer = response
      response.writeHead(200, { 'content-length': 5000 }).flushHeaders()
    },
    { maxBytes: 4999 }
  )
  // No byte of the body is ever sent: whoever waits for one gets EXP_MEDIA_TIMEOUT.
  const error = await failure(download())
  t.match(error, { code: 'EXP_MEDIA_TOO_LARGE', statusCode: 413 })
  t.match(error.message, /a\.jpg has 5000 bytes, wanted at most 4999/)
  if (!answer!.destroyed) await once(answer!, 'close')
  t.same(await left(), [])
})

t.test('a body without a length is cut off at the limit', async (t) => {
  let sent = 0
  const { download, left } = await scene(
    t,
    (_, response) => {
      const chunk = Buffer.alloc(64 * 1024)
      const more = () => {
        while (!response.destroyed) {
          sent += chunk.length
          if (!response.write(chunk)) break
        }
      }
      response.on('drain', more)
      more()
    },
    { maxBytes: 200_000 }
  )
  await t.rejects(download(), { code: 'EXP_MEDIA_TOO_LARGE' })
  t.ok(sent < 50_000_000, `${sent} bytes sent`)
  t.same(await left(), [])
})

t.test('exactly the limit is taken', async (t) => {
  const { download } = await scene(t, (_, response) => response.write(picture) && response.end(), {
    maxBytes: picture.length
  })
  t.equal((await download()).bytes, picture.length)
})

t.test('time runs out for a server that drips, stalls or never answers', async (t) => {
  for (const kind of ['drips', 'stalls', 'is silent']) {
    const { download, left } = await scene(
      t,
      (_, response) => {
        if (kind === 'is silent') return
        response.writeHead(200, { 'content-type': 'image/jpeg' })
        response.write(picture.subarray(0, 20))
        if (kind === 'stalls') return
        const drip = setInterval(() => response.write('x'), 5)
        response.on('close', () => clearInterval(drip))
      },
      { timeoutMs: 150 }
    )
    const error = await failure(download())
    t.match(error, { code: 'EXP_MEDIA_TIMEOUT', message: /not complete after 150 ms/ }, kind)
    t.same(await left(), [])
  }
})

t.test('time runs out over redirects together, and for the resolver', async (t) => {
  const { url, canary, download } = await scene(
    t,
    (request, response) => {
      const hop = Number(new URL(request.url!, 'http://x').searchParams.get('hop'))
      const location = `/?hop=${hop + 1}`
      setTimeout(() => response.writeHead(302, { location }).end(), 80)
    },
    { timeoutMs: 200 }
  )
  await t.rejects(download(), { code: 'EXP_MEDIA_TIMEOUT' })
  t.ok(canary.connections() >= 2)
  const deaf = createDownloader(policy({ timeoutMs: 50 }), () => new Promise(() => {}))
  const unresolved = deaf(url.replace('127.0.0.1', 'a.test'), { folder: t.testdir({}) })
  await t.rejects(unresolved, { code: 'EXP_MEDIA_TIMEOUT' })
})

t.test('the caller may give up', async (t) => {
  const stop = new AbortController()
  const { canary, download, left } = await scene(t, (_, response) => {
    response.writeHead(200)
    response.write(picture.subarray(0, 20))
    stop.abort(new Error('no longer wanted'))
  })
  const error = await failure(download(stop.signal))
  t.match(error, { code: 'EXP_CANCELED', statusCode: 499, cause: { message: 'no longer wanted' } })
  t.same(await left(), [])
  await t.rejects(download(stop.signal), { code: 'EXP_CANCELED' })
  t.equal(canary.connections(), 1, 'a signal that is aborted already opens no connection')
  let resolved = 0
  const resolving = createDownloader(policy(), async () => [`93.184.216.${++resolved}`])
  const late = resolving('http://late.test/', { folder: t.testdir({}), signal: stop.signal })
  await t.rejects(late, { code: 'EXP_CANCELED' })
  t.equal(resolved, 0)
})

t.test('downloads into one folder do not meet', async (t) => {
  const { download, left } = await scene(t, (_, response) => response.end(picture))
  const files = await Promise.all(Array.from({ length: 20 }, () => download()))
  t.equal(new Set(files.map(({ path }) => path)).size, 20)
  for (const { path } of files) t.same(await readFile(path), picture)
  t.equal((await left()).length, 20)
  t.notOk((await left()).some((name) => name.endsWith('.part')))
})
