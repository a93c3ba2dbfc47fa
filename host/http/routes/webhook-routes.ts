import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { hostError } from '../../errors.ts'
import { type WebhookNotice, webhookStates } from '../../jobs/webhook-outbox.ts'
import { requireAdmin } from '../admin.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import { paging, queryReader } from '../query-reader.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'

const Nullable = <T extends object>(schema: T) =>
  Type.Union([Type.Unsafe<unknown>(schema), Type.Null()])
const WebhookView = Type.Object(
  {
    id: Type.String({ description: 'The `webhook-id` of each try' }),
    job_id: Type.String(),
    expert: Type.String(),
    event: Type.String(),
    url: Type.String(),
    state: Type.Union(webhookStates.map((state) => Type.Literal(state))),
    created_at: Type.String({ format: 'date-time' }),
    next_at: Nullable(
      Type.String({ format: 'date-time', description: 'When it is tried next, if that is known' })
    ),
    attempts: Type.Integer({ description: 'Tries that have failed' }),
    error: Nullable(Type.String({ description: 'Why the last of them did' }))
  },
  { description: 'What a webhook is still to be told, or was given up' }
)
const WebhooksQuery = Type.Object({
  state: Type.Union(
    webhookStates.map((state) => Type.Literal(state)),
    { default: 'failed', description: '`failed` were given up, `waiting` are still tried' }
  ),
  ...paging
})
const WebhookId = Type.Object({ webhook_id: Type.String() })
const NEEDS_KEY =
  'Needs NEBULA_ADMIN_KEY as a bearer token; without one, answers on loopback alone.'

/** `/webhooks`: what could not be delivered yet, or not at all. */
export function webhookRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { jobStore, webhooks, config } = context
  const { outbox } = jobStore
  const readQuery = queryReader(WebhooksQuery)

  app.get(
    '/webhooks',
    {
      schema: {
        operationId: 'list_webhooks',
        summary: 'List Webhooks',
        description: `What was given up, or still waits, oldest first. ${NEEDS_KEY}`,
        tags: ['manage'],
        querystring: WebhooksQuery,
        response: answers(
          Type.Object({
            webhooks: Type.Array(WebhookView),
            next: Type.Union([Type.String(), Type.Null()], {
              description: 'The `cursor` of the page that follows; null on the last'
            })
          })
        )
      }
    },
    handle(async ({ raw, response, query }) => {
      requireAdmin(raw, config.adminKey)
      const { state, limit, cursor } = readQuery(query)
      const after = cursor === undefined ? {} : { after: cursor.replaceAll('\0', '') }
      const found = await outbox.list({ state, limit: limit + 1, ...after })
      const page = found.slice(0, limit)
      const next = found.length > limit ? (page.at(-1)?.id ?? null) : null
      sendValue(response, 200, { webhooks: page.map(viewWebhook), next })
    })
  )

  app.post(
    '/webhooks/:webhook_id/retry',
    {
      schema: {
        operationId: 'retry_webhook',
        summary: 'Retry Webhook',
        description: `Tries one now, with all its tries before it. ${NEEDS_KEY}`,
        tags: ['manage'],
        params: WebhookId,
        response: answers(WebhookView)
      }
    },
    handle(async ({ raw, response, params }) => {
      requireAdmin(raw, config.adminKey)
      const id = params.webhook_id as string
      const isThere = await outbox.retry(id, Date.now())
      const notice = isThere ? await outbox.get(id) : undefined
      if (notice === undefined) throw hostError('HOST_WEBHOOK_UNKNOWN', [id.slice(0, 100)])
      webhooks.wake()
      sendValue(response, 200, viewWebhook(notice))
    })
  )
}

function viewWebhook(notice: WebhookNotice): Record<string, unknown> {
  const { id, jobId, expert, event, url, state, createdAt, nextAt, attempts, error } = notice
  return {
    id,
    job_id: jobId,
    expert,
    event,
    url,
    state,
    created_at: new Date(createdAt).toISOString(),
    next_at: nextAt === null ? null : new Date(nextAt).toISOString(),
    attempts,
    error
  }
}
