import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder } from '@nebula-experts/sdk'
import type { Logger } from './observe/log.ts'

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
