import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Logger } from './observe/log.ts'

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
  await syncFolder(at)
  while (at !== top) {
    at = dirname(at)
    await syncFolder(at)
  }
  return made !== undefined
}

/** The same for the folder of a store: where one begins that should be there, the host looks at the wrong place. */
export async function makeStoreFolder(path: string, log: Logger): Promise<void> {
  const isNew = await makeLastingFolder(path)
  if (isNew) log.info({ path }, 'a new store begins: its folder was missing')
}

/** What was made, renamed or removed in a folder outlives a loss of power when this resolves, where folders can be synced. */
export async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, 'r')
    await folder.sync().finally(() => folder.close())
  } catch (error) {
    if (!CANNOT_SYNC.has((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
