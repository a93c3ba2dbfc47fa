import type { IncomingMessage } from 'node:http'
import { compileSchema } from '@nebula-experts/sdk/schemas'
import type { FastifyInstance } from 'fastify'
import { type Static, Type } from 'typebox'
import type { DocumentFields, StoredDocument } from '../../documents/stored-document.ts'
import type { PipelineEvent } from '../../pipelines/pipeline-feeds.ts'
import { checkPlan, type PlanExperts } from '../../pipelines/plan.ts'
import { requireAdmin } from '../admin.ts'
import { answers, asInput } from '../documented-schemas.ts'
import { EventStream, lastEventId } from '../event-stream.ts'
import { handle, type RouteCall } from '../handle.ts'
import { bodyMissing, bodyNoObject, InvalidRequest } from '../invalid-request.ts'
import { paging, queryReader } from '../query-reader.ts'
import { readBody } from '../read-body.ts'
import type { HostRouteContext } from '../route-context.ts'
import { sendValue } from '../send.ts'

const AnyObject = Type.Record(Type.String(), Type.Unknown())
const NullableObject = Type.Union([AnyObject, Type.Null()])

const Step = Type.Object({
  expert: Type.String({ minLength: 1, maxLength: 254, description: 'Who runs the task' }),
  task: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 254,
      description:
        "The key under `tasks` and under each movie's `status`; default: the expert's name"
    })
  ),
  depends_on: Type.Optional(
    Type.Array(Type.String(), {
      maxItems: 100,
      description: 'Tasks of the plan that a movie must have passed before'
    })
  ),
  extra_params: Type.Optional(NullableObject),
  attempts: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 20,
      description: 'How often an item is begun whose process is lost; default 3'
    })
  ),
  timeout_ms: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 2_147_483_647, description: 'How long one item may take' })
  )
})

const NewPipeline = Type.Object(
  {
    movies: Type.Unknown({
      default: {},
      description: "Ids of movies, or the document's own object: an entry for each id"
    }),
    plan: Type.Optional(Type.Array(Step, { minItems: 1, maxItems: 1000 })),
    inputs: Type.Optional(AnyObject),
    stop_on_failure: Type.Boolean({
      default: false,
      description: 'End the pipeline when an item fails, and leave the rest as it is'
    })
  },
  {
    examples: [
      {
        movies: ['Movies/1', 'Movies/2'],
        plan: [
          { task: 'greet', expert: 'hello-world' },
          { task: 'again', expert: 'hello-world', depends_on: ['greet'] }
        ]
      }
    ]
  }
)
const PipelinesQuery = Type.Object({ status: Type.Optional(Type.String()), ...paging })
const PipelineQuery = Type.Object({
  movies: Type.Boolean({ default: true, description: 'false leaves `movies` out' })
})
const ItemsQuery = Type.Object({
  task: Type.Optional(Type.String()),
  state: Type.Optional(
    Type.Union(
      (['blocked', 'ready', 'running', 'success', 'fail', 'skipped'] as const).map((state) =>
        Type.Literal(state)
      )
    )
  ),
  ...paging
})
const Pipeline = Type.Record(Type.String(), Type.Unknown(), {
  description: 'The document, with `counts` of its items by task and state'
})
const Key = Type.Object({ key: Type.String() })

/** Largest document: some hundred thousand movies. */
const MAX_BYTES = 64 * 1024 * 1024
/** Longest plan as JSON, characters: it is read whenever the pipeline is looked at. */
const LONGEST_PLAN = 1024 * 1024
const ADMIN = 'Needs NEBULA_ADMIN_KEY as a bearer token; without one, answers on loopback alone.'

