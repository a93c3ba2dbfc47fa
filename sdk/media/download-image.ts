import { allowedHosts } from './allowed-hosts.ts'
import { type Resolve, systemResolve } from './checked-addresses.ts'
import { withDeadline } from './deadline.ts'
import type { Media, MediaPolicy } from './media.ts'
import { openSource, pathRules, type SourceRules } from './open-source.ts'
import { readPictureHeader } from './picture-header.ts'
import { saveSource } from './save-source.ts'
import { shownUrl } from './shown-url.ts'

/**
 * Makes `downloadImage` of {@link Media}.
 *
 * @param resolve - who answers for host names; tests bring their own
 */
export function createDownloader(
  policy: MediaPolicy,
  resolve: Resolve = systemResolve
): Media['downloadImage'] {
  const { fileRoots, maxBytes, maxPixels, timeoutMs } = policy
  const isListed = allowedHosts(policy.allowHosts)
  const rules: SourceRules = { fileRoots, maxBytes, accept: 'image/*', isListed, resolve }
  return async (url, { folder, signal: callerSignal }) => {
    const limit = { name: shownUrl(url), timeoutMs, signal: callerSignal }
    return withDeadline(limit, async (signal) => {
      const source = await (url.startsWith('/')
        ? openSource(...pathRules(url, rules, policy), signal)
        : openSource(url, rules, signal))
      const { name, type } = source
      const check = (path: string) => readPictureHeader(path, { name, type, maxPixels })
      try {
        return await saveSource(source, { folder, maxBytes, check, signal })
      } finally {
        await source.close()
      }
    })
  }
}
