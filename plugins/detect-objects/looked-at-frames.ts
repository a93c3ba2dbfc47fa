import { type ChosenFrame, ExpertError, type MovieFile } from '@nebula-experts/sdk'
import { CANVAS } from './nanodet-model.ts'
import type { Params } from './parameters.ts'

// Scaled while they are decoded: frames larger than the model's canvas would only be carried around.
const SIZE = { width: CANVAS, height: CANVAS, fit: 'inside' } as const
const FRAMES_MAX = 500_000

/** What of the parameters says which frames count. */
export type FrameParams = Pick<Params, 'mdf' | 'every' | 'every_s' | 'detect_every'>

/**
 * The frames on which objects are searched: the middle frame `mdf`, each `every`-th, one for each `every_s`
 * seconds, or each `detect_every`-th of each scene element; without any of them, what the SDK chooses. Clients of the seed
 * system always send `detect_every`: it counts where there is no middle frame to be meant.
 *
 * @throws ExpertError as `chosenFrames` of a movie
 */
export function framesToDetect(
  file: MovieFile,
  sceneElement: number | null,
  { detect_every: detectEvery, ...choice }: FrameParams
): AsyncIterable<ChosenFrame> {
  const hasMiddles = file.isPicture || elementsOf(file, sceneElement).some(hasMiddleFrames)
  const isMiddle = choice.mdf !== undefined && hasMiddles
  if (detectEvery === undefined || isMiddle) {
    return file.chosenFrames({ ...SIZE, sceneElement, choice })
  }
  checkAlone(choice)
  return everyNth(file, sceneElement, detectEvery)
}

/**
 * The frames between which objects are followed: each `detect_every`-th of each scene element and its last, or as
 * `every` and `every_s` say. A middle frame is no help, so `mdf` does not count.
 *
 * @throws ExpertError as `chosenFrames` of a movie
 */
export function framesToTrack(
  file: MovieFile,
  sceneElement: number | null,
  { detect_every: detectEvery, every, every_s }: FrameParams
): AsyncIterable<ChosenFrame> {
  if (every === undefined && every_s === undefined) {
    return everyNth(file, sceneElement, detectEvery ?? 10)
  }
  if (detectEvery !== undefined) checkAlone({ every, every_s })
  return file.chosenFrames({ ...SIZE, sceneElement, choice: { every, every_s } })
}

/** Each n-th frame of scene elements, counted from their first, and their last. */
async function* everyNth(
  file: MovieFile,
  sceneElement: number | null,
  every: number
): AsyncGenerator<ChosenFrame> {
  const elements = elementsOf(file, sceneElement)
  if (file.isPicture || elements.length === 0) {
    yield* file.chosenFrames({ ...SIZE, sceneElement, choice: { every } })
    return
  }
  const chosen = new Map<number, number>()
  for (const { number, first, last } of elements) {
    if (chosen.size + (last - first) / every > FRAMES_MAX) {
      const message = `Scene element ${number} of ${file.movie._id} has frames ${first} to ${last}`
      const wanted = `wanted at most ${FRAMES_MAX} to look at: raise 'detect_every', it is ${every}`
      throw new ExpertError('EXP_BAD_INPUT', `${message}, ${wanted}`)
    }
    for (let frame = first; frame < last; frame += every) chosen.set(frame, number)
    chosen.set(last, number)
  }
  let done = 0
  // Documents often name one frame more than the file has.
  const frames = file.frames({ ...SIZE, numbers: [...chosen.keys()], missing: 'skip' })
  for await (const frame of frames) {
    yield { ...frame, sceneElement: chosen.get(frame.number)!, fraction: done / chosen.size }
    done += 1
  }
}

/** The scene elements that are meant; none also where the number is wrong, which the SDK will say. */
function elementsOf({ sceneElements }: MovieFile, sceneElement: number | null) {
  if (sceneElement === null) return sceneElements
  return sceneElements.filter(({ number }) => number === sceneElement)
}

function hasMiddleFrames({ middleFrames }: { middleFrames: number[] }): boolean {
  return middleFrames.length > 0
}

function checkAlone(choice: Pick<FrameParams, 'every' | 'every_s'>): void {
  const other = (['every', 'every_s'] as const).find((key) => choice[key] !== undefined)
  if (other === undefined) return
  const message = `Of 'detect_every' and '${other}' only one can be given`
  throw new ExpertError('EXP_BAD_INPUT', message)
}
