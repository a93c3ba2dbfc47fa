import { randomUUID } from 'node:crypto'
import { lstat, mkdir, open, realpath, rename, unlink } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { syncFolder } from '@nebula-experts/sdk'
import { parseAnswer } from './parse-answer.ts'

/** A path that is not taken, or could not be written; the message is for the caller. */
export class OutputFileError extends Error {
  override readonly name = 'OutputFileError'
}

/** Writes answers to `output_file`, under `EXPERT_OUTPUT_ROOT` and nowhere else. */
export class OutputFiles {
  readonly #root: string | null

  /** @param root - absolute folder, or null when none is allowed */
  constructor(root: string | null) {
    this.#root = root
  }

  /**
   * Where a file of that name would be.
   * @param name - relative to the root, or an absolute path under it
   * @throws OutputFileError
   */
  locate(name: string | null): string {
    if (this.#root === null) {
      throw new OutputFileError('output_file cannot be written: EXPERT_OUTPUT_ROOT is not set')
    }
    if (name === null || name.trim() === '') {
      throw new OutputFileError('output "file" wants an output_file: a path under the output root')
    }
    const path = resolve(this.#root, name)
    if (name.includes('\0') || name.endsWith('/') || !isUnder(this.#root, path)) {
      throw new OutputFileError(`output_file '${shown(name)}' is not a path under the output root`)
    }
    return path
  }

  /**
   * Puts a whole file in place, on disk, in one step: whoever reads the path sees the old file or the new.
   * @throws OutputFileError
   */
  async write(name: string | null, text: string): Promise<void> {
    const path = this.locate(name)
    const root = this.#root as string
    let temporary: string | null = null
    try {
      const folder = dirname(path)
      await mkdir(root, { recursive: true })
      // A link inside of the root may lead out of it: looked at before anything is made, and after.
      await mustBeInside(root, await nearestFolder(folder), name)
      await mkdir(folder, { recursive: true })
      await mustBeInside(root, folder, name)
      temporary = join(folder, `.${randomUUID()}.part`)
      const file = await open(temporary, 'wx')
      try {
        await file.writeFile(text)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, join(folder, basename(path)))
      temporary = null
      await syncFolder(folder)
    } catch (error) {
      if (error instanceof OutputFileError) throw error
      const { code, message } = error as NodeJS.ErrnoException
      throw new OutputFileError(
        `output_file '${shown(name ?? '')}' could not be written: ${code ?? message}`,
        { cause: error }
      )
    } finally {
      if (temporary !== null) await unlink(temporary).catch(() => {})
    }
  }
}

/** An answer that says what went wrong with its file, beside what it says itself. */
export function withError(text: string, error: string): string {
  const value = parseAnswer(text) ?? null
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  return JSON.stringify(isObject ? { ...value, error } : { result: value, error })
}

/** The folder itself, or the nearest one above it that is there. */
async function nearestFolder(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    if (await lstat(at).catch(() => null)) return at
  }
}

async function mustBeInside(root: string, folder: string, name: string | null): Promise<void> {
  const [top, place] = await Promise.all([realpath(root), realpath(folder)])
  if (place === top || isUnder(top, place)) return
  throw new OutputFileError(`output_file '${shown(name ?? '')}' leads out of the output root`)
}

function isUnder(root: string, path: string): boolean {
  const way = relative(root, path)
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}

function shown(name: string): string {
  return JSON.stringify(name.slice(0, 200)).slice(1, -1)
}
