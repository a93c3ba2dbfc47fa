import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { dirname, extname, join } from 'node:path'
import type { Media, MovieFile } from '@nebula-experts/sdk'
import { moveInto } from './move-into.ts'

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
  let own = file.path
  if (dirname(own) !== tmp) {
    own = join(tmp, `${randomUUID()}${extname(path)}`)
    await copyFile(file.path, own, constants.COPYFILE_FICLONE)
  }
  await moveInto(own, path)
  return path
}

function endingOf(url: string, path: string): string {
  const named = extname(url.split(/[?#]/, 1)[0]!).toLowerCase()
  return ENDING.test(named) && !url.startsWith('data:') ? named : extname(path).toLowerCase()
}
