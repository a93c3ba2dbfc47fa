import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import { readHost } from '../read-host.ts'
import type { HostRouteContext } from '../route-context.ts'

/** `GET /metrics`: what the host counts, and how it stands, in the text format of Prometheus. */
export function metricsRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { metrics } = context
  const show = handle(async ({ response }) => {
    const text = await metrics.show(await readHost(context))
    response.setHeader('content-type', metrics.contentType)
    response.end(text)
  })
  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'host_metrics',
        summary: 'Metrics',
        description:
          'For Prometheus to scrape; docs/metrics.md says what each means. Open like /health. What a store does not tell is left out.',
        produces: ['text/plain'],
        response: answers(Type.String(), 'Text format of Prometheus, version 0.0.4')
      }
    },
    show
  )
  app.head('/metrics', { schema: { hide: true } }, show)
}
