import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { bareInstance } from './bare-instance.ts'
import { countRequests, followRequest } from './count-requests.ts'
import { sharedSchemas } from './documented-schemas.ts'
import type { HostedRequest } from './hosted-request.ts'
import { missOf, routed } from './missed-path.ts'
import type { HostRouteContext } from './route-context.ts'
import { RouteTable } from './route-table.ts'
import { documentStoreRoutes } from './routes/document-store-routes.ts'
import { eventsRoutes } from './routes/events-routes.ts'
import { expertsRoutes } from './routes/experts-routes.ts'
import { healthRoutes } from './routes/health-routes.ts'
import { hostDocumentRoutes } from './routes/host-document-routes.ts'
import { jobRoutes } from './routes/job-routes.ts'
import { logLevelRoutes } from './routes/log-level-routes.ts'
import { manageRoutes } from './routes/manage-routes.ts'
import { metricsRoutes } from './routes/metrics-routes.ts'
import { pipelineRoutes } from './routes/pipeline-routes.ts'
import { webhookRoutes } from './routes/webhook-routes.ts'

const require = createRequire(import.meta.url)

/** The host's own routes, and the server in which every request first meets the front. */
export async function buildHostApp(context: HostRouteContext): Promise<FastifyInstance> {
  const { config, front, metrics, version } = context
  const table = new RouteTable()
  const app = bareInstance(config.maxBodyBytes, context.log, (handler) => {
    const own = routed(table, handler)
    return createServer((request, response) => {
      followRequest(request, response, metrics.requests)
      front.handle(request as HostedRequest, response, own)
    })
  })
  app.addHook('onRoute', (route) => {
    for (const method of [route.method].flat()) table.add(method, route.url)
    countRequests(route, metrics.hostRoutes)
  })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Nebula Experts host', version },
      servers: [{ url: '/' }]
    },
    refResolver: { buildLocalReference: (json) => String(json.$id) }
  })
  for (const schema of sharedSchemas(null)) app.addSchema(schema)
  // Its files serve the documentation pages of all experts.
  await app.register(swaggerUi, { routePrefix: '/docs/assets' })
  const rapidoc = readFileSync(require.resolve('rapidoc/dist/rapidoc-min.js'))
  app.get('/docs/assets/rapidoc-min.js', { schema: { hide: true } }, (_request, reply) => {
    reply.header('content-type', 'text/javascript; charset=utf-8')
    reply.header('cache-control', 'public, max-age=86400')
    return reply.send(rapidoc)
  })

  expertsRoutes(app, context)
  healthRoutes(app, context)
  metricsRoutes(app, context)
  logLevelRoutes(app, context)
  jobRoutes(app, { jobs: context.jobs, expert: null })
  manageRoutes(app, context)
  documentStoreRoutes(app, context)
  pipelineRoutes(app, context)
  webhookRoutes(app, context)
  eventsRoutes(app, context)
  hostDocumentRoutes(app, context)

  app.setNotFoundHandler((request, reply) => {
    reply.hijack()
    missOf(table, request.raw, reply.raw)
  })
  return app
}
