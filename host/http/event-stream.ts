import type { ServerResponse } from 'node:http'

const COMMENT_EVERY_MS = 15_000
/** A client that reads slower than events come is let go: it can come back with the last id it saw. */
const MOST_UNSENT_BYTES = 1024 * 1024

/** Server-sent events on a raw response. */
export class EventStream {
  readonly #response: ServerResponse
  readonly #alive: NodeJS.Timeout

  constructor(response: ServerResponse, onClose: () => void) {
    this.#response = response
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no'
    })
    response.write('retry: 1000\n\n')
    // Proxies and clients give up on what is silent.
    this.#alive = setInterval(() => response.write(': alive\n\n'), COMMENT_EVERY_MS)
    this.#alive.unref()
    response.on('close', () => {
      clearInterval(this.#alive)
      onClose()
    })
    response.on('error', () => {})
  }

  /** @param event.id - null for what a client that comes back shall not be asked about */
  send(event: { id: number | null; type: string; data: unknown }): void {
    const id = event.id === null ? '' : `id: ${event.id}\n`
    this.#response.write(`${id}event: ${event.type}\ndata: ${JSON.stringify(event.data)}\n\n`)
    if (this.#response.writableLength > MOST_UNSENT_BYTES) this.#response.destroy()
  }

  end(): void {
    clearInterval(this.#alive)
    this.#response.end()
  }
}

/** The id that a client which lost its stream saw last: from `Last-Event-ID`; null without one. */
export function lastEventId(headers: NodeJS.Dict<string | string[]>): number | null {
  const given = Number(headers['last-event-id'] ?? Number.NaN)
  return Number.isSafeInteger(given) && given >= 0 ? given : null
}
