import { basename } from 'node:path'
import { ExpertError } from '../errors.ts'
import { loadSharp } from './load-sharp.ts'
import type { Media, MediaPolicy } from './media.ts'
import { readPictureHeader } from './picture-header.ts'
import { shownUrl } from './shown-url.ts'

/** Makes `decodeImage` of {@link Media}. */
export function createDecoder(policy: Pick<MediaPolicy, 'maxPixels'>): Media['decodeImage'] {
  const { maxPixels } = policy
  return async (source, { channels = 3, name: given } = {}) => {
    const file = typeof source === 'string' ? basename(source) : 'the picture'
    const name = given === undefined ? file : shownUrl(given)
    await readPictureHeader(source, { name, maxPixels })
    const sharp = await loadSharp()
    const picture = sharp(source, { limitInputPixels: maxPixels, failOn: 'error' })
      .autoOrient()
      .flatten({ background: '#ffffff' })
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
    const { data, info } = await picture.toBuffer({ resolveWithObject: true }).catch((cause) => {
      const found = String(cause.message).split('\n')[0]
      const message = `${name} cannot be decoded (${found}), wanted a whole picture`
      throw new ExpertError('EXP_MEDIA_UNREADABLE', message, { cause })
    })
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    const { width, height } = info
    if (info.channels !== channels) {
      const message = `${name} has ${info.channels} channels after decoding, wanted ${channels}`
      throw new ExpertError('EXP_MEDIA_UNREADABLE', message)
    }
    return { data: bytes, width, height, channels }
  }
}
