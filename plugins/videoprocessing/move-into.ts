import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, cp, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncFolder } from '@nebula-experts/sdk'

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
    await syncFolder(dirname(target))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
    await copyBeside(path, target)
    await rm(path, { recursive: true, force: true })
  }
}

/**
 * Copies a file, whole or not at all, and as lasting as {@link moveInto} does.
 *
 * @param path - where it is; it stays as it is
 * @param target - where its copy shall be; a file there is replaced
 * @param tmp - a folder that goes with the run. When it is on the disk of the target, what a kill leaves lies there
 */
export async function copyInto(path: string, target: string, tmp: string): Promise<void> {
  const [from, to] = await Promise.all([stat(tmp), stat(dirname(target))])
  if (from.dev !== to.dev) return copyBeside(path, target)
  const own = join(tmp, randomUUID())
  await copyFile(path, own, constants.COPYFILE_FICLONE)
  await moveInto(own, target)
}

/** From another disk: there, only beside its place can it be made whole first. */
async function copyBeside(path: string, target: string): Promise<void> {
  const part = join(dirname(target), `.${randomUUID()}.part`)
  try {
    await cp(path, part, { recursive: true, mode: constants.COPYFILE_FICLONE })
    await sync(part)
    await rename(part, target)
  } finally {
    await rm(part, { recursive: true, force: true })
  }
  await syncFolder(dirname(target))
}

/** Has what was written to a file, or to a folder and what lies in it, be on the disk. */
async function sync(path: string): Promise<void> {
  if ((await stat(path)).isDirectory()) {
    for (const name of await readdir(path)) await sync(join(path, name))
    return syncFolder(path)
  }
  const file = await open(path, 'r')
  await file.sync().finally(() => file.close())
}
