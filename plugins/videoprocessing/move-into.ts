import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { cp, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * Moves a file or a folder, whole or not at all: what a kill leaves behind lies where it was, which is the folder
 * of a run and goes with it.
 *
 * @param path - where it is
 * @param target - where it shall be; a file there is replaced
 */
export async function moveInto(path: string, target: string): Promise<void> {
  try {
    await rename(path, target)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
    // On another disk, only beside its place can it be made whole first.
    const part = join(dirname(target), `.${randomUUID()}.part`)
    try {
      await cp(path, part, { recursive: true, mode: constants.COPYFILE_FICLONE })
      await rename(part, target)
    } finally {
      await rm(part, { recursive: true, force: true })
    }
    await rm(path, { recursive: true, force: true })
  }
}
