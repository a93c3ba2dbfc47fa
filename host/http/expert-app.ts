import type { ServerResponse } from 'node:http'
import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { bareInstance } from './bare-instance.ts'
import { countRequests } from './count-requests.ts'
import { sharedSchemas } from './documented-schemas.ts'
import type { HostedRequest } from './hosted-request.ts'
import { missOf, routed } from './missed-path.ts'
import type { ExpertRouteContext } from './route-context.ts'
import { RouteTable } from './route-table.ts'
import { documentRoutes } from './routes/document-routes.ts'
import { infoRoutes } from './routes/info-routes.ts'
import { jobRoutes } from './routes/job-routes.ts'
import { ownRoutes } from './routes/own-routes.ts'
import { predictRoutes } from './routes/predict-routes.ts'

/** One expert's HTTP service, complete under any base. */
export interface ExpertApp {
  handle(request: HostedRequest, response: ServerResponse): void
  /** Its OpenAPI 3.1 document, for clients that reach it under `base`. */
  document(base: string): Record<string, unknown>
  close(): Promise<void>
}

/** Builds the Fastify instance with the inherited routes and the expert's own. */
export async function buildExpertApp(context: ExpertRouteContext): Promise<ExpertApp> {
  const { expert, contract, config } = context
  const table = new RouteTable()
  const app = bareInstance(config.maxBodyBytes, context.log)
  app.addHook('onRoute', (route) => {
    const declared = route.config?.declaredPath ?? route.url
    for (const method of [route.method].flat()) table.add(method, declared)
    countRequests(route, context.tallies)
  })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: expert.name, version: contract.version },
      tags: [
        { name: expert.name, description: 'Routes of its own' },
        { name: 'run', description: 'Predictions' },
        { name: 'tasks', description: 'Work under way, and kept jobs' },
        { name: 'cfg', description: 'Its configuration' },
        { name: 'set', description: 'Change its configuration' },
        // Declared by the seed, and used by no route of it.
        { name: 'status', description: 'Name and state of the expert' },
        { name: 'jobs', description: 'Kept jobs and their results' },
        { name: 'predict', description: 'Predictions' }
      ]
    },
    refResolver: { buildLocalReference: (json) => String(json.$id) },
    transform: ({ schema, url, route }) => {
      const declared = route.config?.declaredPath ?? url
      // The document's writer takes every colon for a parameter's: verbs are put back afterwards.
      return { schema, url: declared.replace(/(?<=[^/]):/g, VERB_COLON) }
    },
    transformObject: (document) => {
      const { openapiObject } = document as { openapiObject: { paths?: Record<string, unknown> } }
      const paths = Object.entries(openapiObject.paths ?? {})
      openapiObject.paths = Object.fromEntries(
        paths.map(([path, item]) => [path.replaceAll(VERB_COLON, ':'), item])
      )
      return openapiObject as never
    }
  })
  for (const schema of sharedSchemas(contract.paramsSchema)) app.addSchema(schema)

  infoRoutes(app, context)
  predictRoutes(app, context)
  jobRoutes(app, context)
  documentRoutes(app, context, (base) => withServer(app, base))
  ownRoutes(app, context)

  app.setNotFoundHandler((request, reply) => {
    reply.hijack()
    missOf(table, request.raw, reply.raw)
  })
  await app.ready()
  return {
    handle: routed(table, (request, response) => app.routing(request, response)),
    document: (base) => withServer(app, base),
    close: () => app.close()
  }
}

const VERB_COLON = '\u0001'

function withServer(app: FastifyInstance, base: string): Record<string, unknown> {
  const document = app.swagger() as unknown as Record<string, unknown>
  return { ...document, servers: [{ url: base === '' ? '/' : base }] }
}
