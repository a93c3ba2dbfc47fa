import type { FastifyInstance } from 'fastify'
import { docsPage } from '../document-pages.ts'
import { handle } from '../handle.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'

/** `/docs`: the documents of all experts, one entry each, and the host's own. */
export function hostDocumentRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { registry } = context
  app.get(
    '/docs',
    { schema: { hide: true } },
    handle(({ response }) => {
      const served = registry.all.filter((expert) => expert.contract !== null)
      const documents = [
        ...served.map(({ name, base }) => ({ name, url: `.${base}/openapi.json` })),
        { name: 'host', url: './docs/host.json' }
      ]
      response.setHeader('content-type', 'text/html; charset=utf-8')
      response.end(docsPage('Nebula Experts', documents, ''))
    })
  )
  const document = handle(({ response }) => sendValue(response, 200, app.swagger()))
  app.get('/docs/host.json', { schema: { hide: true } }, document)
  app.get('/openapi.json', { schema: { hide: true } }, document)
}
