import type { Test } from 'tap'
import { until } from './until.ts'

export interface PipelineStreamEvent {
  /** As sent; null for an event without one. */
  id: string | null
  event: string
  data: Record<string, any>
}

/** What `/pipelines/{id}/events` sends. */
export interface PipelineStream {
  status: number
  type: string | null
  /** All so far, in order. */
  events: PipelineStreamEvent[]
  /** Resolves with the first event, old or new, for which `test` is true. */
  next(what: string, test: (event: PipelineStreamEvent) => boolean): Promise<PipelineStreamEvent>
  /** Resolves with all events when the host has ended the stream. */
  ended: Promise<PipelineStreamEvent[]>
}

/** Follows a pipeline. */
export async function followPipeline(
  t: Test,
  url: string,
  key: string,
  lastId?: string | null
): Promise<PipelineStream> {
  const leaving = new AbortController()
  t.teardown(() => leaving.abort())
  const headers: Record<string, string> =
    lastId === undefined || lastId === null ? {} : { 'last-event-id': lastId }
  const answer = await fetch(`${url}/pipelines/${key}/events`, { headers, signal: leaving.signal })
  const events: PipelineStreamEvent[] = []
  const read = async () => {
    let text = ''
    const decoder = new TextDecoder()
    for await (const bytes of answer.body ?? []) {
      const blocks = `${text}${decoder.decode(bytes, { stream: true })}`.split('\n\n')
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
    }
    return events
  }
  const ended = read()
  ended.catch(() => {})
  return {
    status: answer.status,
    type: answer.headers.get('content-type'),
    events,
    next: (what, test) => until(what, () => events.find(test)),
    ended
  }
}
