import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadSharp } from './load-sharp.ts'
import type { ReadOptions } from './probe.ts'
import { readFrames } from './read-frames.ts'

/**
 * Writes frames as JPEG files; see `divideMovieIntoFrames` of {@link Media}.
 *
 * They are written under other names until all are there, so that a folder has them all or none; files of
 * another run that has them already are replaced.
 */
export async function divideMovie(
  file: string,
  options: { frames: readonly number[] | 'all'; folder: string; signal?: AbortSignal },
  around: Omit<ReadOptions, 'signal'>
): Promise<Map<number, string>> {
  const { frames, folder, signal } = options
  const numbers = frames === 'all' ? undefined : frames
  await mkdir(folder, { recursive: true })
  const sharp = await loadSharp()
  const unfinished = await mkdtemp(join(folder, '.frames-'))
  const names = new Map<number, string>()
  try {
    for await (const { data, width, height, number } of readFrames(
      file,
      { numbers, signal },
      around
    )) {
      const raw = { width, height, channels: 3 as const }
      const name = `frame${String(number).padStart(4, '0')}.jpg`
      const jpeg = await sharp(data, { raw, limitInputPixels: false })
        .jpeg({ quality: 90 })
        .toBuffer()
      await writeFile(join(unfinished, name), jpeg)
      names.set(number, name)
    }
    const paths = new Map<number, string>()
    for (const [number, name] of names) {
      const path = join(folder, name)
      await rename(join(unfinished, name), path)
      paths.set(number, path)
    }
    return paths
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
}
