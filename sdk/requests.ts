import { type Static, type TSchema, Type } from 'typebox'

// Bodies of the seed's predict routes. Names, order and defaults are the wire's own; OpenAPI is
// made from them.

const Nullable = <T extends TSchema>(schema: T, options: { description: string }) =>
  Type.Union([schema, Type.Null()], { default: null, ...options })

const extra_params = Nullable(Type.Record(Type.String(), Type.Unknown()), {
  description: 'Parameters of the expert, as its documentation names them'
})
const output = Type.String({
  default: 'json',
  description:
    '`json`: the answer alone; `db`: its records are saved and their ids take their place; `db+json`: saved and answered; `file`: answered, and written to `output_file`; others are for the expert'
})
const output_file = Nullable(Type.String(), {
  description: 'For `output: "file"`: path of the file, under an allowed root'
})
const is_async = Type.Boolean({
  default: false,
  description: 'Answer at once with a `jobId`; the result is then at `/jobs/{jobId}`'
})

/** How the work is to be done; the same on every route that makes a job. */
const job = {
  is_async,
  priority: Type.Integer({
    default: 0,
    minimum: -1000,
    maximum: 1000,
    description: 'Of what waits, the highest runs first; first come, first served within one'
  }),
  timeout_ms: Nullable(Type.Integer({ minimum: 1, maximum: 2_147_483_647 }), {
    description: 'How long one run may take from its start, milliseconds'
  }),
  attempts: Type.Integer({
    default: 3,
    minimum: 1,
    maximum: 10,
    description: 'How often an accepted job is begun when its process is lost under it'
  }),
  webhook: Nullable(Type.String({ minLength: 1, maxLength: 2000 }), {
    description:
      'An `http:` or `https:` URL that is sent a POST for each event of the job; a request that names one is accepted as a job also when its caller waits'
  }),
  webhook_events_filter: Nullable(
    Type.Array(
      Type.Union([Type.Literal('start'), Type.Literal('progress'), Type.Literal('completed')]),
      { minItems: 1, maxItems: 10 }
    ),
    { description: 'The events that `webhook` is told of; all of them when it is left out' }
  )
}

/** What a body says of the work beside its own fields, on routes with `job: true`. */
export const JobOptions = Type.Object(job)
export type JobOptions = Static<typeof JobOptions>

const image = {
  image_id: Type.String({ description: 'Id of the image, chosen by the caller' }),
  url: Type.String({
    description: 'Where the image is: `http:`, `https:`, `data:`, or `file:` under an allowed root'
  })
}

/** Body of `POST /predict` and `POST /predict/movie`. */
export const PredictParam = Type.Object(
  {
    movie_id: Type.String({ description: 'Id of the movie, such as `Movies/92363371`' }),
    scene_element: Nullable(Type.Integer(), { description: 'Number of the scene element' }),
    local: Type.Boolean({ description: 'Take the movie from the local disk' }),
    extra_params,
    output,
    output_file,
    ...job
  },
  {
    description: 'A movie, or one scene element of it',
    examples: [
      {
        movie_id: 'Movies/92363371',
        scene_element: 0,
        local: false,
        extra_params: { detect_every: 50 },
        output: 'json'
      }
    ]
  }
)
export type PredictParam = Static<typeof PredictParam>

/** Body of `POST /predict/image`. */
export const PredictImageParam = Type.Object(
  { ...image, extra_params, output, output_file, ...job },
  {
    description: 'One image',
    examples: [
      {
        image_id: '2402585',
        url: 'https://example.com/2402585.jpg',
        extra_params: null,
        output: 'json',
        is_async: false
      }
    ]
  }
)
export type PredictImageParam = Static<typeof PredictImageParam>

/** One image of `POST /predict/images`. */
export const ImageParam = Type.Object(image, {
  description: 'One image of a list',
  examples: [{ image_id: '2402585', url: 'https://example.com/2402585.jpg' }]
})
export type ImageParam = Static<typeof ImageParam>

/** Body of `POST /predict/images`. */
export const PredictImagesParam = Type.Object(
  {
    images: Type.Array(ImageParam, {
      description: 'The images, in the order of the results; one may come twice'
    }),
    extra_params,
    output,
    output_file,
    ...job
  },
  {
    description: 'Many images, predicted as one job',
    examples: [
      {
        images: [
          { image_id: '1', url: 'https://example.com/1.jpg' },
          { image_id: '2', url: 'https://example.com/2.jpg' }
        ],
        extra_params: null,
        output: 'json',
        is_async: false
      }
    ]
  }
)
export type PredictImagesParam = Static<typeof PredictImagesParam>
