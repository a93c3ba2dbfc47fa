import type { FollowedObject, Sighting } from './followed-object.ts'

/** Where an object was on one frame, as records say it. */
export interface PlacedBox {
  /** Certainty, 0 to 1. */
  score: number
  /** `[left, top, right, bottom]`, pixels. */
  bbox: number[]
}

/**
 * Where an object was, by number of the frame. Between two looks that both saw it the box goes straight; over looks
 * that did not see it there is none.
 */
export function boxPath({ sightings }: FollowedObject): Record<string, PlacedBox> {
  const path: Record<string, PlacedBox> = {}
  for (const [index, sighting] of sightings.entries()) {
    const { frame, place } = sighting.look
    path[frame] = placed(sighting, sighting, 0)
    const next = sightings[index + 1]
    if (next === undefined || next.look.place !== place + 1) continue
    const frames = next.look.frame - frame
    for (let i = 1; i < frames; i += 1) path[frame + i] = placed(sighting, next, i / frames)
  }
  return path
}

/** How many boxes {@link boxPath} gives. */
export function boxPathLength({ sightings }: FollowedObject): number {
  return sightings.reduce((sum, { look }, index) => {
    const next = sightings[index + 1]?.look
    return sum + (next?.place === look.place + 1 ? next.frame - look.frame : 1)
  }, 0)
}

function placed(from: Sighting, to: Sighting, share: number): PlacedBox {
  const between = (a: number, b: number) => a + (b - a) * share
  return {
    score: roundScore(between(from.score, to.score)),
    bbox: from.box.map((side, index) => roundPixels(between(side, to.box[index]!)))
  }
}

/** Rounded to four digits. */
export function roundScore(score: number): number {
  return Math.round(score * 1e4) / 1e4
}

/** Rounded to a tenth of a pixel. */
export function roundPixels(pixels: number): number {
  return Math.round(pixels * 10) / 10
}
