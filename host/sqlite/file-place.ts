import { statSync } from 'node:fs'

/**
 * Whether a database that is open is still where it was opened. SQLite itself goes on writing into files that somebody has
 * removed, and nothing of that is there after the end of the process.
 */
export class FilePlace {
  readonly #path: string
  readonly #file: string | null
  /** Made with the first write, and the same until the file is closed. */
  #log: string | null = null

  /** @param path - of a file that is open */
  constructor(path: string) {
    this.#path = path
    this.#file = identityOf(path)
  }

  /** Asks the file system, by name alone: to open the file would cost the process its locks. */
  isKept(): boolean {
    const log = identityOf(`${this.#path}-wal`)
    this.#log ??= log
    return identityOf(this.#path) === this.#file && log === this.#log
  }
}

function identityOf(path: string): string | null {
  const found = statSync(path, { throwIfNoEntry: false })
  return found === undefined ? null : `${found.dev}-${found.ino}`
}
