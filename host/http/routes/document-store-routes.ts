import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { TokenQuery } from '../../documents/token-store.ts'
import { hostError } from '../../errors.ts'
import { requireAdmin } from '../admin.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import { bodyMissing, InvalidRequest } from '../invalid-request.ts'
import { paging, queryReader } from '../query-reader.ts'
import { readBody } from '../read-body.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'

const Document = Type.Record(Type.String(), Type.Unknown(), {
  description: 'A document with `_id`, `_key` and `_rev`'
})
const Page = (name: string) =>
  Type.Object({
    [name]: Type.Array(Document),
    next: Type.Union([Type.String(), Type.Null()], {
      description: 'The `cursor` of the page that follows; null on the last'
    })
  })
const MoviesQuery = Type.Object({
  status: Type.Optional(Type.String()),
  file: Type.Optional(Type.String({ description: "The movie's `File`" })),
  pipeline_id: Type.Optional(Type.String()),
  ...paging
})
const TokensQuery = Type.Object({
  collection: Type.Optional(
    Type.Union([Type.Literal('Tokens'), Type.Literal('ImageTokens')], {
      description: 'Default: `ImageTokens` when `image_id` is given, else `Tokens`'
    })
  ),
  movie_id: Type.Optional(Type.String({ examples: ['Movies/92363371'] })),
  image_id: Type.Optional(Type.String()),
  expert: Type.Optional(Type.String()),
  label: Type.Optional(Type.String()),
  scene_element: Type.Optional(Type.Integer()),
  ...paging
})
/** Documents of one page of an export. */
const EXPORT_PAGE = 1000
const NDJSON = 'application/x-ndjson'

/** `/movies` and `/tokens`: the documents that experts and pipelines work with. */
export function documentStoreRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { documents, config } = context
  const readMovies = queryReader(MoviesQuery)
  const readTokens = queryReader(TokensQuery)

  app.get(
    '/movies',
    {
      schema: {
        operationId: 'list_movies',
        summary: 'List Movies',
        tags: ['documents'],
        querystring: MoviesQuery,
        response: answers(Page('movies'))
      }
    },
    handle(async ({ response, query }) => {
      const { documents: movies, next = null } = await documents.movies.list(readMovies(query))
      sendValue(response, 200, { movies, next })
    })
  )

  app.get(
    '/movies/:key',
    {
      schema: {
        operationId: 'get_movie',
        summary: 'Get Movie',
        tags: ['documents'],
        params: Type.Object({ key: Type.String() }),
        response: answers(Document)
      }
    },
    handle(async ({ response, params }) => {
      const key = params.key as string
      const movie = await documents.movies.get(key)
      if (movie === undefined) throw hostError('HOST_DOCUMENT_UNKNOWN', [key.slice(0, 100)])
      sendValue(response, 200, movie)
    })
  )

  app.post(
    '/movies',
    {
      schema: {
        operationId: 'create_movie',
        summary: 'Create Movie',
        description:
          'Keeps a document under its `_key`, or one that is chosen. Needs NEBULA_ADMIN_KEY as a bearer token; without one, answers on loopback alone.',
        tags: ['documents'],
        body: Document,
        response: { ...answers({}), 201: { ...Document, description: 'Created' } }
      }
    },
    handle(async ({ raw, response, body }) => {
      requireAdmin(raw, config.adminKey)
      const movie = readBody(raw, body)
      if (movie === undefined || movie === null) throw new InvalidRequest([bodyMissing])
      sendValue(response, 201, await documents.movies.create(movie as Record<string, unknown>))
    })
  )

  app.get(
    '/tokens',
    {
      schema: {
        operationId: 'list_tokens',
        summary: 'List Tokens',
        description: `What experts saw, a page at a time; with \`Accept: ${NDJSON}\` all of it, a document a line.`,
        tags: ['documents'],
        querystring: TokensQuery,
        response: answers(Page('tokens'))
      }
    },
    handle(async ({ raw, response, query }) => {
      const asked = readTokens(query)
      const collection =
        asked.collection ?? (asked.image_id === undefined ? 'Tokens' : 'ImageTokens')
      const wanted: TokenQuery = { ...asked, collection }
      if ((raw.headers.accept ?? '').toLowerCase().includes(NDJSON)) {
        await exportTokens(response, (cursor) =>
          documents.tokens.list({ ...wanted, limit: EXPORT_PAGE, cursor })
        )
        return
      }
      const { documents: tokens, next = null } = await documents.tokens.list(wanted)
      sendValue(response, 200, { tokens, next })
    })
  )
}

/** Sends page after page, as fast as the client reads. */
async function exportTokens(
  response: ServerResponse,
  pageFrom: (
    cursor: string | undefined
  ) => Promise<{ documents: object[]; next?: string | undefined }>
): Promise<void> {
  let page = await pageFrom(undefined)
  response.writeHead(200, { 'content-type': NDJSON })
  try {
    for (;;) {
      const lines = page.documents.map((document) => `${JSON.stringify(document)}\n`).join('')
      if (lines !== '' && !response.write(lines)) {
        await Promise.race([once(response, 'drain'), once(response, 'close')])
      }
      if (page.next === undefined || response.destroyed) break
      page = await pageFrom(page.next)
    }
    response.end()
  } catch {
    // Half an export must not look like a whole one.
    response.destroy()
  }
}
