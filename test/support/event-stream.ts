import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import type { Test } from 'tap'
import { until } from './until.ts'

export interface SentEvent {
  /** As sent; null for an event without one. */
  id: string | null
  event: string
  data: Record<string, any>
}

/** What a route of events sends. */
export interface EventStream {
  status: number
  type: string | undefined
  /** All so far, in order. */
  events: SentEvent[]
  /** Resolves with the first event, old or new, for which `test` is true. */
  next(what: string, test: (event: SentEvent) => boolean): Promise<SentEvent>
  /** Resolves with all events when the host has ended the stream in good order. */
  ended: Promise<SentEvent[]>
  /** Breaks the connection off. */
  drop(): void
}

/** Follows a job on a connection of its own. */
export function followJob(t: Test, url: string, id: string, lastId?: string | number | null) {
  return followEvents(t, `${url}/jobs/${id}/events`, lastId)
}

/** Follows a pipeline on a connection of its own. */
export function followPipeline(t: Test, url: string, key: string, lastId?: string | null) {
  return followEvents(t, `${url}/pipelines/${key}/events`, lastId)
}

async function followEvents(
  t: Test,
  url: string,
  lastId: string | number | null | undefined
): Promise<EventStream> {
  const headers = lastId == null ? {} : { 'last-event-id': String(lastId) }
  const sent = request(url, { headers, agent: false })
  t.teardown(() => sent.destroy())
  sent.end()
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const events: SentEvent[] = []
  let text = ''
  answer.setEncoding('utf8').on('data', (chunk: string) => {
    const blocks = `${text}${chunk}`.split('\n\n')
    text = blocks.pop() as string
    for (const block of blocks) {
      const fields = new Map(
        block.split('\n').map((line) => {
          const at = line.indexOf(': ')
          return [line.slice(0, at), line.slice(at + 2)]
        })
      )
      const event = fields.get('event')
      if (event === undefined) continue
      const data = JSON.parse(fields.get('data') as string)
      events.push({ id: fields.get('id') ?? null, event, data })
    }
  })
  const isEnded = new Promise<SentEvent[]>((resolve, reject) => {
    answer.on('end', () => resolve(events)).on('error', reject)
  })
  isEnded.catch(() => {})
  return {
    status: answer.statusCode as number,
    type: answer.headers['content-type'],
    events,
    next: (what, test) => until(what, () => events.find(test)),
    ended: isEnded,
    drop: () => sent.destroy()
  }
}
