import { ExpertError } from '../errors.ts'
import { allowedHosts } from './allowed-hosts.ts'
import { type Resolve, systemResolve } from './checked-addresses.ts'
import { withDeadline } from './deadline.ts'
import type { FfmpegPrograms } from './find-ffmpeg.ts'
import type { DownloadedFile, Media, MediaPolicy } from './media.ts'
import { openFile } from './open-file.ts'
import { openSource, pathRules, type SourceRules } from './open-source.ts'
import { probeMedia } from './probe.ts'
import { checkedVideo } from './read-frames.ts'
import { saveSource } from './save-source.ts'
import { shownUrl } from './shown-url.ts'

const accept = 'video/*, audio/*'

/**
 * Makes `downloadVideo` of {@link Media}.
 *
 * @param resolve - who answers for host names; tests bring their own
 */
export function createVideoDownloader(
  policy: MediaPolicy,
  programs: FfmpegPrograms,
  resolve: Resolve = systemResolve
): Media['downloadVideo'] {
  const { fileRoots, maxVideoBytes: maxBytes, webServer } = policy
  const isListed = allowedHosts(policy.allowHosts)
  const rules: SourceRules = { fileRoots, maxBytes, accept, isListed, resolve }

  const check = async (path: string, name: string, signal: AbortSignal): Promise<string> => {
    const info = await probeMedia(path, { programs, policy, signal, name })
    if (info.video !== null) checkedVideo(info, policy.maxPixels)
    return extensionOf(info.format)
  }

  const save = async (url: string, from: SourceRules, folder: string, signal: AbortSignal) => {
    const source = await openSource(url, from, signal)
    const named = (path: string) => check(path, source.name, signal)
    try {
      return await saveSource(source, { folder, maxBytes, check: named, signal })
    } finally {
      await source.close()
    }
  }

  const useInPlace = async (url: URL, signal: AbortSignal): Promise<DownloadedFile> => {
    const file = await openFile(url, { fileRoots, maxBytes: Number.POSITIVE_INFINITY }, signal)
    await file.close()
    await check(file.path, file.name, signal)
    return { path: file.path, bytes: file.bytes, type: null }
  }

  return async (url, { folder, signal: callerSignal }) => {
    const limit = { name: shownUrl(url), timeoutMs: policy.videoTimeoutMs, signal: callerSignal }
    return withDeadline(limit, async (signal) => {
      // Before two gigabytes are fetched for nothing.
      await programs.ffprobe()
      if (/^\s*file:/i.test(url) && URL.canParse(url)) return useInPlace(new URL(url), signal)
      if (!url.startsWith('/')) return save(url, rules, folder, signal)
      const [asked, serverRules] = pathRules(url, rules, policy)
      if (webServer === null) return useInPlace(new URL(asked), signal)
      try {
        return await save(asked, serverRules, folder, signal)
      } catch (error) {
        const isAbsent = error instanceof ExpertError && error.code === 'EXP_MEDIA_NOT_FOUND'
        if (!isAbsent || !asked.endsWith('.avi')) throw error
        return save(asked.replace(/\.avi$/, '.mp4'), serverRules, folder, signal)
      }
    })
  }
}

const extensions: Record<string, string> = { mov: 'mp4', matroska: 'mkv', mpegts: 'ts', ogg: 'ogg' }

function extensionOf(format: string): string {
  const [first = 'media'] = format.split(',')
  return extensions[first] ?? first
}
