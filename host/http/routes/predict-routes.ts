import {
  type Checked,
  compileSchema,
  PredictImageParam,
  PredictImagesParam,
  PredictParam
} from '@nebula-experts/sdk/schemas'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { JobRequest } from '../../jobs/job-service.ts'
import { answers, ref } from '../documented-schemas.ts'
import { handle, type RouteCall } from '../handle.ts'
import { bodyMissing, InvalidRequest } from '../invalid-request.ts'
import { prefersAsync, sendAccepted } from '../prefer.ts'
import { readBody } from '../read-body.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendRunError, sendText } from '../send.ts'

const checkPredict = compileSchema<PredictParam>(PredictParam)
const checkPredictImage = compileSchema<PredictImageParam>(PredictImageParam)
const checkPredictImages = compileSchema<PredictImagesParam>(PredictImagesParam)

/** The seed's four predict routes. */
export function predictRoutes(app: FastifyInstance, context: ExpertRouteContext): void {
  const { expert, contract, jobs } = context

  const movie = handle(async (call) => {
    const body = check(checkPredict, call)
    const params = {
      id: body.movie_id,
      scene_element: body.scene_element,
      local: body.local,
      extra_params: extraParams(body.extra_params),
      output: body.output,
      type: 'movie',
      img_url: null,
      output_file: null
    }
    const request = {
      expert,
      kind: 'movie' as const,
      bodies: [JSON.stringify(params)],
      recorded: false,
      onHangUp: call.onHangUp
    }
    const answer = await jobs.run(request)
    if (answer.ok) sendText(call.response, 200, answer.text)
    else sendRunError(call, answer, answer.isLate)
  })
  const movieSchema = (operationId: string, summary: string) => ({
    schema: {
      operationId,
      summary,
      tags: ['run'],
      body: ref('PredictParam'),
      response: answers({})
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
        body: ref('PredictImageParam'),
        response: { ...answers({}), 202: accepted }
      }
    },
    handle(async (call) => {
      const body = check(checkPredictImage, call)
      const params = imageParams(body, body, extraParams(body.extra_params))
      const request: JobRequest = { expert, kind: 'image', bodies: [params], recorded: true }
      if (await accept(call, body.is_async, request)) return
      const answer = await jobs.run({ ...request, onHangUp: call.onHangUp })
      if (answer.ok) sendText(call.response, 200, answer.text)
      else sendRunError(call, answer, answer.isLate)
    })
  )

  app.post(
    '/predict/images',
    {
      schema: {
        operationId: 'predict_images_predict_images_post',
        summary: 'Predict Images',
        tags: ['run'],
        body: ref('PredictImagesParam'),
        response: {
          ...answers(Type.Object({ results: Type.Array(Type.Unknown()), jobId: Type.String() })),
          202: accepted
        }
      }
    },
    handle(async (call) => {
      const body = check(checkPredictImages, call)
      const extra = extraParams(body.extra_params)
      const bodies = body.images.map((image) => imageParams(image, body, extra))
      const request: JobRequest = { expert, kind: 'image', isList: true, bodies, recorded: true }
      if (await accept(call, body.is_async, request)) return
      const answer = await jobs.run({ ...request, onHangUp: call.onHangUp })
      if (answer.ok) {
        sendText(call.response, 200, `{"results":${answer.text},"jobId":"${answer.jobId}"}`)
      } else {
        sendRunError(call, answer, true)
      }
    })
  )

  /** Answers at once with the job's id when the caller wants that. */
  async function accept(call: RouteCall, isAsync: boolean, request: JobRequest): Promise<boolean> {
    const prefers = prefersAsync(call.raw)
    if (!isAsync && !prefers) return false
    sendAccepted(call, await jobs.submit(request), prefers)
    return true
  }

  /** Checks `extra_params` against the expert's own schema, which may fill in defaults. */
  function extraParams(given: Record<string, unknown> | null): unknown {
    if (contract.checkExtraParams === null) return given
    const checked = contract.checkExtraParams(given ?? {}, ['body', 'extra_params'])
    if (checked.issues !== undefined) throw new InvalidRequest(checked.issues)
    return checked.value
  }
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
