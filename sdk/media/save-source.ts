import { randomUUID } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DownloadedFile } from './media.ts'
import { checkBytes, type MediaSource } from './media-source.ts'
import { readPictureHeader } from './picture-header.ts'

/**
 * Writes a source to a file of its own. Whole and a picture, or nothing of it stays in the folder.
 *
 * @throws ExpertError EXP_MEDIA_TOO_LARGE, EXP_MEDIA_UNREADABLE, or as the source does
 */
export async function saveSource(
  source: MediaSource,
  folder: string,
  limits: { maxBytes: number; maxPixels: number },
  signal: AbortSignal
): Promise<DownloadedFile> {
  const base = join(folder, randomUUID())
  const part = `${base}.part`
  try {
    const bytes = await write(part, source, limits.maxBytes)
    const { name, type } = source
    const format = await readPictureHeader(part, { name, type, maxPixels: limits.maxPixels })
    signal.throwIfAborted()
    const path = `${base}.${format}`
    await rename(part, path)
    return { path, bytes, type }
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
