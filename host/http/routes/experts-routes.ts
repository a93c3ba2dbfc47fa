import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { Expert } from '../../registry/expert.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'

const Nullable = <T extends object>(schema: T) => Type.Union([schema as never, Type.Null()])

/** The shape of `viewExpert`. */
export const ExpertView = Type.Object({
  name: Type.String(),
  version: Nullable(Type.String()),
  status: Type.String(),
  reason: Nullable(
    Type.String({ description: 'Why it stands as it does, when that needs saying' })
  ),
  since: Type.String({ format: 'date-time' }),
  required: Type.Boolean(),
  restarts: Type.Integer(),
  last_exit: Nullable(Type.String()),
  progress: Nullable(
    Type.Object(
      { fraction: Type.Number(), note: Nullable(Type.String()) },
      { description: 'Of init' }
    )
  ),
  instances: Type.Array(
    Type.Object({
      pid: Type.Integer(),
      started_at: Type.String({ format: 'date-time' }),
      in_flight: Type.Integer(),
      jobs_done: Type.Integer()
    })
  ),
  queue: Type.Object({ waiting: Type.Integer(), max: Type.Integer() }),
  base: Type.String({ description: 'Under which its routes answer' })
})

/** `GET /experts`, and `/` where no expert answers there. */
export function expertsRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { registry, version } = context
  app.get(
    '/experts',
    {
      schema: {
        operationId: 'list_experts',
        summary: 'List Experts',
        description: 'Every expert the host knows of, those that cannot be served with the reason.',
        response: answers(Type.Array(ExpertView))
      }
    },
    handle(({ response }) => sendValue(response, 200, registry.all.map(viewExpert)))
  )
  app.get(
    '/',
    { schema: { hide: true } },
    handle(({ response }) =>
      sendValue(response, 200, {
        name: 'nebula-experts',
        version,
        experts: registry.all.map((expert) => ({ name: expert.name, base: expert.base })),
        docs: '/docs'
      })
    )
  )
}

/** An expert as `/experts` shows it. */
export function viewExpert(expert: Expert): Record<string, unknown> {
  return {
    name: expert.name,
    version: expert.version,
    status: expert.state,
    reason: expert.reason,
    since: expert.since.toISOString(),
    required: expert.required,
    restarts: expert.restarts,
    last_exit: expert.lastExit,
    progress: expert.initProgress,
    instances: expert.instances.map((instance) => ({
      pid: instance.pid,
      started_at: new Date(instance.startedAt).toISOString(),
      in_flight: instance.inFlight,
      jobs_done: instance.jobsDone
    })),
    queue: { waiting: expert.waiting, max: expert.maxQueueSize },
    base: expert.base
  }
}
