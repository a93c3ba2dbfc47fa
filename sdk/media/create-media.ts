import { createDecoder } from './decode-image.ts'
import { createDownloader } from './download-image.ts'
import type { Media, MediaPolicy } from './media.ts'

/** What holds when the operator sets nothing: public addresses alone, no files. */
export const defaultMediaPolicy: Readonly<MediaPolicy> = Object.freeze({
  allowHosts: [],
  fileRoots: [],
  maxBytes: 64 * 1024 * 1024,
  maxPixels: 50_000_000,
  timeoutMs: 20_000
})

/** Makes `this.media` of an expert. */
export function createMedia(policy: MediaPolicy): Media {
  return { downloadImage: createDownloader(policy), decodeImage: createDecoder(policy) }
}
