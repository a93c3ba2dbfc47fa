import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { hostError } from '../../errors.ts'
import type { Expert } from '../../registry/expert.ts'
import type { Registry } from '../../registry/registry.ts'
import { requireAdmin } from '../admin.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'
import { ExpertView, viewExpert } from './experts-routes.ts'

interface Action {
  summary: string
  act: (expert: Expert, registry: Registry) => Promise<void>
}

const actions: Record<string, Action> = {
  load: { summary: 'Start an expert that is stopped or parked', act: (expert) => expert.load() },
  unload: { summary: 'Drain an expert and stop it', act: (expert) => expert.unload() },
  reload: {
    summary: 'Put what lies in its folder in place',
    act: (expert, registry) => registry.reload(expert)
  },
  restart: { summary: 'Replace its processes by new ones', act: (expert) => expert.restart() }
}

/** `POST /manage/experts/{name}/load|unload|reload|restart`: answers when it is done. */
export function manageRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { registry, config } = context
  for (const [action, { summary, act }] of Object.entries(actions)) {
    app.post(
      `/manage/experts/:name/${action}`,
      {
        schema: {
          operationId: `${action}_expert`,
          summary,
          description:
            'Needs NEBULA_ADMIN_KEY as a bearer token; without one, answers on loopback alone.',
          tags: ['manage'],
          params: Type.Object({ name: Type.String() }),
          response: answers(ExpertView)
        }
      },
      handle(async ({ raw, response, params }) => {
        requireAdmin(raw, config.adminKey)
        const expert = registry.get(params.name as string)
        if (expert === undefined) throw hostError('HOST_EXPERT_UNKNOWN', [params.name as string])
        await act(expert, registry)
        sendValue(response, 200, viewExpert(expert))
      })
    )
  }
}
