import { pathToFileURL } from 'node:url'
import { ExpertError } from '../errors.ts'
import { allowedHosts } from './allowed-hosts.ts'
import type { AddressRules } from './checked-addresses.ts'
import type { MediaPolicy } from './media.ts'
import type { MediaSource } from './media-source.ts'
import { openData } from './open-data.ts'
import { openFile } from './open-file.ts'
import { openHttp } from './open-http.ts'
import { shownUrl } from './shown-url.ts'

/** What holds for everything that is fetched. */
export interface SourceRules extends AddressRules {
  fileRoots: string[]
  maxBytes: number
  /** Media types that servers are asked for: `image/*`. */
  accept: string
}

/**
 * Opens whatever a URL names.
 *
 * @throws ExpertError EXP_MEDIA_ADDRESS, EXP_MEDIA_NOT_FOUND, EXP_MEDIA_TOO_LARGE, EXP_MEDIA_UNREADABLE
 */
export async function openSource(
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

/**
 * Where a bare path, as the `url_path` of a movie may be one, is to be had, and under which rules: of `WEB_SERVER`, or else
 * as a file. The operator names the server, so it may be an inner one; for paths alone, not for URLs that lead there.
 */
export function pathRules(
  path: string,
  rules: SourceRules,
  { webServer, allowHosts }: Pick<MediaPolicy, 'webServer' | 'allowHosts'>
): [url: string, rules: SourceRules] {
  if (webServer === null) return [pathToFileURL(path).href, rules]
  const isListed = allowedHosts([...allowHosts, new URL(webServer).host])
  return [webServer.replace(/\/+$/, '') + path, { ...rules, isListed }]
}
