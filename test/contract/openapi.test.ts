import { Validator } from '@seriousme/openapi-schema-validator'
import t, { type Test } from 'tap'
import { rawClient } from '../support/raw-request.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

interface Operation {
  operationId: string
  tags?: string[]
  summary?: string
  parameters?: Array<{ name: string; in: string; required?: boolean; schema: { type?: string } }>
  requestBody?: { content: Record<string, Media>; required?: boolean }
  responses: Record<string, { description: string; content?: Record<string, Media> }>
}

interface Media {
  schema: Schema
  example?: unknown
  examples?: Record<string, { value: unknown }>
}

interface Schema {
  $ref?: string
  type?: string
  properties?: Record<string, Schema>
  required?: string[]
  examples?: unknown[]
  format?: string
}

interface Document {
  openapi: string
  servers: Array<{ url: string }>
  tags?: Array<{ name: string; description?: string }>
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema> }
}

const PLUGINS = [
  'my-expert',
  'step-routes',
  'model-server',
  'files-and-replies',
  'declared-config',
  'held-runs'
]
const NAMES = [
  'MyExpert',
  'TrackerExpert',
  'model-server',
  'files-and-replies',
  'declared-config',
  'held-runs'
]

const read = async (url: string): Promise<Document> => (await call(url, 'GET')).json

function* operationsOf(document: Document): Generator<[string, string, Operation]> {
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(item)) yield [method, path, operation]
  }
}

async function checkDocument(t: Test, document: Document): Promise<void> {
  const validator = new Validator()
  const { valid, errors } = await validator.validate({ ...structuredClone(document) })
  t.same(errors ?? [], [], 'fits the schema of OpenAPI')
  t.ok(valid)
  t.equal(validator.version, '3.1')

  const ids: string[] = []
  for (const [method, path, operation] of operationsOf(document)) {
    const title = `${method} ${path}`
    ids.push(operation.operationId)
    t.ok(operation.summary, `${title} has a summary`)
    t.hasProps(operation.responses, ['200', '422'], title)
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
    const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
    t.same(inPath.map(({ name }) => name).sort(), named.sort(), `${title}: parameters of the path`)
    for (const parameter of inPath) t.equal(parameter.required, true)
  }
  t.equal(new Set(ids).size, ids.length, 'no operation id is there twice')
  const paths = Object.keys(document.paths)
  t.same(
    paths.filter((path) => /\/:|[^!-~]/.test(path)),
    [],
    'no path has a parameter that is left as it was declared, or an odd sign'
  )

  for (const ref of JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)) {
    const found = (ref[1] as string)
      .slice(2)
      .split('/')
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document)
    t.type(found, 'object', `${ref[1]} is there`)
  }
}

t.test('the documents of experts, and the host’s own', async (t) => {
  const { url } = await startHost(t, {
    plugins: PLUGINS,
    env: { LATCH_DIR: '/nowhere', EXPERT_DEFAULT: 'MyExpert' }
  })
  for (const name of NAMES) {
    await t.test(name, async (t) => {
      const document = await read(`${url}/experts/${name}/openapi.json`)
      await checkDocument(t, document)
      t.same(document.servers, [{ url: `/experts/${name}` }])
    })
  }
  await t.test('at the root', async (t) => {
    const root = await read(`${url}/openapi.json`)
    const based = await read(`${url}/experts/MyExpert/openapi.json`)
    t.same(root.servers, [{ url: '/' }])
    t.same({ ...root, servers: null }, { ...based, servers: null })
  })
  await t.test('the host', async (t) => {
    const document = await read(`${url}/docs/host.json`)
    await checkDocument(t, document)
    t.same(document.servers, [{ url: '/' }])
    const paths = [
      '/experts',
      '/health/live',
      '/health/ready',
      '/log-level',
      '/jobs',
      '/jobs/{job_id}'
    ]
    t.hasProps(document.paths, paths)
  })
})

