import { randomUUID } from 'node:crypto'
import { realpath, rm } from 'node:fs/promises'
import { basename, dirname, extname, join, relative } from 'node:path'
import type { Media, MovieFile } from '@nebula-experts/sdk'
import { copyInto, moveInto } from './move-into.ts'

const ENDING = /^\.[a-z0-9]{1,5}$/
const OF_A_RUN = /^[0-9a-f]{8}(\.[^.]*)?$/

/** Where the file of a movie is kept. */
export interface KeptMovie {
  /** Absolute. */
  path: string
  /** False for a file that an earlier run had kept. */
  isNew: boolean
}

/** Puts the file of a movie where all experts find it, whole or not at all, under a name of this run alone. */
export async function keepMovie(
  file: MovieFile,
  url: string,
  key: string,
  media: Media,
  { tmp }: { tmp: string }
): Promise<KeptMovie> {
  const movies = await media.folder('movies')
  const opened = await nameIn(movies, file.path)
  if (isKept(opened, key, movies)) return { path: opened, isNew: false }
  // Never over the file of a document: that names its own until another is saved.
  const name = `${randomUUID().slice(0, 8)}${endingOf(url, file.path)}`
  const path = join(await media.folder(`movies/${key}`), name)
  // What was fetched for this job alone may be moved; a file of somebody else is copied.
  if (dirname(file.path) === tmp) await moveInto(file.path, path)
  else await copyInto(file.path, path, tmp)
  return { path, isNew: true }
}

/**
 * Removes the file of an earlier run that a document no longer names.
 *
 * @param before - its `url_path` as it was
 * @param now - as it is
 * @param file - what was opened for it: that may be the same by another name
 */
export async function removeOldMovie(
  before: unknown,
  now: string,
  key: string,
  file: MovieFile,
  media: Media
): Promise<void> {
  if (typeof before !== 'string' || before === now) return
  const movies = await media.folder('movies')
  // The document may be another tool's: only what an earlier run of this expert wrote is its to remove.
  if (!isKept(before, key, movies) || before === (await nameIn(movies, file.path))) return
  await rm(before, { force: true })
}

/** Whether a file is one that a run has kept for a movie: in the movie's folder, or, until 0.1.0, beside all others. */
function isKept(path: string, key: string, movies: string): boolean {
  const [folder, name] = [dirname(path), basename(path)]
  if (folder === join(movies, key)) return OF_A_RUN.test(name)
  return folder === movies && (name === key || name === key + extname(name))
}

/** A path as it is told of what lies in a folder, which itself may be reached over a link. */
async function nameIn(folder: string, path: string): Promise<string> {
  return join(folder, relative(await realpath(folder), path))
}

function endingOf(url: string, path: string): string {
  const named = extname(url.split(/[?#]/, 1)[0]!).toLowerCase()
  return ENDING.test(named) && !url.startsWith('data:') ? named : extname(path).toLowerCase()
}
