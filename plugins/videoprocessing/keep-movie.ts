import { dirname, extname, join } from 'node:path'
import type { Media, MovieFile } from '@nebula-experts/sdk'
import { copyInto, moveInto } from './move-into.ts'

const ENDING = /^\.[a-z0-9]{1,5}$/

/**
 * Puts the file of a movie where all experts find it, whole or not at all.
 *
 * @returns its path
 */
export async function keepMovie(
  file: MovieFile,
  url: string,
  key: string,
  media: Media,
  { tmp }: { tmp: string }
): Promise<string> {
  const folder = await media.folder('movies')
  const path = join(folder, `${key}${endingOf(url, file.path)}`)
  if (file.path === path) return path
  // What was fetched for this job alone may be moved; a file of somebody else is copied.
  if (dirname(file.path) === tmp) await moveInto(file.path, path)
  else await copyInto(file.path, path, tmp)
  return path
}

function endingOf(url: string, path: string): string {
  const named = extname(url.split(/[?#]/, 1)[0]!).toLowerCase()
  return ENDING.test(named) && !url.startsWith('data:') ? named : extname(path).toLowerCase()
}
