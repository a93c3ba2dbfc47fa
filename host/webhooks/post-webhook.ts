import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { pinnedLookup } from '@nebula-experts/sdk/hosting'

/** What a receiver said; of its body nothing is kept. */
export interface WebhookAnswer {
  status: number
  /** `Retry-After`, milliseconds from now, or null. */
  retryAfterMs: number | null
}

/** What is read of an answer before its connection is cut, bytes. */
const MOST_ANSWER_BYTES = 64 * 1024

/**
 * Sends a webhook to one of these addresses; a redirect is an answer like any other.
 *
 * Resolves when the answer has ended, or is longer than anybody needs, or is still coming when `signal` ends it: then
 * its status is what counts.
 *
 * @throws Error saying what became of the connection, without its address
 */
export function postWebhook(
  url: URL,
  options: {
    addresses: string[]
    headers: Record<string, string>
    body: Buffer
    signal: AbortSignal
  }
): Promise<WebhookAnswer> {
  const { addresses, headers, body, signal } = options
  const { request, Agent } = url.protocol === 'https:' ? https : http
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      method: 'POST',
      // An agent of its own: no connection that was made for another check, no proxy of the process.
      agent: new Agent({ keepAlive: false, autoSelectFamilyAttemptTimeout: 2000 }),
      lookup: pinnedLookup(addresses),
      headers: { ...headers, 'content-length': String(body.length) },
      signal
    })
    let answer: WebhookAnswer | null = null
    const settle = (why: string) => {
      if (answer === null) reject(new Error(why))
      else resolve(answer)
    }
    asked.on('response', (response) => {
      const { statusCode = 0, headers } = response
      answer = { status: statusCode, retryAfterMs: retryAfterOf(headers['retry-after']) }
      throwAway(response)
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      settle(`the connection failed (${error.code ?? error.name})`)
    })
    asked.on('close', () => settle('there was no answer'))
    asked.end(body)
  })
}

function throwAway(response: IncomingMessage): void {
  let bytes = 0
  response.on('error', () => {})
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > MOST_ANSWER_BYTES) response.destroy()
  })
}

/** Seconds, or a date. */
function retryAfterOf(text: string | undefined): number | null {
  if (text === undefined) return null
  if (/^\s*\d{1,9}\s*$/.test(text)) return Number(text) * 1000
  const at = Date.parse(text)
  return Number.isNaN(at) ? null : Math.max(0, at - Date.now())
}
