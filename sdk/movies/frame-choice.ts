import { type Static, Type } from 'typebox'

/** Fields of `extra_params` by which a caller says which frames of a movie to look at; at most one is given. */
export const FrameChoice = Type.Object({
  mdf: Type.Optional(
    Type.Integer({
      minimum: 0,
      description: 'Of the middle frames of each scene element only this one, from 0'
    })
  ),
  every: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Each so many-th frame, in place of the middle frames'
    })
  ),
  every_s: Type.Optional(
    Type.Number({
      exclusiveMinimum: 0,
      description: 'A frame for each so many seconds, in place of the middle frames'
    })
  )
})
export type FrameChoice = Static<typeof FrameChoice>
