import { mkdir } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { ExpertError } from '../errors.ts'
import type { Media } from './media.ts'
import { syncFolder } from './sync-folder.ts'

/** Makes `folder` of {@link Media}. */
export function createFolders(root: string | null): Media['folder'] {
  return async (name) => {
    if (root === null) throw new Error('This host has no folder for media')
    const parts = typeof name === 'string' ? name.split(/[\\/]/) : []
    const isPlain = (part: string) => part !== '' && !/^\.{1,2}$/.test(part) && !part.includes('\0')
    if (parts.length === 0 || isAbsolute(name) || !parts.every(isPlain)) {
      const message = `the folder '${name}' is no name of a folder, wanted one like frames/2402585`
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    const home = resolve(root)
    const path = join(home, ...parts)
    const made = (await mkdir(path, { recursive: true })) ?? path
    // Also what is there: another process may have made it a moment ago, its name not yet on the disk.
    const top = dirname(made.length < home.length ? made : home)
    for (let at = path; ; at = dirname(at)) {
      await syncFolder(at)
      if (at === top) return path
    }
  }
}
