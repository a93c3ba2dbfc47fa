import { createHash } from 'node:crypto'
import {
  copyFile,
  lstat,
  mkdir,
  opendir,
  readlink,
  realpath,
  rm,
  stat,
  symlink
} from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { PluginError, type PluginSource } from './plugin-source.ts'

/** A version's private copy: what runs is not what lies in the plugin folder now. */
export interface ServingCopy {
  /** Working folder of the expert's processes: the copied package. */
  folder: string
  /** `file:` URL to import. */
  entryUrl: string
  /** Hash over the paths, sizes and times of the copied files. */
  fingerprint: string
  remove(): Promise<void>
}

const MAX_FILES = 20_000
const MAX_BYTES = 512 * 1024 * 1024
/** Where a model lies in the copy of the package that serves it. */
const MODEL_FOLDER = 'model'
/** Never copied: installed dependencies are linked, and history is not code. */
const LEFT_OUT = new Set(['node_modules', '.git'])

/** The SDK this host was built with. */
const SDK_FOLDER = dirname(dirname(fileURLToPath(import.meta.resolve('@nebula-experts/sdk'))))

/**
 * Copies a package under `root` and links what its imports need: its own `node_modules`, those of the
 * folders above it, nearest first, and last the host's SDK. Of a model, the package that serves it is copied,
 * and the model's files into its folder `model`.
 *
 * @throws PluginError when the package is too large, or a link in it leads out of it
 */
export async function makeServingCopy(source: PluginSource, root: string): Promise<ServingCopy> {
  const files = await listFiles(source)
  const fingerprint = hashOf(files)
  const home = join(
    root,
    `${source.version.replace(/[^\w.+-]/g, '_')}-${fingerprint}-${nextCopy()}`
  )
  // What is left (a plugin's child may write into it still) goes with the run's folder.
  const remove = () =>
    rm(home, { recursive: true, force: true, maxRetries: 3, retryDelay: 100 }).catch(() => {})
  try {
    const { folder, entry } = await fillCopy(source, files, home)
    if (hashOf(await listFiles(source)) !== fingerprint) {
      throw new PluginError('its files changed while they were copied')
    }
    return { folder, entryUrl: pathToFileURL(entry).href, fingerprint, remove }
  } catch (error) {
    await remove()
    throw error
  }
}

async function fillCopy(
  source: PluginSource,
  files: CopiedFile[],
  home: string
): Promise<{ folder: string; entry: string }> {
  await linkFolder(join(SDK_FOLDER), join(home, 'node_modules', '@nebula-experts', 'sdk'))
  const code = (source.template ?? source).folder
  let folder = home
  for (const modules of await modulesAbove(code)) {
    folder = join(folder, 'above')
    await linkFolder(modules, join(folder, 'node_modules'))
  }
  folder = join(folder, 'package')
  await mkdir(folder, { recursive: true })
  for (const file of files) {
    const target = join(folder, file.path)
    await mkdir(dirname(target), { recursive: true })
    await copyFile(file.from, target)
  }
  const own = join(code, 'node_modules')
  if (await isFolder(own)) await linkFolder(own, join(folder, 'node_modules'))

  const entry = resolve(folder, source.entry)
  if (!isInside(entry, folder)) {
    throw new PluginError(`package.json: its entry ${source.entry} lies outside the package`)
  }
  if ((await stat(entry).catch(() => null))?.isFile() !== true) {
    throw new PluginError(
      `its entry ${source.entry} is not there: is the package built, and do "exports" name the built file?`
    )
  }
  return { folder, entry }
}

/**
 * The fingerprint that a copy made now would have; of a package that cannot be copied, one that changes
 * when it does.
 */
export async function fingerprintOf(source: PluginSource): Promise<string> {
  try {
    return hashOf(await listFiles(source))
  } catch (error) {
    return `not usable: ${(error as Error).message}`
  }
}

function hashOf(files: CopiedFile[]): string {
  const hash = createHash('sha256')
  for (const { path, bytes, modified, inode } of files) {
    hash.update(`${path}\0${bytes}\0${modified}\0${inode}\0`)
  }
  return hash.digest('hex').slice(0, 16)
}

let copies = 0
const nextCopy = () => (copies += 1)

interface CopiedFile {
  /** Absolute. */
  from: string
  /** Relative to the copied package. */
  path: string
  bytes: number
  modified: number
  inode: number
}

async function listFiles(source: PluginSource): Promise<CopiedFile[]> {
  if (source.template === null) return listFolder(source.folder)
  const code = await listFolder(source.template.folder)
  const model = await listFolder(source.folder)
  return [
    ...code.filter((file) => !file.path.startsWith(MODEL_FOLDER + sep)),
    ...model.map((file) => ({ ...file, path: join(MODEL_FOLDER, file.path) }))
  ]
}

async function listFolder(root: string): Promise<CopiedFile[]> {
  const files: CopiedFile[] = []
  let bytes = 0
  const walk = async (folder: string): Promise<void> => {
    for await (const entry of await opendir(folder)) {
      if (LEFT_OUT.has(entry.name)) continue
      const path = join(folder, entry.name)
      if (entry.isSymbolicLink()) await checkLink(root, path)
      const info = entry.isSymbolicLink() ? await stat(path) : await lstat(path)
      if (info.isDirectory()) {
        // A link to a folder inside the package would be walked for ever where it is a loop.
        if (!entry.isSymbolicLink()) await walk(path)
        continue
      }
      if (!info.isFile()) continue
      bytes += info.size
      files.push({
        from: path,
        path: relative(root, path),
        bytes: info.size,
        modified: info.mtimeMs,
        inode: info.ino
      })
      if (files.length > MAX_FILES) {
        throw new PluginError(`it has more than ${MAX_FILES} files beside node_modules`)
      }
      if (bytes > MAX_BYTES) {
        throw new PluginError(`it has more than ${MAX_BYTES} bytes beside node_modules`)
      }
    }
  }
  await walk(root)
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

async function checkLink(root: string, path: string): Promise<void> {
  const target = await realpath(path).catch(() => null)
  if (target === null || !isInside(target, await realpath(root))) {
    const shown = await readlink(path)
    throw new PluginError(`${relative(root, path)} is a link out of the package (to ${shown})`)
  }
}

function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder + sep)
}

/** Farthest first, so that nesting them gives the nearest the last word. */
async function modulesAbove(folder: string): Promise<string[]> {
  const found: string[] = []
  for (let above = dirname(folder); ; above = dirname(above)) {
    const modules = join(above, 'node_modules')
    if (await isFolder(modules)) found.unshift(modules)
    if (above === dirname(above)) return found
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isDirectory() === true
}

async function linkFolder(target: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await symlink(target, path, 'dir')
}
