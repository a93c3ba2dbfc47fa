import type { ChosenFrame, MovieFile, RunContext } from '@nebula-experts/sdk'
import type { DetectedObject, DetectOptions, NanodetModel } from './nanodet-model.ts'

/** What was found on one frame; boxes are in pixels of the movie. */
export interface FrameObjects {
  frame: Pick<ChosenFrame, 'number' | 'second' | 'sceneElement'>
  objects: DetectedObject[]
}

/**
 * Finds the objects on frames of a movie, one frame at a time, and tells how far it is.
 *
 * @throws ExpertError as the frames; the signal's reason when it is aborted
 */
export async function* movieObjects(
  model: NanodetModel,
  file: MovieFile,
  frames: AsyncIterable<ChosenFrame>,
  options: DetectOptions,
  context: RunContext
): AsyncGenerator<FrameObjects> {
  let size: { width: number; height: number } | null = null
  for await (const frame of frames) {
    context.signal.throwIfAborted()
    size ??= await sizeOf(file, frame)
    const found = await model.detect(frame, options)
    const x = size.width / frame.width
    const y = size.height / frame.height
    const objects = found.map(
      ({ box: [left, top, right, bottom], ...object }): DetectedObject => ({
        ...object,
        box: [left * x, top * y, right * x, bottom * y]
      })
    )
    const { number, second, sceneElement } = frame
    yield { frame: { number, second, sceneElement }, objects }
    context.progress(frame.fraction, `frame ${number}`)
  }
  context.progress(1)
}

async function sizeOf(file: MovieFile, frame: ChosenFrame) {
  if (file.isPicture) return frame
  return (await file.probe()).video ?? frame
}
