import t from 'tap'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'

// Nothing here may import sharp, not even a helper: the test is about who loads it.
const onePixel =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=='

function loadedNatives(): string[] {
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] }
  return sharedObjects.filter((path) => /sharp/.test(path))
}

t.test('sharp is loaded by the first picture, not before', async (t) => {
  const media = createMedia(defaultMediaPolicy)
  await t.rejects(media.downloadImage('http://127.0.0.1/', { folder: t.testdir({}) }))
  await t.rejects(media.decodeImage(Buffer.from('hello')))
  t.same(loadedNatives(), [])
  const image = await media.decodeImage(Buffer.from(onePixel, 'base64'))
  t.match(image, { width: 1, height: 1, channels: 3 })
  t.not(loadedNatives().length, 0)
})
