import { intersectionOverUnion } from '@nebula-experts/sdk/images'
import { assign } from './assignment.ts'
import { boxDistance, FollowedObject, type Look } from './followed-object.ts'
import type { DetectedObject } from './nanodet-model.ts'

// Distances of boxes, see `boxDistance`: from 1 on they hardly overlap, at 1.2 they stand side by side.
const FAR = 1
const FAR_WHEN_UNCERTAIN = 1.2
// What is not where it was may be another: then it must at least have this share of the width and height.
const SIMILAR_SIZE = 0.5
// Of detections at the same place, the one of the same class fits better.
const OTHER_CLASS = 0.1

/** Follows objects through the looked-at frames of one shot: one number for each, as long as it is in sight. */
export class ObjectTracker {
  readonly #mergeIou: number
  readonly #firstNumber: number
  readonly #gone: FollowedObject[] = []
  #followed: FollowedObject[] = []
  #looks = 0

  /**
   * @param mergeIou - a detection that overlaps a followed object by more is that object, whatever its class
   * @param firstNumber - of the first object; default 0
   */
  constructor(mergeIou: number, firstNumber = 0) {
    this.#mergeIou = mergeIou
    this.#firstNumber = firstNumber
  }

  /** All objects so far, by number. */
  get objects(): FollowedObject[] {
    return [...this.#gone, ...this.#followed].sort((a, b) => a.number - b.number)
  }

  /**
   * Takes what was detected on the next frame.
   * @param frame - its number must be above that of the frame before
   */
  look(frame: { number: number; second: number }, detections: readonly DetectedObject[]): void {
    const look: Look = { place: this.#looks, frame: frame.number, second: frame.second }
    this.#looks += 1
    const followed: FollowedObject[] = []
    for (const object of this.#followed) {
      const list = object.isGoneAt(look) ? this.#gone : followed
      list.push(object)
    }
    const costs = followed.map((object) =>
      detections.map((detection) => this.#cost(object, look, detection))
    )
    const left = new Set(detections)
    const seen: FollowedObject[] = []
    for (const [row, column] of assign(costs, FAR_WHEN_UNCERTAIN)) {
      const detection = detections[column]!
      followed[row]!.see(look, detection)
      seen.push(followed[row]!)
      left.delete(detection)
    }
    for (const detection of [...left].sort((a, b) => b.score - a.score)) {
      const overlap = (object: FollowedObject) =>
        intersectionOverUnion(object.last.box, detection.box)
      if (seen.some((object) => overlap(object) > this.#mergeIou)) continue
      const number = this.#firstNumber + this.#gone.length + followed.length
      const object = new FollowedObject(number, look, detection)
      followed.push(object)
      seen.push(object)
    }
    this.#followed = followed
  }

  #cost(object: FollowedObject, look: Look, { box, label }: DetectedObject): number {
    const expected = object.expectedAt(look)
    const distance = boxDistance(expected, box)
    if (object.label !== label) {
      const isSame = intersectionOverUnion(expected, box) > this.#mergeIou
      return isSame ? distance + OTHER_CLASS : Infinity
    }
    if (distance < FAR) return distance
    const isSimilar = [0, 1].every((side) => {
      const sizes = [expected[side + 2]! - expected[side]!, box[side + 2]! - box[side]!]
      return Math.min(...sizes) >= SIMILAR_SIZE * Math.max(...sizes)
    })
    return object.isUncertainAt(look) && isSimilar ? distance : Infinity
  }
}
