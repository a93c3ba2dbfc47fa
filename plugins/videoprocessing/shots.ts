import type { SceneChange } from '@nebula-experts/sdk'

/** First and last frame of a part of a movie, both inside. */
export type FrameRange = [first: number, last: number]

/** The parts between the cuts of a movie. */
export function shotsOf(changes: readonly SceneChange[], frames: number): FrameRange[] {
  if (frames === 0) return []
  const starts = [0, ...changes.map(({ frame }) => frame).filter((at) => at > 0 && at < frames)]
  return starts.map((first, index) => [first, (starts[index + 1] ?? frames) - 1])
}

/** Parts of equal length; the last may be shorter. */
export function intervalsOf(frames: number, fps: number, seconds: number): FrameRange[] {
  const length = Math.max(1, seconds * fps)
  const parts: FrameRange[] = []
  for (let index = 0; Math.round(index * length) < frames; index += 1) {
    const first = Math.round(index * length)
    parts.push([first, Math.min(frames, Math.round((index + 1) * length)) - 1])
  }
  return parts
}

/** Frames at even distances inside a part, none at its edges where it is long enough: there are fades and cuts. */
export function middleFramesOf([first, last]: FrameRange, count: number): number[] {
  const length = last - first + 1
  const numbers = Array.from({ length: count }, (_, index) => {
    return first + Math.floor((length * (2 * index + 1)) / (2 * count))
  })
  return [...new Set(numbers)]
}
