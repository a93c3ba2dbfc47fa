import { execFile } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const SOURCE = fileURLToPath(new URL('power-loss.c', import.meta.url))
const SECTOR = 512

/**
 * Builds the library that notes what a program makes durable.
 * @param {string} folder where it is put
 * @returns {Promise<string | null>} its path; null where there is no C compiler, or no Linux
 */
export async function buildLibrary(folder) {
  const library = join(folder, 'power-loss.so')
  const args = ['-O2', '-Wall', '-Werror', '-shared', '-fPIC', '-pthread', '-o', library, SOURCE]
  try {
    if (process.platform !== 'linux') return null
    await promisify(execFile)('cc', args)
    return library
  } catch (error) {
    if (error.code === 'ENOENT') return null
    throw error
  }
}

/**
 * A folder of which is known what its disk would have after a loss of power. What is there at the beginning is durable.
 *
 * @typedef {'synced' | 'names' | 'torn'} Loss `synced`: only what was made durable is left. `names`: also what happened
 * to names (files made, renamed, removed), though not to their bytes. `torn`: of what was not made durable a random half
 * is left, by sectors of a file and by folders.
 */
export class LosablePower {
  /**
   * @param {string} folder absolute, without links
   * @param {string} kept an empty folder elsewhere, for the notes
   * @param {string} library of `buildLibrary`
   */
  constructor(folder, kept, library) {
    this.folder = folder
    this.kept = kept
    this.env = {
      LD_PRELOAD: library,
      POWER_LOSS_FOLDER: folder,
      POWER_LOSS_KEPT: kept,
      // What goes to the kernel on another way is not seen.
      UV_USE_IO_URING: '0'
    }
    this.#noteAll()
  }

  /**
   * The power goes: the folder becomes what its disk has. No program may use it meanwhile.
   *
   * @param {Loss} loss
   * @param {() => number} random 0 to 1
   * @returns {{ files: number, bytes: number }} files and sectors of files, in bytes, that are not as they were
   */
  lose(loss, random) {
    const after = `${this.folder}.after`
    const seen = new Map()
    see(this.folder, seen)
    const lost = { files: 0, bytes: 0 }
    this.#build(idOf(this.folder), after, { seen, loss, random, lost })
    rmSync(this.folder, { recursive: true })
    renameSync(after, this.folder)
    this.#noteAll()
    return lost
  }

  #build(id, target, how) {
    const { seen, loss, random, lost } = how
    mkdirSync(target)
    const note = join(this.kept, 'folders', id)
    const synced = new Map()
    for (const line of existsSync(note) ? readFileSync(note, 'utf8').split('\n') : []) {
      const [, kind, child, name] = /^(\w+) (\S+) (.*)$/.exec(line) ?? []
      if (name !== undefined) synced.set(name, { kind, id: child })
    }
    const live = seen.get(id)
    const isAsSeen = live !== undefined && (loss === 'names' || (loss === 'torn' && random() < 0.5))
    const names = isAsSeen ? live.names : synced
    for (const name of live?.names.keys() ?? []) if (!names.has(name)) lost.files += 1
    for (const [name, { kind, id }] of names) {
      const path = join(target, name)
      if (kind === 'folder') this.#build(id, path, how)
      else if (kind === 'link') this.#buildLink(id, path, seen)
      else this.#buildFile(id, path, how)
    }
  }

  /** Only what lies in the folder of a run has links, and nobody needs it afterwards. */
  #buildLink(id, path, seen) {
    const live = seen.get(id)
    if (live !== undefined) symlinkSync(readlinkSync(live.path), path)
  }

  #buildFile(id, path, { seen, loss, random, lost }) {
    const note = join(this.kept, 'files', id)
    const synced = existsSync(note) ? readFileSync(note) : Buffer.alloc(0)
    const at = seen.get(id)?.path
    const live = at === undefined ? synced : readFileSync(at)
    const isLive = () => loss === 'torn' && random() < 0.5
    const size = isLive() ? live.length : synced.length
    const bytes = Buffer.alloc(size)
    for (let from = 0; from < Math.max(size, live.length); from += SECTOR) {
      const [now, before] = [live, synced].map((one) => one.subarray(from, from + SECTOR))
      if (from < size) (isLive() ? now : before).copy(bytes, from, 0, Math.min(SECTOR, size - from))
      if (!now.equals(bytes.subarray(from, from + SECTOR))) lost.bytes += SECTOR
    }
    writeFileSync(path, bytes)
  }

  #noteAll() {
    for (const name of ['files', 'folders']) {
      rmSync(join(this.kept, name), { recursive: true, force: true })
      mkdirSync(join(this.kept, name))
    }
    const seen = new Map()
    see(this.folder, seen)
    for (const [id, { path, names }] of seen) {
      if (names === undefined) {
        if (!lstatSync(path).isSymbolicLink()) copyFileSync(path, join(this.kept, 'files', id))
      } else {
        const lines = [...names].map(([name, { kind, id }]) => `${kind} ${id} ${name}\n`)
        writeFileSync(join(this.kept, 'folders', id), lines.join(''))
      }
    }
  }
}

/** Of files and folders under a path: where they are, and which names a folder holds; by their identity. */
function see(path, seen) {
  const names = new Map()
  seen.set(idOf(path), { path, names })
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const below = join(path, entry.name)
    const id = idOf(below)
    if (entry.isDirectory()) {
      names.set(entry.name, { kind: 'folder', id })
      see(below, seen)
    } else {
      names.set(entry.name, { kind: entry.isSymbolicLink() ? 'link' : 'file', id })
      seen.set(id, { path: below })
    }
  }
}

/** As `power-loss.c` names it. */
function idOf(path) {
  const { ino, birthtimeNs } = lstatSync(path, { bigint: true })
  return `${ino}-${birthtimeNs}`
}
