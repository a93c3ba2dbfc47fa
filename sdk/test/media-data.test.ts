import { readdir, readFile } from 'node:fs/promises'
import t from 'tap'
import { createMedia } from '../media/create-media.ts'
import { failure, policy, red } from './media-canary.ts'

const picture = await red().jpeg().toBuffer()

t.test('data: URLs', async (t) => {
  const folder = t.testdir({})
  const media = createMedia(policy({ maxBytes: 1000 }))
  const base64 = picture.toString('base64')
  const escaped = [...picture].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
  for (const url of [
    `data:image/jpeg;base64,${base64}`,
    `DATA:image/jpeg;x=1;BASE64,${encodeURIComponent(base64)}`,
    `data:image/jpeg,${escaped}`
  ]) {
    const file = await media.downloadImage(url, { folder })
    t.equal(file.type, 'image/jpeg')
    t.same(await readFile(file.path), picture)
  }
  const many = (await readdir(folder)).length
  for (const [url, code] of [
    ['data:image/jpeg;base64', 'EXP_MEDIA_UNREADABLE'],
    ['data:image/jpeg;base64,####', 'EXP_MEDIA_UNREADABLE'],
    ['data:,hello', 'EXP_MEDIA_UNREADABLE'],
    ['data:text/html,<b>hello</b>', 'EXP_MEDIA_UNREADABLE'],
    ['data:image/svg+xml,%3Csvg%20xmlns=%22x%22/%3E', 'EXP_MEDIA_UNREADABLE'],
    [`data:image/jpeg;base64,${'A'.repeat(1400)}`, 'EXP_MEDIA_TOO_LARGE'],
    [`data:image/jpeg,${'A'.repeat(2000)}`, 'EXP_MEDIA_TOO_LARGE'],
    // Nobody looks into what cannot fit.
    [`data:image/jpeg;base64,${'#'.repeat(10_000)}`, 'EXP_MEDIA_TOO_LARGE']
  ] as const) {
    const error = await failure(media.downloadImage(url, { folder }))
    t.equal(error.code, code, url.slice(0, 40))
    t.ok(error.message.length < 400)
  }
  t.equal((await readdir(folder)).length, many)
})
