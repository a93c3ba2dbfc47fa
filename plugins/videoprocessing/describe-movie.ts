import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import { ExpertError, type Media, type MovieFile } from '@nebula-experts/sdk'
import { moveInto } from './move-into.ts'
import { type FrameRange, intervalsOf, middleFramesOf, shotsOf } from './shots.ts'

const MIDDLE_FRAMES = 3

/** What the document of a movie says of its pictures. */
export interface MovieDescription {
  /** Shots, and what they are divided into, as first and last frames. */
  scenes: FrameRange[]
  scene_elements: FrameRange[]
  /** Middle frames of each scene element, ascending. */
  mdfs: number[][]
  /** Their files, ascending by frame. */
  mdfs_path: string[]
  meta: Record<string, unknown>
  last_frame?: number
}

export interface DescribeOptions {
  media: Media
  /** Where the files of its frames are written, until `keepFrames`. */
  tmp: string
  mode: 'scenes' | 'every_n_seconds'
  intervalS: number
  signal: AbortSignal
}

/**
 * Finds the shots and middle frames of a movie, and writes the middle frames as pictures in the folder of the run.
 *
 * @throws ExpertError as `media.sceneChanges`; EXP_MEDIA_UNREADABLE for a file without pictures
 */
export async function describeMovie(
  file: MovieFile,
  options: DescribeOptions
): Promise<MovieDescription> {
  if (file.isPicture) return describePicture(file, options.media)
  const { media, tmp, mode, intervalS, signal } = options
  const info = await file.probe()
  const { video, audio, durationS } = info
  if (video === null) {
    const message = `${file.movie._id} has no pictures, only sound: wanted a video`
    throw new ExpertError('EXP_MEDIA_UNREADABLE', message)
  }
  const { frames, changes } = await media.sceneChanges(file.path, { signal })
  const scenes = shotsOf(changes, frames)
  const isDivided = mode === 'every_n_seconds' && video.fps > 0
  const elements = isDivided ? intervalsOf(frames, video.fps, intervalS) : scenes
  const mdfs = elements.map((element) => middleFramesOf(element, isDivided ? 1 : MIDDLE_FRAMES))
  const folder = await mkdtemp(join(tmp, 'frames-'))
  const paths = await media.divideMovieIntoFrames(file.path, {
    ...{ frames: mdfs.flat(), folder, signal }
  })
  return {
    scenes,
    scene_elements: elements,
    mdfs,
    mdfs_path: [...paths.values()],
    meta: {
      fps: video.fps,
      width: video.width,
      height: video.height,
      duration: durationS,
      codec: video.codec,
      audio: audio?.codec ?? null
    },
    last_frame: frames - 1
  }
}

async function describePicture(file: MovieFile, media: Media): Promise<MovieDescription> {
  const { width, height } = await media.decodeImage(file.path)
  const meta = { mode: 'RGB', width, height }
  return { scenes: [], scene_elements: [], mdfs: [[0]], mdfs_path: [], meta }
}

/**
 * Puts the frames of a description where all experts find them.
 *
 * @returns the description with their paths there
 */
export async function keepFrames(
  described: MovieDescription,
  key: string,
  media: Media
): Promise<MovieDescription> {
  const [first] = described.mdfs_path
  if (first === undefined) return described
  // Of this run alone: another may be writing other frames of the same movie.
  const folder = join(await media.folder(`frames/${key}`), randomUUID().slice(0, 8))
  await moveInto(dirname(first), folder)
  return {
    ...described,
    mdfs_path: described.mdfs_path.map((path) => join(folder, basename(path)))
  }
}

/**
 * Removes the frames of an earlier run that a document no longer names.
 *
 * @param before - its `mdfs_path` as they were
 * @param now - as they are
 */
export async function removeOldFrames(
  before: unknown,
  now: readonly string[],
  framesFolder: string
): Promise<void> {
  const paths = Array.isArray(before) ? before.filter((path) => typeof path === 'string') : []
  const kept = new Set(now)
  for (const path of paths) {
    // The document may be another tool's: only what an earlier run of this expert wrote is its to remove.
    const isOurs = path.startsWith(framesFolder + sep) && /^frame\d+\.jpg$/.test(basename(path))
    if (!isOurs || path.split(sep).includes('..') || kept.has(path)) continue
    await rm(path, { force: true })
    await rmdir(dirname(path)).catch(() => {})
  }
}