/** `/pipelines`: experts that run over many movies, one after another or side by side. */
export function pipelineRoutes(app: FastifyInstance, context: HostRouteContext): void {
  const { pipelines, config } = context
  const readList = queryReader(PipelinesQuery)
  const readGet = queryReader(PipelineQuery)
  const readItems = queryReader(ItemsQuery)
  const admin = (raw: IncomingMessage) => requireAdmin(raw, config.adminKey)
  const tags = ['pipelines']

  app.post(
    '/pipelines',
    {
      bodyLimit: Math.max(MAX_BYTES, config.maxBodyBytes),
      schema: {
        operationId: 'create_pipeline',
        summary: 'Create Pipeline',
        description: `Keeps a pipeline under its \`_key\`, or one that is chosen; it is begun by \`/run\`. ${ADMIN}`,
        tags,
        body: asInput(NewPipeline),
        response: { ...answers({}), 201: { ...Pipeline, description: 'Created' } }
      }
    },
    handle(async ({ raw, response, body }) => {
      admin(raw)
      const document = readPipeline(readBody(raw, body), pipelines.planExperts)
      sendValue(response, 201, await pipelines.create(document))
    })
  )

  app.get(
    '/pipelines',
    {
      schema: {
        operationId: 'list_pipelines',
        summary: 'List Pipelines',
        description: 'Without their movies, a page at a time.',
        tags,
        querystring: PipelinesQuery,
        response: answers(Type.Object({ pipelines: Type.Array(Pipeline) }))
      }
    },
    handle(async ({ response, query }) => {
      const { documents, next = null } = await pipelines.list(readList(query))
      sendValue(response, 200, { pipelines: documents, next })
    })
  )

  app.get(
    '/pipelines/:key',
    {
      schema: {
        operationId: 'get_pipeline',
        summary: 'Get Pipeline',
        tags,
        params: Key,
        querystring: PipelineQuery,
        response: answers(Pipeline)
      }
    },
    handle(async ({ response, params, query }) => {
      sendValue(response, 200, await pipelines.get(params.key as string, readGet(query)))
    })
  )

  app.get(
    '/pipelines/:key/items',
    {
      schema: {
        operationId: 'list_pipeline_items',
        summary: 'List Items of a Pipeline',
        description: 'What became of each movie in each task, and what ran.',
        tags,
        params: Key,
        querystring: ItemsQuery,
        response: answers(Type.Object({ items: Type.Array(AnyObject) }))
      }
    },
    handle(async ({ response, params, query }) => {
      const asked = { ...readItems(query), pipeline: params.key as string }
      const { items, next = null } = await pipelines.items(asked)
      sendValue(response, 200, { items, next })
    })
  )

  const change = (
    verb: string,
    describe: string,
    work: (key: string) => Promise<StoredDocument>
  ) => {
    app.post(
      `/pipelines/:key/${verb}`,
      {
        schema: {
          operationId: `${verb}_pipeline`,
          summary: `${verb[0]?.toUpperCase()}${verb.slice(1)} Pipeline`,
          description: `${describe} ${ADMIN}`,
          tags,
          params: Key,
          response: answers(Pipeline)
        }
      },
      handle(async ({ raw, response, params }) => {
        admin(raw)
        sendValue(response, 200, await work(params.key as string))
      })
    )
  }
  change('run', 'Runs what has not run yet; changes nothing while it runs.', (key) =>
    pipelines.run(key)
  )
  change('cancel', 'Stops what runs; what waits can be run later.', (key) => pipelines.cancel(key))
  change('retry', 'Runs what failed and was skipped once more.', (key) => pipelines.retry(key))

  app.get(
    '/pipelines/:key/events',
    {
      schema: {
        operationId: 'pipeline_events',
        summary: 'Follow Pipeline',
        description:
          '`progress` as it stands and whenever it changes, `end` when the pipeline has ended, and then the stream ends.',
        produces: ['text/event-stream'],
        tags,
        params: Key,
        response: answers(Type.String(), 'Server-sent events')
      }
    },
    handle((call) => followPipeline(call, context))
  )
}

/** @throws InvalidRequest naming everything that is wrong with the document */
function readPipeline(body: unknown, experts: PlanExperts): DocumentFields {
  if (body === undefined || body === null) throw new InvalidRequest([bodyMissing])
  // The seed's coercion reads an empty list, or an empty text, as an empty object.
  if (typeof body !== 'object' || Array.isArray(body)) throw new InvalidRequest([bodyNoObject])
  const checked = checkPipeline(body, ['body'])
  if (checked.issues !== undefined) throw new InvalidRequest(checked.issues)
  const { plan } = checked.value
  const issue = (loc: (string | number)[], msg: string) => {
    return { loc: ['body', ...loc], msg, type: 'value_error' }
  }
  if (plan !== undefined) {
    if (JSON.stringify(plan).length > LONGEST_PLAN) {
      const msg = `a plan has at most ${LONGEST_PLAN} characters as JSON`
      throw new InvalidRequest([issue(['plan'], msg)])
    }
    const problems = checkPlan(plan, experts)
    if (problems.length > 0) {
      throw new InvalidRequest(problems.map(({ loc, why }) => issue(loc, why)))
    }
  }
  // What no field of ours is belongs to the system's other tools.
  return { ...(body as DocumentFields), ...checked.value }
}

const checkPipeline = compileSchema<Static<typeof NewPipeline>>(NewPipeline)

/**
 * Follows a pipeline as server-sent events. Each is the whole state, so a client that comes back misses
 * nothing; one that has seen the end gets 204 (do not come back).
 */
async function followPipeline(call: RouteCall, { pipelines }: HostRouteContext): Promise<void> {
  const { response, raw, params } = call
  let last: PipelineEvent | null | undefined
  let stream: EventStream | null = null
  const send = async (event: PipelineEvent | null) => {
    last = event
    if (stream === null) return
    if (event === null) stream.end()
    else if (!isEnd(event.status)) stream.send({ id: null, type: 'progress', data: event })
    else {
      const at = await pipelines.get(event.id, { movies: false }).then(
        (document) => endIdOf(document.finished_at),
        // The end is told even when nobody can say since when it is.
        () => null
      )
      stream.send({ id: at, type: 'end', data: event })
      stream.end()
    }
  }
  const key = (await pipelines.get(params.key as string, { movies: false }))._key
  // Listening before it looks again, so that nothing happens in between.
  const stopListening = pipelines.follow(key, (event) => void send(event).catch(() => {}))
  let document: StoredDocument
  try {
    document = await pipelines.get(key, { movies: false })
  } catch (error) {
    stopListening()
    throw error
  }
  if (isEnd(document.status) && lastEventId(raw.headers) === endIdOf(document.finished_at)) {
    stopListening()
    response.statusCode = 204
    response.end()
    return
  }
  stream = new EventStream(response, stopListening)
  const { status = null, tasks = {}, counts } = document
  const state = { id: key, status, tasks, counts: counts ?? {} } as PipelineEvent
  await send(last === undefined ? state : last)
}

function isEnd(status: unknown): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'canceled'
}

/** The same whenever it is asked for: who has seen it has seen the end. */
function endIdOf(finishedAt: unknown): number {
  const at = Date.parse(String(finishedAt))
  return Number.isNaN(at) ? 1 : at
}
