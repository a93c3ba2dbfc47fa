import type sharp from 'sharp'

export type Sharp = typeof sharp

let loading: Promise<Sharp> | undefined

/** Loads sharp at first use: an expert that has no pictures does not pay for its start. */
export function loadSharp(): Promise<Sharp> {
  loading ??= import('sharp').then(({ default: loaded }) => {
    // Its cache keeps decoded pictures of the past, which nobody asks for again.
    loaded.cache(false)
    return loaded
  })
  return loading
}
