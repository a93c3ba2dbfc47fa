import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ExpertError } from '../errors.ts'
import { checkBytes, type MediaSource } from './media-source.ts'
import { shownUrl } from './shown-url.ts'

/** A file that lies under a root. */
export interface FileSource extends MediaSource {
  /** Its own, links resolved. */
  path: string
  bytes: number
}

/** @throws ExpertError EXP_MEDIA_ADDRESS, EXP_MEDIA_NOT_FOUND, EXP_MEDIA_TOO_LARGE */
export async function openFile(
  url: URL,
  options: { fileRoots: string[]; maxBytes: number },
  signal: AbortSignal
): Promise<FileSource> {
  const name = shownUrl(url)
  const path = pathOf(url, name)
  const roots = await realRoots(options.fileRoots)
  if (roots.length === 0) {
    throw refused(name, 'EXPERT_FILE_ROOTS names no folder from which files may be read')
  }
  const real = await realPathUnder(roots, path, name)
  const found = await stat(real).catch((cause) => {
    throw missing(name, cause)
  })
  checkRegular(found, name)
  // The path may be swapped after the check: not to hang on a pipe, not to follow a link.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0)
  const handle = await open(real, flags).catch((cause) => {
    throw missing(name, cause)
  })
  let bytes: number
  try {
    await checkOpened(handle, real, roots, name)
    const opened = await handle.stat()
    checkRegular(opened, name)
    checkBytes(name, opened.size, options.maxBytes)
    bytes = opened.size
  } catch (error) {
    await handle.close()
    throw error
  }
  const body = readBody(handle, signal)
  return { name, type: null, body, path: real, bytes, close: () => handle.close() }
}

/** The files in a folder; see `listFolder` of Media. */
export async function listFolder(folder: string, fileRoots: string[]): Promise<string[]> {
  const url = /^\s*file:/i.test(folder) && URL.canParse(folder) ? new URL(folder) : null
  if (url === null && !isAbsolute(folder)) {
    throw refused(shownUrl(folder), 'it is no whole path, wanted one from /')
  }
  const named = url ?? pathToFileURL(folder)
  const name = shownUrl(named)
  const real = await realPathUnder(await realRoots(fileRoots), pathOf(named, name), name)
  const entries = await readdir(real, { withFileTypes: true }).catch((cause) => {
    throw missing(name, cause)
  })
  const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
  return files.map((file) => pathToFileURL(join(real, file.name)).href).sort()
}

async function* readBody(handle: FileHandle, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const size = 64 * 1024
  while (true) {
    signal.throwIfAborted()
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(size), 0, size, null)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
  }
}

function pathOf(url: URL, name: string): string {
  if (url.host !== '') throw refused(name, 'it names a host, wanted file:///path')
  let path: string
  try {
    path = fileURLToPath(url)
  } catch {
    throw refused(name, 'it is no path of this machine, wanted file:///path')
  }
  if (path.includes('\0')) throw refused(name, 'its path holds a NUL, wanted none')
  return path
}

async function realRoots(roots: string[]): Promise<string[]> {
  // An empty entry would stand for the working directory.
  const named = roots.filter((root) => root.trim() !== '')
  const found = await Promise.all(named.map((root) => realpath(resolve(root)).catch(() => null)))
  return found.filter((root) => root !== null)
}

// Whether a path outside the roots exists is not told: it is refused either way.
async function realPathUnder(roots: string[], path: string, name: string): Promise<string> {
  let cause: unknown
  for (let nearest = path; ; nearest = dirname(nearest)) {
    const real = await realpath(nearest).catch((error) => {
      cause ??= error
      return null
    })
    if (real === null && nearest !== dirname(nearest)) continue
    if (real === null || !isUnder(roots, real)) throw outside(name)
    if (nearest !== path) throw missing(name, cause)
    return real
  }
}

// What was opened may be something else than what was checked, when a folder on the way was swapped.
async function checkOpened(
  handle: FileHandle,
  real: string,
  roots: string[],
  name: string
): Promise<void> {
  const opened = await realpath(`/proc/self/fd/${handle.fd}`).catch(() => null)
  const path = opened ?? (await realpath(real).catch(() => null))
  if (path === null || !isUnder(roots, path)) throw outside(name)
  if (opened !== null) return
  // Without /proc (macOS) a swap between these two calls would pass; it takes a writer in a root.
  const [held, found] = await Promise.all([handle.stat(), stat(path).catch(() => null)])
  if (held.dev !== found?.dev || held.ino !== found.ino) throw outside(name)
}

function isUnder(roots: string[], path: string): boolean {
  return roots.some((root) => {
    const way = relative(root, path)
    return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
  })
}

function checkRegular(found: Stats, name: string): void {
  if (!found.isFile()) throw refused(name, 'it is not a regular file, wanted one')
}

function outside(name: string): ExpertError {
  return refused(name, 'it does not lie under a folder of EXPERT_FILE_ROOTS, links resolved')
}

function refused(name: string, why: string): ExpertError {
  return new ExpertError('EXP_MEDIA_ADDRESS', `${name} is refused: ${why}`)
}

function missing(name: string, cause: unknown): ExpertError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  return new ExpertError('EXP_MEDIA_NOT_FOUND', `${name} cannot be read (${code})`, { cause })
}
