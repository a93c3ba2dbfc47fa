import type { StoredDocument } from '../documents.ts'
import { ExpertError } from '../errors.ts'

/** A part of a movie in which the camera looks at one thing. */
export interface SceneElement {
  /** Its place in `scene_elements`, from 0. */
  number: number
  /** Its first and last frame, both inside; from 0. */
  first: number
  last: number
  /** Its middle frames (`mdfs`), by which the whole of it is judged. */
  middleFrames: number[]
}

/**
 * The scene elements of a movie's document: `scene_elements` as `[first, last]` frames, and `mdfs` as lists of
 * frames beside them. Documents may come from other tools, so they are looked at closely.
 *
 * @returns none when the document names none
 * @throws ExpertError EXP_BAD_INPUT naming the field
 */
export function sceneElementsOf(movie: StoredDocument): SceneElement[] {
  const elements = listIn(movie, 'scene_elements')
  const middles = listIn(movie, 'mdfs')
  return elements.map((element, number) => {
    const [first, last] = frameNumbers(movie, `scene_elements[${number}]`, element)
    if (first === undefined || last === undefined || last < first) {
      throw misfit(movie, `scene_elements[${number}]`, element, 'its first and last frame')
    }
    const middleFrames = frameNumbers(movie, `mdfs[${number}]`, middles[number] ?? [])
    return { number, first, last, middleFrames }
  })
}

function listIn(movie: StoredDocument, field: string): unknown[] {
  const value = movie[field] ?? []
  if (!Array.isArray(value)) throw misfit(movie, field, value, 'a list')
  return value
}

function frameNumbers(movie: StoredDocument, field: string, value: unknown): number[] {
  const isList = Array.isArray(value)
  if (!isList || !value.every((frame) => Number.isInteger(frame) && frame >= 0)) {
    throw misfit(movie, field, value, 'a list of frame numbers from 0')
  }
  return value
}

function misfit(movie: StoredDocument, field: string, found: unknown, wanted: string): ExpertError {
  const shown = JSON.stringify(found)?.slice(0, 100)
  return new ExpertError(
    'EXP_BAD_INPUT',
    `Field '${field}' of ${movie._id} is ${shown}, wanted ${wanted}`
  )
}
