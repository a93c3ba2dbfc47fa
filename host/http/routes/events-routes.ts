import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { answers } from '../documented-schemas.ts'
import { EventStream, lastEventId } from '../event-stream.ts'
import { handle } from '../handle.ts'
import type { HostRouteContext } from '../route-context.ts'
import { viewExpert } from './experts-routes.ts'

/** `GET /events`: every change of an expert, as server-sent events. */
export function eventsRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { events, registry } = context
  app.get(
    '/events',
    {
      schema: {
        operationId: 'host_events',
        summary: 'Follow Changes',
        description:
          'First where every expert stands (or, after Last-Event-ID, what was missed, while it is kept), then every change.',
        produces: ['text/event-stream'],
        response: answers(Type.String(), 'Server-sent events')
      }
    },
    handle(({ raw, response }) => {
      const stopListening = events.listen((event) => {
        if (event === null) stream.end()
        else stream.send(event)
      })
      const stream = new EventStream(response, stopListening)
      const seen = lastEventId(raw.headers)
      const missed = seen === null ? null : events.since(seen)
      if (missed === null) {
        for (const expert of registry.all) {
          stream.send({ id: events.lastId, type: 'expert', data: viewExpert(expert) })
        }
      } else {
        for (const event of missed) stream.send(event)
      }
    })
  )
}
