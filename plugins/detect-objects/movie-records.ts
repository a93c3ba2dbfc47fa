import { ExpertError, type TokenRecord } from '@nebula-experts/sdk'
import { boxPath, boxPathLength, roundPixels, roundScore } from './box-path.ts'
import type { FollowedObject } from './followed-object.ts'
import type { FrameObjects } from './movie-objects.ts'
import { ObjectTracker } from './object-tracker.ts'

/** Whose records they are. */
export interface RecordOwner {
  movieId: string
  expert: string
}

// An answer may have 64 MiB; a record has some 250 bytes, a box of a path some 70.
const RECORDS_MAX = 200_000
const BOXES_MAX = 700_000

/**
 * A record for each object on each frame: its box with the frame's number, in a list, so that boxes of one label
 * add up where the records are kept.
 *
 * @throws ExpertError EXP_BAD_INPUT when there are more than 200,000
 */
export async function detectionRecords(
  { movieId, expert }: RecordOwner,
  found: AsyncIterable<FrameObjects>
): Promise<TokenRecord[]> {
  const records: TokenRecord[] = []
  for await (const { frame, objects } of found) {
    for (const { box, score, label } of objects) {
      const bbox = { bbox: box.map(roundPixels), score: roundScore(score), frame: frame.number }
      records.push({
        movie_id: movieId,
        scene_element: frame.sceneElement,
        scene: 0,
        expert,
        bbox: [bbox],
        label,
        meta_label: { class: 'Object', frame: frame.number },
        re_id: 0
      })
    }
    if (records.length > RECORDS_MAX) throw tooMany(`${records.length} objects`, RECORDS_MAX)
  }
  return records
}

/**
 * A record for each object that was followed: its box by frame number, its class with its number as the label. Objects
 * are followed within a scene element, and numbered through the whole movie.
 *
 * @param mergeIou - a detection that overlaps a followed object by more is that object
 * @throws ExpertError EXP_BAD_INPUT when the records have more than 700,000 boxes
 */
export async function trackRecords(
  { movieId, expert }: RecordOwner,
  found: AsyncIterable<FrameObjects>,
  mergeIou: number
): Promise<TokenRecord[]> {
  const records: TokenRecord[] = []
  let boxes = 0
  let detections = 0
  const add = (sceneElement: number, objects: readonly FollowedObject[]) => {
    boxes += objects.reduce((sum, object) => sum + boxPathLength(object), 0)
    checkBoxes(boxes)
    for (const object of objects) {
      records.push({
        movie_id: movieId,
        scene_element: sceneElement,
        scene: 0,
        expert,
        bbox: boxPath(object),
        label: `${object.label}${object.number}`,
        meta_label: { class: 'Object' },
        re_id: object.number
      })
    }
  }
  let tracker = new ObjectTracker(mergeIou)
  let current: number | null = null
  for await (const { frame, objects } of found) {
    if (current !== null && current !== frame.sceneElement) {
      add(current, tracker.objects)
      tracker = new ObjectTracker(mergeIou, records.length)
    }
    current = frame.sceneElement
    tracker.look(frame, objects)
    detections += objects.length
    checkBoxes(detections)
  }
  if (current !== null) add(current, tracker.objects)
  return records
}

function checkBoxes(count: number): void {
  if (count > BOXES_MAX) throw tooMany(`${count} boxes`, BOXES_MAX)
}

function tooMany(found: string, most: number): ExpertError {
  const message = `The answer has ${found}, wanted at most ${most}`
  const advice = "ask for one scene element, fewer frames or fewer 'labels'"
  return new ExpertError('EXP_BAD_INPUT', `${message}: ${advice}`)
}
