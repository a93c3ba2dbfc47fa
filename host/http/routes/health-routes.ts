import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { hostError } from '../../errors.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import { whyNotReady } from '../readiness.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'

/**
 * `/health/live`: the host answers. `/health/ready`: a prediction sent now to any required expert would
 * be run; 503 with the reasons until then.
 */
export function healthRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { registry, jobStore } = context
  app.get(
    '/health/live',
    {
      schema: {
        operationId: 'health_live',
        summary: 'Is the host alive',
        response: answers(Type.Object({ live: Type.Boolean() }))
      }
    },
    handle(({ response }) => sendValue(response, 200, { live: true }))
  )
  const Readiness = Type.Object({
    ready: Type.Boolean(),
    reasons: Type.Array(Type.String({ description: 'What is missing; empty when ready' })),
    jobs: Type.String({ description: 'What an accepted job survives' })
  })
  app.get(
    '/health/ready',
    {
      schema: {
        operationId: 'health_ready',
        summary: 'Is every required expert served',
        querystring: Type.Object({
          expert: Type.Optional(Type.String({ description: 'Ask for this one alone' }))
        }),
        response: { ...answers(Readiness), 503: { description: 'Not Ready', ...Readiness } }
      }
    },
    handle(({ response, query }) => {
      const asked = [query.expert].flat().at(-1)
      const expert = asked === undefined ? undefined : registry.get(String(asked))
      if (asked !== undefined && expert === undefined) {
        throw hostError('HOST_EXPERT_UNKNOWN', [String(asked)])
      }
      const reasons = whyNotReady(context, expert)
      const ready = reasons.length === 0
      sendValue(response, ready ? 200 : 503, { ready, reasons, jobs: jobStore.guarantee })
    })
  )
}
