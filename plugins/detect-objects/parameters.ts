import { FrameChoice, type Static, Type } from '@nebula-experts/sdk'

const Score = { minimum: 0, maximum: 1 }

export const Config = Type.Object({
  DETECT_MIN_SCORE: Type.Number({
    ...Score,
    default: 0.4,
    description: 'Objects that the model is less certain of are left out'
  })
})

const merge_iou_threshold = Type.Number({
  ...Score,
  default: 0.95,
  description: 'A detection that overlaps a followed object by more is that object'
})
const refresh_on_detect = Type.Boolean({
  default: true,
  description: 'Without effect: boxes always come from detections'
})
const tracker_type = Type.String({
  default: 'KCF',
  description: 'Without effect: objects are followed from detection to detection'
})
const batch_size = Type.Integer({
  default: 8,
  description: 'Without effect: the model takes one picture at a time'
})

/** `extra_params` of the predict routes and of pipelines. */
export const Params = Type.Object({
  min_score: Type.Optional(
    Type.Number({ ...Score, description: 'In place of DETECT_MIN_SCORE, for this request' })
  ),
  iou: Type.Number({
    ...Score,
    default: 0.5,
    description: 'Of two boxes of a class that overlap by more, the better is kept'
  }),
  labels: Type.Optional(
    Type.Array(Type.String(), {
      minItems: 1,
      description: 'Only objects of these classes, such as person or traffic light'
    })
  ),
  limit: Type.Integer({
    minimum: 1,
    maximum: 500,
    default: 100,
    description: 'Most objects of one picture or frame; the most certain are kept'
  }),
  action: Type.Union([Type.Literal('detect'), Type.Literal('track')], {
    default: 'detect',
    description: 'Of movies: find the objects, or follow them'
  }),
  ...FrameChoice.properties,
  detect_every: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Of movies: look at each so many-th frame of each scene element'
    })
  ),
  merge_iou_threshold,
  refresh_on_detect,
  tracker_type,
  batch_size
})
export type Params = Static<typeof Params>
/** What the predict routes and the tracker's own routes have in common. */
export type DetectParams = Partial<Omit<Params, 'action'>>

/** Body of `POST /detect` and `POST /track`. Names, order and defaults are those of the seed system's tracker. */
export const StepParam = Type.Object(
  {
    movie_id: Type.String({ description: 'Id of the movie, such as `Movies/92363371`' }),
    scene_element: Type.Integer({ default: 0, minimum: 0 }),
    mdf: Type.Integer({
      default: 0,
      minimum: 0,
      description: 'For `/detect`: this one of the middle frames of the scene element, from 0'
    }),
    action: Type.String({ default: 'track', description: 'Without effect: the route says it' }),
    detect_every: Type.Integer({
      default: 10,
      minimum: 1,
      description:
        'Look at each so many-th frame; for `/detect` only where there are no middle frames'
    }),
    merge_iou_threshold,
    refresh_on_detect,
    tracker_type,
    batch_size,
    output: Type.String({
      default: 'json',
      description: '`json`; `db`: records are saved and their ids answered; `db+json`: both'
    })
  },
  { examples: [{ movie_id: 'Movies/92363371', detect_every: 50 }] }
)
export type StepParam = Static<typeof StepParam>
