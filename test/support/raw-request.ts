import { once } from 'node:events'
import { Agent, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { Test } from 'tap'

export interface RawAnswer {
  status: number
  headers: IncomingHttpHeaders
  bytes: Buffer
  text: string
}

export type RawRequest = (
  method: string,
  path: string,
  options?: { headers?: Record<string, string>; body?: string | Buffer }
) => Promise<RawAnswer>

/** Sends requests exactly as they are given, with no header and no escape added, on kept connections. */
export function rawClient(t: Test, url: string): RawRequest {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 })
  t.teardown(() => agent.destroy())
  const { hostname, port } = new URL(url)
  return async (method, path, { headers = {}, body } = {}) => {
    const sent = request({ hostname, port, method, path, headers, agent })
    sent.end(body)
    const [answer] = (await once(sent, 'response')) as [IncomingMessage]
    const bytes = await buffer(answer)
    return {
      status: answer.statusCode as number,
      headers: answer.headers,
      bytes,
      text: bytes.toString('utf8')
    }
  }
}
