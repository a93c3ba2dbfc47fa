import { createDecoder } from './decode-image.ts'
import { createDownloader } from './download-image.ts'
import { type FfmpegPrograms, findFfmpeg } from './find-ffmpeg.ts'
import type { Media, MediaPolicy } from './media.ts'
import { createFolders } from './media-folder.ts'
import { listFolder } from './open-file.ts'

/** What holds when the operator sets nothing: public addresses alone, no files. */
export const defaultMediaPolicy: Readonly<MediaPolicy> = Object.freeze({
  allowHosts: [],
  fileRoots: [],
  maxBytes: 64 * 1024 * 1024,
  maxPixels: 50_000_000,
  timeoutMs: 20_000,
  maxVideoBytes: 2 * 1024 * 1024 * 1024,
  videoTimeoutMs: 600_000,
  ffmpeg: null,
  ffprobe: null,
  webServer: null,
  folder: null
})

/**
 * Makes `this.media` of an expert. What works on video and sound is loaded when it is first used.
 *
 * @throws Error for an entry of `allowHosts` or a `webServer` that cannot be
 */
export function createMedia(given: MediaPolicy): Media {
  const { folder, webServer } = given
  const fileRoots = folder === null ? given.fileRoots : [...given.fileRoots, folder]
  const policy: MediaPolicy = { ...given, fileRoots }
  if (webServer !== null && !isWebServer(webServer)) {
    throw new Error(`WEB_SERVER is "${webServer}", wanted http://host or https://host`)
  }
  const programs: FfmpegPrograms = findFfmpeg(policy)
  const around = { policy, programs }
  return {
    downloadImage: createDownloader(policy),
    decodeImage: createDecoder(policy),
    downloadVideo: async (url, options) => {
      const { createVideoDownloader } = await import('./download-video.ts')
      return createVideoDownloader(policy, programs)(url, options)
    },
    probe: async (path, options = {}) => {
      const { probeMedia } = await import('./probe.ts')
      const { format, durationS, video, audio } = await probeMedia(path, { ...around, ...options })
      return { format, durationS, video, audio }
    },
    frames: async function* (path, options = {}) {
      const { readFrames } = await import('./read-frames.ts')
      yield* readFrames(path, options, around)
    },
    divideMovieIntoFrames: async (path, options) => {
      const { divideMovie } = await import('./divide-movie.ts')
      return divideMovie(path, options, around)
    },
    sound: async function* (path, options = {}) {
      const { readSound } = await import('./read-sound.ts')
      yield* readSound(path, options, around)
    },
    sceneChanges: async (path, options = {}) => {
      const { findSceneChanges } = await import('./scene-changes.ts')
      return findSceneChanges(path, options, around)
    },
    listFolder: (path) => listFolder(path, fileRoots),
    folder: createFolders(folder)
  }
}

function isWebServer(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, search, hash, username, password } = new URL(text)
  return /^https?:$/.test(protocol) && search + hash + username + password === ''
}
