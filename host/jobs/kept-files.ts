import { copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncFolder } from '@nebula-experts/sdk'

/**
 * Files that belong to jobs, each job's under its id: they stay, whatever becomes of the host, until
 * they are removed.
 */
export class KeptFiles {
  readonly #root: string

  /** @param root - a folder of its own, made when it is needed */
  constructor(root: string) {
    this.#root = root
  }

  /** Where the file or folder of that job is. */
  pathOf(jobId: string): string {
    return join(this.#root, jobId)
  }

  /**
   * Takes over a file or a folder of files; all of it is on disk when this resolves.
   * @param options.copy - leave the original where it is
   * @returns where it is now
   */
  async keep(source: string, jobId: string, options: { copy?: boolean } = {}): Promise<string> {
    const target = this.pathOf(jobId)
    await mkdir(this.#root, { recursive: true })
    if (options.copy === true) await copyFile(source, target)
    else await rename(source, target)
    try {
      const isFolder = (await stat(target)).isDirectory()
      const files = isFolder ? await readdir(target) : ['']
      for (const file of files) await syncFile(join(target, file))
      const folders = [this.#root, dirname(this.#root)]
      for (const path of isFolder ? [target, ...folders] : folders) await syncFolder(path)
    } catch (error) {
      await this.remove(jobId).catch(() => {})
      throw error
    }
    return target
  }

  async remove(jobId: string): Promise<void> {
    await rm(this.pathOf(jobId), { recursive: true, force: true })
  }

  /** Whether that job has some here. */
  async has(jobId: string): Promise<boolean> {
    return (await stat(this.pathOf(jobId)).catch(() => null)) !== null
  }

  /** The jobs that have some now. */
  names(): Promise<string[]> {
    return readdir(this.#root).catch(() => [])
  }

  /** Removes those of them that nobody will ask for. */
  async sweep(names: string[], isWanted: (jobId: string) => Promise<boolean>): Promise<void> {
    for (const name of names) {
      if (!(await isWanted(name))) await this.remove(name)
    }
  }
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync().finally(() => handle.close())
}
