import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Box } from '@nebula-experts/sdk/images'

const run = promisify(execFile)
const fixtures = new URL('fixtures/', import.meta.url).pathname

/** Frames a second of the films. */
export const FPS = 25
/** Pixels of the films. */
export const SIZE = { width: 640, height: 480 }

/** What can be seen on a still: the part that is cut out, and the object's box in it, in pixels of the still. */
const STILLS = {
  camera: { label: 'person', cut: [0, 60, 330, 512], box: [4, 68, 323, 512] },
  astronaut: { label: 'person', cut: [0, 0, 400, 512], box: [15, 14, 364, 509] },
  chelsea: { label: 'cat', cut: [0, 0, 451, 300], box: [2, 0, 442, 296] }
} as const satisfies Record<string, { label: string; cut: Box; box: Box }>

/** A still that moves over the ground of a film. */
export interface Actor {
  still: keyof typeof STILLS
  /** Pixels; the width follows. */
  height: number
  /** Where its left and upper edges are on frame 0. */
  from: readonly [x: number, y: number]
  /** Pixels a frame, right and down. */
  speed: readonly [x: number, y: number]
  /** First and last frame on which it cannot be seen. */
  hidden?: readonly [first: number, last: number]
}

/** The class of what an actor shows. */
export function labelOf({ still }: Actor): string {
  return STILLS[still].label
}

/** Where the object of an actor is on a frame, cut at the edges of the film. */
export function truthOf({ still, height, from, speed }: Actor, frame: number): Box {
  const { cut, box } = STILLS[still]
  const scale = height / (cut[3] - cut[1])
  const x = (value: number) =>
    Math.min(SIZE.width, Math.max(0, from[0] + speed[0] * frame + (value - cut[0]) * scale))
  const y = (value: number) =>
    Math.min(SIZE.height, Math.max(0, from[1] + speed[1] * frame + (value - cut[1]) * scale))
  return [x(box[0]), y(box[1]), x(box[2]), y(box[3])]
}

/** Writes a film of moving stills; the last of them lies on top. */
export async function makeFilm(path: string, frames: number, actors: Actor[]): Promise<void> {
  const inputs = actors.flatMap(({ still }) => ['-i', join(fixtures, `${still}.jpg`)])
  const cuts = actors.map(({ still, height }, index) => {
    const [left, top, right, bottom] = STILLS[still].cut
    const crop = `crop=${right - left}:${bottom - top}:${left}:${top}`
    return `[${index + 1}]${crop},scale=-1:${height},loop=-1:1:0[cut${index}]`
  })
  const layers = actors.map(({ from, speed, hidden }, index) => {
    const place = `x='${from[0]}+${speed[0]}*n':y='${from[1]}+${speed[1]}*n'`
    const shown = hidden === undefined ? '' : `:enable='not(between(n,${hidden[0]},${hidden[1]}))'`
    return `[layer${index}][cut${index}]overlay=${place}${shown}[layer${index + 1}]`
  })
  const ground = `color=0x888888:s=${SIZE.width}x${SIZE.height}:r=${FPS}`
  const graph = ['[0]null[layer0]', ...cuts, ...layers].join(';')
  await run('ffmpeg', [
    ...['-v', 'error', '-y', '-f', 'lavfi', '-i', ground, ...inputs],
    ...['-filter_complex', graph, '-map', `[layer${actors.length}]`],
    ...['-frames:v', `${frames}`, '-c:v', 'mpeg4', '-q:v', '3', path]
  ])
}