t.test('operation ids, tags and schemas are the seed’s', async (t) => {
  const { url } = await startHost(t, { plugins: ['my-expert'] })
  const document = await read(`${url}/openapi.json`)
  const wanted: Record<string, [string, string[] | undefined]> = {
    'get /': ['read_root__get', undefined],
    'get /status': ['get_status_status_get', undefined],
    'post /set': ['post_config_set_post', ['set']],
    'get /cfg': ['get_config_cfg_get', ['cfg']],
    'get /tasks': ['get_tasks_tasks_get', ['tasks']],
    'get /jobs': ['get_tasks_jobs_get', ['tasks']],
    'get /jobs/{job_id}': ['get_tasks_jobs__job_id__get', ['tasks']],
    'post /predict': ['predict_predict_post', ['run']],
    'post /predict/movie': ['predict_predict_movie_post', ['run']],
    'post /predict/image': ['predict_image_predict_image_post', ['run']],
    'post /predict/images': ['predict_images_predict_images_post', ['run']]
  }
  for (const [title, [id, tags]] of Object.entries(wanted)) {
    const [method = '', path = ''] = title.split(' ')
    const operation = document.paths[path]?.[method]
    t.equal(operation?.operationId, id, title)
    t.same(operation?.tags, tags, `${title}: tags`)
  }
  const tags = document.tags?.map(({ name }) => name) ?? []
  for (const tag of ['status', 'set', 'cfg', 'jobs', 'predict']) t.ok(tags.includes(tag), tag)
  t.hasProps(document.components.schemas, [
    'PredictParam',
    'PredictImageParam',
    'ImageParam',
    'PredictImagesParam',
    'HTTPValidationError',
    'ValidationError'
  ])
  const { properties, required } = document.components.schemas.PredictParam as Schema
  t.same(Object.keys(properties ?? {}), [
    'movie_id',
    'scene_element',
    'local',
    'extra_params',
    'output',
    // Beyond the seed:
    'output_file',
    'is_async',
    'priority',
    'timeout_ms',
    'attempts',
    'webhook',
    'webhook_events_filter'
  ])
  t.same(required, ['movie_id', 'local'])
})

t.test('own routes', async (t) => {
  const { url } = await startHost(t, { plugins: PLUGINS, env: { LATCH_DIR: '/nowhere' } })
  const document = (name: string) => read(`${url}/experts/${name}/openapi.json`)

  t.test('parameters of path and query', async (t) => {
    const { paths } = await document('TrackerExpert')
    const video = paths['/predict-on-video/{movie_id}/{scene_element}']?.get
    t.match(video?.parameters, [
      { in: 'path', name: 'movie_id', required: true, schema: { type: 'string' } },
      { in: 'path', name: 'scene_element', required: true, schema: { type: 'integer' } }
    ])
    const [q, tag] = paths['/my-expert']?.get?.parameters ?? []
    t.match(q, { in: 'query', name: 'q', schema: { type: 'string' } })
    t.not(q?.required, true)
    t.not(tag?.required, true)
    t.match(tag, { in: 'query', name: 'tag', schema: { type: 'array' } })
  })

  t.test('bodies, answers and jobs', async (t) => {
    const { paths } = await document('TrackerExpert')
    const depth = paths['/depth']?.post
    t.equal(depth?.summary, 'Depth')
    t.same(depth?.tags, ['TrackerExpert'])
    const body = depth?.requestBody?.content['application/json']?.schema
    t.equal(Object.keys(body?.properties ?? {}).length, 10)
    t.same(body?.required, ['movie_id'])
    const answer = depth?.responses['200']?.content?.['application/json']?.schema
    t.hasProp(answer?.properties ?? {}, 'track_params')
    t.notOk('202' in (depth?.responses ?? {}))
    t.hasProp(paths['/process/movies']?.post?.responses ?? {}, '202')
  })

  t.test('verbs keep their colon', async (t) => {
    const { paths } = await document('model-server')
    for (const verb of ['predict', 'encode_text']) {
      const operation = paths[`/v1/models/{model}:${verb}`]?.post
      t.match(operation?.parameters, [{ in: 'path', name: 'model', required: true }], verb)
      t.equal(operation?.parameters?.length, 1)
    }
    t.hasProp(paths, '/v1/clip:reload', 'where there is no parameter, too')
    t.notOk(paths['/v1/clip:reload']?.post?.parameters)
    t.same(Object.keys(paths['/v1/models/{model}'] ?? {}).sort(), ['delete', 'get', 'put'])
  })

  t.test('files', async (t) => {
    const { paths } = await document('files-and-replies')
    const content = paths['/files']?.post?.requestBody?.content ?? {}
    t.same(Object.keys(content), ['multipart/form-data', 'application/json'])
    const { properties } = content['multipart/form-data']?.schema ?? {}
    t.match(properties, { label: { type: 'string' }, file: { type: 'string', format: 'binary' } })
  })
})

