import http, { type ClientRequest, type IncomingMessage } from 'node:http'
import https from 'node:https'
import { ExpertError } from '../errors.ts'
import { type AddressRules, checkedAddresses } from './checked-addresses.ts'
import { checkBytes, type MediaSource } from './media-source.ts'
import { pinnedLookup } from './pinned-lookup.ts'
import { shownUrl } from './shown-url.ts'

const maxRedirects = 5
const redirects = new Set([301, 302, 303, 307, 308])

/**
 * Asks for a URL by GET and follows redirects, each checked as if it were the first.
 *
 * @throws ExpertError EXP_MEDIA_ADDRESS, EXP_MEDIA_NOT_FOUND, EXP_MEDIA_TOO_LARGE,
 *   EXP_MEDIA_UNREADABLE
 */
export async function openHttp(
  first: URL,
  options: AddressRules & { maxBytes: number; accept: string },
  signal: AbortSignal
): Promise<MediaSource> {
  let url = first
  let name = shownUrl(first)
  for (let hop = 0; hop <= maxRedirects; hop++) {
    const addresses = await checkedAddresses(url, name, options, signal)
    const response = await ask(url, options.accept, name, addresses, signal)
    if (!redirects.has(response.statusCode ?? 0)) return answered(response, name, options.maxBytes)
    response.destroy()
    url = redirectTarget(response, url, name)
    name = `${shownUrl(first)}, redirected to ${shownUrl(url)},`
  }
  throw notFound(`${shownUrl(first)} redirects more than ${maxRedirects} times`)
}

function ask(
  url: URL,
  accept: string,
  name: string,
  addresses: string[],
  signal: AbortSignal
): Promise<IncomingMessage> {
  const { request, Agent } = url.protocol === 'https:' ? https : http
  return new Promise((resolve, reject) => {
    const asked: ClientRequest = request(url, {
      // An agent of its own: no connection that was made for another check, no proxy of the process.
      agent: new Agent({ keepAlive: false, autoSelectFamilyAttemptTimeout: 2000 }),
      lookup: pinnedLookup(addresses),
      headers: { accept, 'accept-encoding': 'identity', 'user-agent': 'nebula-experts' },
      signal
    })
    asked.on('response', resolve)
    asked.on('error', (cause) => reject(broken(name, cause)))
    asked.on('close', () => reject(notFound(`${name} gave no answer`)))
    asked.end()
  })
}

function redirectTarget(response: IncomingMessage, url: URL, name: string): URL {
  const location = response.headers.location
  if (location === undefined || !URL.canParse(location, url.href)) {
    const found = `status ${response.statusCode} with no usable Location`
    throw notFound(`${name} answered ${found}, wanted 2xx`)
  }
  return new URL(location, url)
}

function answered(response: IncomingMessage, name: string, maxBytes: number): MediaSource {
  const close = () => void response.destroy()
  try {
    const status = response.statusCode ?? 0
    if (status < 200 || status > 299) throw notFound(`${name} answered ${status}, wanted 2xx`)
    checkBytes(name, Number(response.headers['content-length'] ?? 0), maxBytes)
    const encoding = response.headers['content-encoding'] ?? 'identity'
    if (encoding.toLowerCase() !== 'identity') {
      const message = `${name} came with content-encoding ${encoding.slice(0, 100)}, wanted none`
      throw new ExpertError('EXP_MEDIA_UNREADABLE', message)
    }
  } catch (error) {
    close()
    throw error
  }
  const type = response.headers['content-type'] ?? null
  return { name, type, body: readBody(response, name), close }
}

async function* readBody(response: IncomingMessage, name: string): AsyncGenerator<Uint8Array> {
  try {
    yield* response
  } catch (cause) {
    throw broken(name, cause)
  }
}

// The message of a socket's error holds the address, so only its code is passed on.
function broken(name: string, cause: unknown): ExpertError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'the connection failed'
  return notFound(`${name} gave no complete answer (${code})`, cause)
}

function notFound(message: string, cause?: unknown): ExpertError {
  return new ExpertError('EXP_MEDIA_NOT_FOUND', message, { cause })
}
