import {
  type Checked,
  compileSchema,
  type JobOptions,
  PredictImageParam,
  PredictImagesParam,
  PredictParam
} from '@nebula-experts/sdk/schemas'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { JobOutput } from '../../jobs/job.ts'
import type { OutputFileError } from '../../jobs/output-files.ts'
import { type AskedJob, answerJob } from '../answer-job.ts'
import { askedWebhook } from '../asked-webhook.ts'
import { answers, jobHeaders, ref } from '../documented-schemas.ts'
import { handle, type RouteCall } from '../handle.ts'
import { bodyMissing, InvalidRequest } from '../invalid-request.ts'
import { readBody } from '../read-body.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendText, sendValue } from '../send.ts'

const checkPredict = compileSchema<PredictParam>(PredictParam)
const checkPredictImage = compileSchema<PredictImageParam>(PredictImageParam)
const checkPredictImages = compileSchema<PredictImagesParam>(PredictImagesParam)

/** The seed's four predict routes. */
export function predictRoutes(app: FastifyInstance, context: ExpertRouteContext): void {
  const { expert, contract, jobs } = context

  const movie = handle((call) => {
    const body = check(checkPredict, call)
    const params = {
      id: body.movie_id,
      scene_element: body.scene_element,
      local: body.local,
      extra_params: extraParams(body.extra_params),
      output: body.output,
      type: 'movie',
      img_url: null,
      output_file: body.output_file
    }
    return answer(call, body, {
      request: { expert, kind: 'movie', bodies: [JSON.stringify(params)] },
      waited: { recorded: false },
      send: (answered) => sendText(call.response, 200, answered.text),
      showsJob: false
    })
  })
  const movieSchema = (operationId: string, summary: string) => ({
    schema: {
      operationId,
      summary,
      tags: ['run'],
      headers: jobHeaders,
      body: ref('PredictParam'),
      response: { ...answers({}), 202: accepted }
    }
  })
  app.post('/predict', movieSchema('predict_predict_post', 'Predict'), movie)
  app.post('/predict/movie', movieSchema('predict_predict_movie_post', 'Predict Movie'), movie)

  app.post(
    '/predict/image',
    {
      schema: {
        operationId: 'predict_image_predict_image_post',
        summary: 'Predict Image',
        tags: ['run'],
        headers: jobHeaders,
        body: ref('PredictImageParam'),
        response: { ...answers({}), 202: accepted }
      }
    },
    handle((call) => {
      const body = check(checkPredictImage, call)
      const params = imageParams(body, body, extraParams(body.extra_params))
      return answer(call, body, {
        request: { expert, kind: 'image', bodies: [params] },
        waited: { recorded: true },
        send: (answered) => sendText(call.response, 200, answered.text),
        showsJob: false
      })
    })
  )

  app.post(
    '/predict/images',
    {
      schema: {
        operationId: 'predict_images_predict_images_post',
        summary: 'Predict Images',
        tags: ['run'],
        headers: jobHeaders,
        body: ref('PredictImagesParam'),
        response: {
          ...answers(Type.Object({ results: Type.Array(Type.Unknown()), jobId: Type.String() })),
          202: accepted
        }
      }
    },
    handle((call) => {
      const body = check(checkPredictImages, call)
      const extra = extraParams(body.extra_params)
      const bodies = body.images.map((image) => imageParams(image, body, extra))
      return answer(call, body, {
        request: { expert, kind: 'image', isList: true, bodies },
        waited: { recorded: true },
        send: ({ text, jobId, fileError }) => {
          const error = fileError === undefined ? '' : `,"error":${JSON.stringify(fileError)}`
          sendText(call.response, 200, `{"results":${text},"jobId":"${jobId}"${error}}`)
        },
        showsJob: true
      })
    })
  )

  function answer(
    call: RouteCall,
    body: JobOptions & { output: string; output_file: string | null },
    asked: Omit<AskedJob, 'isAsync' | 'maxAttempts' | 'webhook'>
  ): void | Promise<void> {
    if (body.output === 'file') {
      try {
        jobs.outputs.locate(body.output_file)
      } catch (error) {
        // As the family of the seed answers what it cannot do: nothing is run for it.
        const { message } = error as OutputFileError
        sendValue(call.response, 200, { result: null, error: message })
        return
      }
    }
    const { kind, bodies, isList = false } = asked.request
    // Without spreads, here and on the way: they would cost a short call a tenth.
    return answerJob(call, jobs, {
      request: {
        expert,
        kind,
        bodies,
        isList,
        priority: body.priority,
        timeoutMs: body.timeout_ms,
        output: outputOf(body.output, body.output_file)
      },
      isAsync: body.is_async,
      maxAttempts: body.attempts,
      webhook: askedWebhook(body),
      waited: asked.waited,
      send: asked.send,
      showsJob: asked.showsJob
    })
  }

  /** Checks `extra_params` against the expert's own schema, which may fill in defaults. */
  function extraParams(given: Record<string, unknown> | null): unknown {
    if (contract.checkExtraParams === null) return given
    const checked = contract.checkExtraParams(given ?? {}, ['body', 'extra_params'])
    if (checked.issues !== undefined) throw new InvalidRequest(checked.issues)
    return checked.value
  }
}

/** Words that the host does not know are for the expert. */
function outputOf(output: string, file: string | null): JobOutput | null {
  if (output === 'file') return { to: 'file', file }
  if (output === 'db') return { to: 'db', keepsRecords: false }
  return output === 'db+json' ? { to: 'db', keepsRecords: true } : null
}

const accepted = { description: 'Accepted', ...ref('AcceptedJob') }

/** @throws InvalidRequest with everything that is wrong with the body */
function check<T>(
  schema: (value: unknown, loc: (string | number)[]) => Checked<T>,
  call: RouteCall
): T {
  const body = readBody(call.raw, call.body)
  if (body === undefined || body === null) throw new InvalidRequest([bodyMissing])
  const checked = schema(body, ['body'])
  if (checked.issues !== undefined) throw new InvalidRequest(checked.issues)
  return checked.value
}

function imageParams(
  image: { image_id: string; url: string },
  shared: { output: string; output_file: string | null },
  extra: unknown
): string {
  return JSON.stringify({
    id: image.image_id,
    scene_element: null,
    local: false,
    extra_params: extra,
    output: shared.output,
    type: 'image',
    img_url: image.url,
    output_file: shared.output_file
  })
}