t.test('what a document gives as an example is answered with 200', async (t) => {
  const { url } = await startHost(t, {
    plugins: PLUGINS,
    env: { LATCH_DIR: '/nowhere' }
  })
  const send = rawClient(t, url)
  let sent = 0
  for (const name of [
    'MyExpert',
    'TrackerExpert',
    'model-server',
    'files-and-replies',
    'declared-config'
  ]) {
    const document = await read(`${url}/experts/${name}/openapi.json`)
    for (const [method, path, operation] of operationsOf(document)) {
      const json = operation.requestBody?.content['application/json']
      if (json === undefined) continue
      const examples = examplesOf(document, json)
      t.ok(examples.length > 0, `${name}: ${method} ${path} gives an example`)
      for (const example of examples) {
        const filled = path.replaceAll(/\{\w+\}/g, 'clip')
        const answer = await send(method.toUpperCase(), `/experts/${name}${filled}`, {
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(example)
        })
        t.equal(answer.status, 200, `${name}: ${method} ${path} ${JSON.stringify(example)}`)
        sent += 1
      }
    }
  }
  t.ok(sent >= 25, `${sent} examples were sent`)
})

function resolve(document: Document, schema: Schema): Schema {
  if (schema.$ref === undefined) return schema
  const name = schema.$ref.slice('#/components/schemas/'.length)
  return document.components.schemas[name] as Schema
}

/** A body's examples; where it has none, an object of those of its properties. */
function examplesOf(document: Document, media: Media): unknown[] {
  if (media.example !== undefined) return [media.example]
  if (media.examples !== undefined) return Object.values(media.examples).map(({ value }) => value)
  const schema = resolve(document, media.schema)
  if (schema.examples !== undefined) return schema.examples
  const entries = Object.entries(schema.properties ?? {}).map(([key, property]) => [
    key,
    resolve(document, property).examples?.[0]
  ])
  return entries.some(([, example]) => example === undefined) ? [] : [Object.fromEntries(entries)]
}

interface Predict {
  properties: { extra_params: { anyOf: unknown[] } }
  examples: Array<Record<string, unknown>>
}

t.test('extra_params are documented and checked as the expert declares them', async (t) => {
  const body = `
    static params = {
      type: 'object',
      required: ['mdf'],
      properties: { mdf: { type: 'integer', minimum: 0 }, beam: { type: 'integer', default: 5 } },
      examples: [{ mdf: 125 }]
    }
    predict (params) { return params.extra_params }
    predictImage (params) { return params.extra_params }`
  const { url } = await startHost(t, { files: { grounding: plugin('grounding', body) } })
  const document = await read(`${url}/openapi.json`)
  const schemas = document.components.schemas as unknown as Record<string, Predict>
  for (const name of ['PredictParam', 'PredictImageParam', 'PredictImagesParam']) {
    const { properties, examples } = schemas[name] as Predict
    t.match(properties.extra_params.anyOf[0], { required: ['mdf'], properties: { beam: {} } }, name)
    t.same(examples[0]?.extra_params, { mdf: 125 })
  }
  const example = schemas.PredictParam?.examples[0]
  t.same((await call(`${url}/predict`, 'POST', example)).json, { mdf: 125, beam: 5 })
  const wrong = await call(`${url}/predict`, 'POST', { ...example, extra_params: { mdf: -1 } })
  t.equal(wrong.status, 422)
  t.match(wrong.json.detail, [
    { loc: ['body', 'extra_params', 'mdf'], type: 'value_error.number.not_ge' }
  ])
  const absent = await call(`${url}/predict`, 'POST', { movie_id: '1', local: false })
  t.match(absent.json.detail, [
    { loc: ['body', 'extra_params', 'mdf'], type: 'value_error.missing' }
  ])
})
