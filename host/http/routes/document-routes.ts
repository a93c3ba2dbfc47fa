import type { FastifyInstance } from 'fastify'
import { docsPage, readingPage } from '../document-pages.ts'
import { handle } from '../handle.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'

/** `/openapi.json`, `/docs` and `/redoc` of one expert. */
export function documentRoutes(
  app: FastifyInstance,
  context: Pick<ExpertRouteContext, 'expert'>,
  documentFor: (base: string) => Record<string, unknown>
): void {
  const { name } = context.expert
  const hidden = { schema: { hide: true } }
  app.get(
    '/openapi.json',
    hidden,
    handle(({ raw, response }) => sendValue(response, 200, documentFor(raw.base ?? '')))
  )
  app.get(
    '/docs',
    hidden,
    handle(({ raw, response }) => {
      response.setHeader('content-type', 'text/html; charset=utf-8')
      response.end(docsPage(name, [{ name, url: 'openapi.json' }], raw.base ?? ''))
    })
  )
  app.get(
    '/redoc',
    hidden,
    handle(({ raw, response }) => {
      response.setHeader('content-type', 'text/html; charset=utf-8')
      response.end(readingPage(name, 'openapi.json', raw.base ?? ''))
    })
  )
}
