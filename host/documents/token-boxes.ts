import { canonicalJson } from './canonical-json.ts'
import { isObject } from './stored-document.ts'

/**
 * The boxes of tokens that are one document. Lists are joined without exact doubles, objects (frame → box)
 * by frame, of one frame the last. Experts disagree on the form: `[left, top, right, bottom]` is one box
 * and not four, and of different forms all are kept, in a list.
 */
export function joinBoxes(all: readonly unknown[]): unknown {
  const [first = null, ...others] = all.filter((bbox) => bbox !== null && bbox !== undefined)
  if (others.length === 0) return first
  if (isObject(first) && others.every(isObject)) {
    return Object.fromEntries(new Map([first, ...others].flatMap(Object.entries)))
  }
  // By their text: a movie has thousands of boxes of one label.
  const boxes = new Map<string, unknown>()
  for (const box of [first, ...others].flatMap(boxesIn)) boxes.set(canonicalJson(box), box)
  const joined = [...boxes.values()]
  return joined.length === 1 && !isListOfBoxes(first) ? joined[0] : joined
}

function boxesIn(bbox: unknown): readonly unknown[] {
  return isListOfBoxes(bbox) ? bbox : [bbox]
}

function isListOfBoxes(bbox: unknown): bbox is unknown[] {
  return Array.isArray(bbox) && !(bbox.length > 0 && bbox.every(Number.isFinite))
}
