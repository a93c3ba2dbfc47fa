import { open } from 'node:fs/promises'

/** Of a folder that may be used but not read, and of systems that cannot sync folders. */
const CANNOT_SYNC = new Set(['EACCES', 'EPERM', 'EINVAL', 'EISDIR', 'ENOTSUP'])

/**
 * Has the names in a folder be on the disk. To sync a file, or a folder, does not sync its own name: until that is done
 * too, a loss of power may take it with all that it names. Where folders cannot be synced, nothing is done.
 *
 * @throws Error of the system, ENOENT when there is no such folder
 */
export async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(path, 'r')
    await folder.sync().finally(() => folder.close())
  } catch (error) {
    if (!CANNOT_SYNC.has((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
