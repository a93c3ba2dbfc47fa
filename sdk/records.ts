import { type Static, type TSchema, Type } from 'typebox'

/** A schema that also takes `null`, and is `null` when the field is absent. */
const Nullable = <T extends TSchema>(schema: T) =>
  Type.Union([schema, Type.Null()], { default: null })

/** Any JSON object. */
const AnyObject = Type.Record(Type.String(), Type.Unknown())

/**
 * What an expert's `predict` and `predictImage` receive. Field names are the wire's own.
 *
 * For a movie `type` is `movie` and `id` is its `movie_id`; for a picture `type` is `image`, `id` is its
 * `image_id` and `img_url` says where it is. `movie_id` is an alias of `id` that does not travel.
 */
export const ExpertParam = Type.Object({
  id: Type.String({ description: 'Id of the movie or image' }),
  scene_element: Nullable(Type.Integer({ description: 'Number of the scene element' })),
  local: Type.Boolean({ default: false }),
  extra_params: Nullable(AnyObject),
  output: Type.String({ default: 'json' }),
  type: Type.String({ default: 'movie' }),
  img_url: Nullable(Type.String()),
  output_file: Nullable(Type.String())
})
export type ExpertParam<Extra = Record<string, unknown> | null> = Omit<
  Static<typeof ExpertParam>,
  'extra_params'
> & { extra_params: Extra; readonly movie_id: string }

/** One token of a movie: what an expert saw in one scene element. */
export const TokenRecord = Type.Object({
  movie_id: Type.String(),
  scene_element: Type.Integer({ default: 0 }),
  scene: Type.Integer({ default: 0 }),
  expert: Nullable(Type.String()),
  bbox: Nullable(Type.Unknown({ description: 'Boxes, in the form the expert documents' })),
  label: Nullable(Type.Unknown({ description: 'Usually a string' })),
  meta_label: Nullable(AnyObject),
  re_id: Type.Integer({ default: 0 })
})
export type TokenRecord = Static<typeof TokenRecord>

/** What an expert saw in one picture. `bbox` is `[left, top, right, bottom]` in pixels of the original. */
export const ImageRecord = Type.Object({
  image_id: Type.String(),
  expert: Nullable(Type.String()),
  bbox: Nullable(
    Type.Unknown({ description: '[left, top, right, bottom], pixels of the original' })
  ),
  label: Nullable(Type.Unknown({ description: 'Usually a string' })),
  meta_label: Nullable(AnyObject),
  re_id: Type.Integer({ default: 0 })
})
export type ImageRecord = Static<typeof ImageRecord>

/** One stored token of a picture or of a movie's frame, as the `ImageTokens` collection keeps it. */
export const ImageToken = Type.Object({
  id: Type.String({ description: 'Image id, or Movies/<key>/<scene element>/<frame>' }),
  type: Type.String({ description: 'image or frame' }),
  expert: Nullable(Type.String()),
  expert_meta: Nullable(AnyObject),
  bbox: Nullable(Type.Unknown()),
  label: Nullable(Type.Unknown()),
  label_meta: Nullable(AnyObject),
  score: Nullable(Type.Number()),
  re_id: Type.Integer({ default: 0 })
})
export type ImageToken = Static<typeof ImageToken>

/** Gives parameters their alias `movie_id`, which is read like `id` and does not travel. */
export function movieAlias<T extends object>(params: T): T & { readonly movie_id: string } {
  return Object.defineProperty(params, 'movie_id', {
    get(this: { id: string }) {
      return this.id
    },
    configurable: true
  }) as T & { readonly movie_id: string }
}
