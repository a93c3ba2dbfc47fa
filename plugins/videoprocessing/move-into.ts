import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { cp, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * Moves a file or a folder of files, whole or not at all: what a kill leaves behind lies where it was, which is the
 * folder of a run and goes with it. When this resolves, a loss of power takes nothing of it.
 *
 * @param path - where it is
 * @param target - where it shall be; a file there is replaced
 */
export async function moveInto(path: string, target: string): Promise<void> {
  await sync(path)
  try {
    await rename(path, target)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
    // On another disk, only beside its place can it be made whole first.
    const part = join(dirname(target), `.${randomUUID()}.part`)
    try {
      await cp(path, part, { recursive: true, mode: constants.COPYFILE_FICLONE })
      await sync(part)
      await rename(part, target)
    } finally {
      await rm(part, { recursive: true, force: true })
    }
    await rm(path, { recursive: true, force: true })
  }
  await sync(dirname(target), { within: false })
}

/** Has what was written to a file, or to a folder and what lies in it, be on the disk. */
async function sync(path: string, { within = true } = {}): Promise<void> {
  const handle = await open(path, 'r')
  try {
    const isFolder = (await handle.stat()).isDirectory()
    if (isFolder && within) for (const name of await readdir(path)) await sync(join(path, name))
    await handle.sync()
  } finally {
    await handle.close()
  }
}
