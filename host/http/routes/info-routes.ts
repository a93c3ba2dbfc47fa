import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { isLogLevel, logLevels } from '../../observe/log.ts'
import { requireAdmin } from '../admin.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import { InvalidRequest } from '../invalid-request.ts'
import { readBody } from '../read-body.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendText, sendValue } from '../send.ts'

const AnyObject = Type.Record(Type.String(), Type.Unknown())

/** `/`, `/status`, `/cfg`, `/set`, `/tasks` and `/log-level`: all answered without the expert's process. */
export function infoRoutes(app: FastifyInstance, context: ExpertRouteContext): void {
  const { expert, contract, config } = context
  const root = JSON.stringify({ Expert: expert.name })

  app.get(
    '/',
    {
      schema: {
        operationId: 'read_root__get',
        summary: 'Read Root',
        response: answers(Type.Object({ Expert: Type.String() }))
      }
    },
    handle((request) => sendText(request.response, 200, root))
  )
  app.get(
    '/status',
    {
      schema: {
        operationId: 'get_status_status_get',
        summary: 'Get Status',
        response: answers(Type.Object({ status: Type.Union([Type.String(), Type.Null()]) }))
      }
    },
    handle((request) => sendValue(request.response, 200, { status: expert.mirror.status }))
  )
  app.get(
    '/cfg',
    {
      schema: {
        operationId: 'get_config_cfg_get',
        summary: 'Get Config',
        tags: ['cfg'],
        response: answers(Type.Object({ cfg: Type.Union([AnyObject, Type.Null()]) }))
      }
    },
    handle((request) => sendValue(request.response, 200, { cfg: expert.mirror.cfg }))
  )
  app.post(
    '/set',
    {
      schema: {
        operationId: 'post_config_set_post',
        summary: 'Post Config',
        description:
          'Sets declared configuration on all instances, past restarts. Anything else answers "not supported".',
        tags: ['set'],
        response: answers(Type.Object({ set: Type.Union([Type.String(), AnyObject]) }))
      }
    },
    handle((request) => {
      const values = declaredValues(request)
      if (values !== null) {
        requireAdmin(request.raw, config.adminKey)
        expert.set(values)
      }
      sendValue(request.response, 200, {
        set: values === null ? 'not supported' : contract.config.show(values)
      })
    })
  )
  app.get(
    '/tasks',
    {
      schema: {
        operationId: 'get_tasks_tasks_get',
        summary: 'Get Tasks',
        tags: ['tasks'],
        response: answers(
          Type.Object({
            tasks: Type.Array(Type.Object({ id: Type.String(), info: AnyObject }))
          })
        )
      }
    },
    handle((request) => sendValue(request.response, 200, { tasks: expert.mirror.tasks }))
  )

  const Level = Type.Object({
    level: Type.Union(
      logLevels.map((level) => Type.Literal(level)),
      { examples: ['debug'] }
    )
  })
  app.get(
    '/log-level',
    {
      schema: {
        operationId: 'get_log_level_log_level_get',
        summary: 'Get Log Level',
        tags: ['set'],
        response: answers(Level)
      }
    },
    handle((request) => sendValue(request.response, 200, { level: expert.logLevel }))
  )
  app.post(
    '/log-level',
    {
      schema: {
        operationId: 'post_log_level_log_level_post',
        summary: 'Post Log Level',
        tags: ['set'],
        body: Level,
        response: answers(Level)
      }
    },
    handle((request) => {
      requireAdmin(request.raw, config.adminKey)
      const level = readLevel(readBody(request.raw, request.body))
      expert.setLogLevel(level)
      sendValue(request.response, 200, { level })
    })
  )

  /** The values of a body that names declared keys; null for whatever else it is. */
  function declaredValues(request: { raw: Parameters<typeof readBody>[0]; body: unknown }) {
    let body: unknown
    try {
      body = readBody(request.raw, request.body)
    } catch {
      return null
    }
    if (typeof body !== 'object' || body === null || Array.isArray(body)) return null
    const keys = Object.keys(body).filter((key) => contract.config.has(key))
    if (keys.length === 0) return null
    const values: Record<string, unknown> = {}
    for (const key of keys) {
      const checked = contract.config.check(key, (body as Record<string, unknown>)[key])
      if ('issues' in checked) throw new InvalidRequest(checked.issues)
      values[key] = checked.value
    }
    return values
  }
}

/** @throws InvalidRequest naming the levels there are */
export function readLevel(body: unknown): string {
  const level = (body as { level?: unknown } | null | undefined)?.level
  if (isLogLevel(level)) return level
  throw new InvalidRequest([
    {
      loc: ['body', 'level'],
      msg: `value is not a valid enumeration member; permitted: ${logLevels.map((word) => `'${word}'`).join(', ')}`,
      type: 'type_error.enum'
    }
  ])
}
