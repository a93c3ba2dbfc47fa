import { ExpertError } from '../errors.ts'
import type { SceneChange, SceneChanges, VideoFrame } from './media.ts'
import type { ReadOptions } from './probe.ts'
import { readFrames } from './read-frames.ts'

// Small enough that noise, text and the movement of small things vanish, and that each frame costs nothing.
const width = 48
const height = 27

/** Frames on either side of a cut that are looked at: what comes and goes in fewer is a flash. */
const reach = 4

const defaultThreshold = 0.06

/**
 * Finds hard cuts; see `sceneChanges` of {@link Media}.
 *
 * The score of a cut before frame k is how much each of the four frames before it differs from each of the
 * four from it on, at the least, less the change within either side. So a flash is none (what comes after it
 * looks like what came before), nor is a fade (its neighbours are alike) or a quick pan (the frames on one side differ
 * as much as those across).
 */
export async function findSceneChanges(
  file: string,
  options: { threshold?: number; signal?: AbortSignal },
  around: Omit<ReadOptions, 'signal'>
): Promise<SceneChanges> {
  const { threshold = defaultThreshold, signal } = options
  if (!Number.isFinite(threshold) || threshold <= 0 || threshold > 1) {
    const message = `'threshold' is ${threshold}, wanted a number over 0, at most 1`
    throw new ExpertError('EXP_BAD_INPUT', message)
  }
  const changes: SceneChange[] = []
  const judge = (window: VideoFrame[], at: number) => {
    const { number, second } = window[at]!
    const score = cutScore(window, at)
    if (score < threshold) return
    const last = changes.at(-1)
    // Neighbours of a cut see it too, more faintly.
    if (last === undefined || number - last.frame >= reach) {
      changes.push({ frame: number, second, score })
    } else if (score > last.score) changes.splice(-1, 1, { frame: number, second, score })
  }
  let window: VideoFrame[] = []
  let frames = 0
  for await (const frame of readFrames(file, { width, height, signal }, around)) {
    frames += 1
    window = [...window.slice(-2 * reach + 1), frame]
    if (window.length > reach) judge(window, window.length - reach)
  }
  // The last frames have fewer after them.
  for (let at = Math.max(1, window.length - reach + 1); at < window.length; at++) judge(window, at)
  return { frames, changes }
}

function cutScore(window: VideoFrame[], at: number): number {
  const before = window.slice(Math.max(0, at - reach), at)
  const after = window.slice(at, at + reach)
  let across = 1
  for (const one of before) {
    for (const other of after) across = Math.min(across, difference(one, other))
  }
  return Math.max(0, across - Math.max(steps(before), steps(after)))
}

/** The largest change from one of these frames to the next. */
function steps(frames: VideoFrame[]): number {
  let largest = 0
  for (let at = 1; at < frames.length; at++) {
    largest = Math.max(largest, difference(frames[at - 1]!, frames[at]!))
  }
  return largest
}

/** Mean difference of two frames, 0 to 1. */
function difference(one: VideoFrame, other: VideoFrame): number {
  let sum = 0
  for (let at = 0; at < one.data.length; at++) sum += Math.abs(one.data[at]! - other.data[at]!)
  return sum / one.data.length / 255
}
