import { type Box, intersectionOverUnion } from '@nebula-experts/sdk/images'
import type { DetectedObject } from './nanodet-model.ts'

/** A frame that was looked at. */
export interface Look {
  /** How many looks came before it. */
  place: number
  /** Number of the frame. */
  frame: number
  /** When the frame is shown. */
  second: number
}

/** An object on one frame. */
export interface Sighting {
  look: Look
  box: Box
  score: number
}

// The least that a new measurement of the speed counts against the mean of the earlier ones: boxes tremble.
const SPEED_GAIN = 0.25
// Gone is what more looks than these missed, for more than so many seconds.
const GONE_LOOKS = 3
const GONE_S = 2

/** An object that is followed from frame to frame. It is taken to go on at its speed while it is not seen. */
export class FollowedObject {
  readonly number: number
  readonly sightings: Sighting[] = []
  /** Sum of the scores of each class that it was taken for. */
  readonly #classes = new Map<string, number>()
  /** Pixels a frame. */
  #speed: readonly [right: number, down: number] = [0, 0]

  constructor(number: number, look: Look, { box, score, label }: DetectedObject) {
    this.number = number
    this.sightings.push({ look, box, score })
    this.#classes.set(label, score)
  }

  /** The class that it was taken for most, each time counted by its score. */
  get label(): string {
    let [best = '', most = 0] = ['', 0]
    for (const [label, sum] of this.#classes) if (sum > most) [best, most] = [label, sum]
    return best
  }

  get last(): Sighting {
    return this.sightings.at(-1)!
  }

  /** Where it should be. */
  expectedAt({ frame }: Look): Box {
    const { box, look } = this.last
    const [x, y] = this.#speed.map((speed) => speed * (frame - look.frame)) as [number, number]
    return [box[0] + x, box[1] + y, box[2] + x, box[3] + y]
  }

  /** It was not where it was expected the last time, or has been seen only once, so it may be further off. */
  isUncertainAt(look: Look): boolean {
    return this.sightings.length === 1 || look.place - this.last.look.place > 1
  }

  isGoneAt(look: Look): boolean {
    const { place, second } = this.last.look
    return look.place - place - 1 > GONE_LOOKS && look.second - second > GONE_S
  }

  see(look: Look, { box, score, label }: DetectedObject): void {
    const { box: before, look: lookBefore } = this.last
    const frames = look.frame - lookBefore.frame
    const [fromX, fromY] = centreOf(before)
    const [toX, toY] = centreOf(box)
    const gain = Math.max(SPEED_GAIN, 1 / this.sightings.length)
    const [x, y] = this.#speed
    this.#speed = [x + gain * ((toX - fromX) / frames - x), y + gain * ((toY - fromY) / frames - y)]
    this.sightings.push({ look, box, score })
    this.#classes.set(label, (this.#classes.get(label) ?? 0) + score)
  }
}

/**
 * How far two boxes are from being one (distance-IoU): 0 when they are, 1 when they half fit, up to 2. Unlike the
 * overlap alone, it tells near from far where there is none.
 */
export function boxDistance(a: Box, b: Box): number {
  const [ax, ay] = centreOf(a)
  const [bx, by] = centreOf(b)
  const width = Math.max(a[2], b[2]) - Math.min(a[0], b[0])
  const height = Math.max(a[3], b[3]) - Math.min(a[1], b[1])
  const apart = ((ax - bx) ** 2 + (ay - by) ** 2) / (width ** 2 + height ** 2)
  return 1 - intersectionOverUnion(a, b) + apart
}

function centreOf([left, top, right, bottom]: Box): [x: number, y: number] {
  return [(left + right) / 2, (top + bottom) / 2]
}
