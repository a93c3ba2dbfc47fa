import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { makeLastingFolder } from '../lasting-folder.ts'

const TOUCH_MS = 60_000
/** A folder untouched for this long has no living host, whatever machine it ran on. */
const STALE_MS = 15 * 60_000

/** Folders of hosts in this very process. */
const own = new Set<string>()

/** This host run's own folder: serving copies and temporary files. Nothing in it outlives the run. */
export interface RunFolder {
  path: string
  remove(): Promise<void>
}

/** Makes the folder, and removes those of hosts that ended without being able to. */
export async function makeRunFolder(dataDir: string): Promise<RunFolder> {
  const root = join(dataDir, 'run')
  await makeLastingFolder(dataDir)
  await mkdir(root, { recursive: true })
  await removeStale(root)
  const name = `${hostname()}_${process.pid}_${randomBytes(4).toString('hex')}`
  const path = join(root, name)
  own.add(name)
  await mkdir(path)
  const alive = join(path, 'alive')
  await writeFile(alive, '')
  const timer = setInterval(() => {
    const now = new Date()
    utimes(alive, now, now).catch(() => {})
  }, TOUCH_MS)
  timer.unref()
  return {
    path,
    remove: async () => {
      clearInterval(timer)
      // What cannot be removed now is stale to the next host.
      await rm(path, { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
      own.delete(name)
    }
  }
}

async function removeStale(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    if (own.has(name)) continue
    const [host, pid] = name.split('_')
    const touched = await lastTouch(join(root, name))
    const old = touched === null || Date.now() - touched.mtimeMs > STALE_MS
    // The same pid on the same machine was that of an earlier host: in a container it is often 1.
    const dead = host === hostname() && (Number(pid) === process.pid || !isAlive(Number(pid)))
    if (old || dead) await rm(join(root, name), { recursive: true, force: true })
  }
}

/** When its host last said that it lives; a folder that is just being made says so itself. */
async function lastTouch(folder: string) {
  return stat(join(folder, 'alive')).catch(() => stat(folder).catch(() => null))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
