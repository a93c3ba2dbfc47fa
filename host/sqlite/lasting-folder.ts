import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

/** What the log says of a store whose folder was missing: where it was not to be, the wrong folder is looked at. */
export const NEW_STORE = 'a new store begins: its folder was missing'

/** Of a folder that may be used but not read, and of systems that cannot sync folders. */
const CANNOT_SYNC = new Set(['EACCES', 'EPERM', 'EINVAL', 'EISDIR', 'ENOTSUP'])

/**
 * Makes a folder, and those above it that are missing. When this resolves, a loss of power takes none of their names:
 * to sync what lies in a folder does not sync the folder's own name.
 *
 * @returns whether it was missing
 */
export async function makeLastingFolder(path: string): Promise<boolean> {
  const made = await mkdir(path, { recursive: true })
  const top = dirname(made ?? path)
  let at = path
  await sync(at)
  while (at !== top) {
    at = dirname(at)
    await sync(at)
  }
  return made !== undefined
}

async function sync(path: string): Promise<void> {
  try {
    const folder = await open(path, 'r')
    await folder.sync().finally(() => folder.close())
  } catch (error) {
    if (!CANNOT_SYNC.has((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
