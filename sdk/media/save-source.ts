import { randomUUID } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DownloadedFile } from './media.ts'
import { checkBytes, type MediaSource } from './media-source.ts'

export interface SaveOptions {
  folder: string
  maxBytes: number
  /** Throws for a file that is not what it should be; gives its extension. */
  check(path: string): Promise<string>
  signal: AbortSignal
}

/**
 * Writes a source to a file of its own. Whole and of the right kind, or nothing of it stays in the folder.
 *
 * @throws ExpertError EXP_MEDIA_TOO_LARGE, or as the source or the check does
 */
export async function saveSource(
  source: MediaSource,
  { folder, maxBytes, check, signal }: SaveOptions
): Promise<DownloadedFile> {
  const base = join(folder, randomUUID())
  const part = `${base}.part`
  try {
    const bytes = await write(part, source, maxBytes)
    const format = await check(part)
    signal.throwIfAborted()
    const path = `${base}.${format}`
    await rename(part, path)
    return { path, bytes, type: source.type }
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}

async function write(path: string, source: MediaSource, maxBytes: number): Promise<number> {
  const handle = await open(path, 'wx')
  let bytes = 0
  try {
    for await (const chunk of source.body) {
      bytes += chunk.length
      checkBytes(source.name, bytes, maxBytes)
      await handle.writeFile(chunk)
    }
    return bytes
  } finally {
    await handle.close()
  }
}
