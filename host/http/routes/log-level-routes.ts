import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { requireAdmin } from '../admin.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import { readBody } from '../read-body.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'
import { readLevel } from './info-routes.ts'

/** `/log-level` of the host; setting it sets every expert's too. */
export function logLevelRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { config, log, registry } = context
  const Level = Type.Object({ level: Type.String({ examples: ['debug'] }) })
  app.get(
    '/log-level',
    {
      schema: { operationId: 'get_log_level', summary: 'Get Log Level', response: answers(Level) }
    },
    handle(({ response }) => sendValue(response, 200, { level: log.level }))
  )
  app.post(
    '/log-level',
    {
      schema: {
        operationId: 'set_log_level',
        summary: 'Set Log Level',
        body: Level,
        response: answers(Level)
      }
    },
    handle(({ raw, body, response }) => {
      requireAdmin(raw, config.adminKey)
      const level = readLevel(readBody(raw, body))
      log.level = level
      registry.setLogLevel(level)
      sendValue(response, 200, { level })
    })
  )
}
