import { ExpertError } from '../errors.ts'
import { allowedHosts } from './allowed-hosts.ts'
import { type AddressRules, type Resolve, systemResolve } from './checked-addresses.ts'
import { withDeadline } from './deadline.ts'
import type { Media, MediaPolicy } from './media.ts'
import type { MediaSource } from './media-source.ts'
import { openData } from './open-data.ts'
import { openFile } from './open-file.ts'
import { openHttp } from './open-http.ts'
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
  const rules: SourceRules = { ...policy, isListed: allowedHosts(policy.allowHosts), resolve }
  return async (url, { folder, signal: callerSignal }) => {
    const limit = { name: shownUrl(url), timeoutMs: policy.timeoutMs, signal: callerSignal }
    return withDeadline(limit, async (signal) => {
      const source = await openSource(url, rules, signal)
      try {
        return await saveSource(source, folder, policy, signal)
      } finally {
        await source.close()
      }
    })
  }
}

type SourceRules = MediaPolicy & AddressRules

async function openSource(
  url: string,
  rules: SourceRules,
  signal: AbortSignal
): Promise<MediaSource> {
  // Not parsed as a URL: it may be as large as a picture.
  if (/^\s*data:/i.test(url)) return openData(url, rules)
  if (!URL.canParse(url)) {
    const message = `${shownUrl(url)} is no URL, wanted http:, https:, data: or file:`
    throw new ExpertError('EXP_MEDIA_ADDRESS', message)
  }
  const parsed = new URL(url)
  switch (parsed.protocol) {
    case 'http:':
    case 'https:':
      return openHttp(parsed, rules, signal)
    case 'file:':
      return openFile(parsed, rules, signal)
    default: {
      const found = `its scheme is ${parsed.protocol}, wanted http:, https:, data: or file:`
      throw new ExpertError('EXP_MEDIA_ADDRESS', `${shownUrl(url)} is refused: ${found}`)
    }
  }
}
