import { mkdir } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { ExpertError } from '../errors.ts'
import type { Media } from './media.ts'

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
    const path = join(root, ...parts)
    await mkdir(path, { recursive: true })
    return path
  }
}
