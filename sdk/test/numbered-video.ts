import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { VideoFrame } from '../media/media.ts'

const bits = 12

export interface NumberedVideo {
  frames: number
  width?: number
  height?: number
  rate?: number
  /** For ffmpeg, before the raw frames: other inputs. */
  inputs?: string[]
  /** For ffmpeg, of the output: codec, filters. */
  args: string[]
}

/** Makes a video whose frames show their numbers, as black and white bars. */
export async function writeNumbered(path: string, video: NumberedVideo): Promise<string> {
  const { frames, width = 96, height = 32, rate = 25, inputs = [], args } = video
  const raw = ['-f', 'rawvideo', '-pix_fmt', 'gray', '-s', `${width}x${height}`, '-r', `${rate}`]
  await ffmpeg([...raw, '-i', 'pipe:0', ...inputs, ...args, path], async (write) => {
    for (let number = 0; number < frames; number++) {
      const row = Buffer.alloc(width)
      for (let x = 0; x < width; x++) {
        row[x] = (number >> Math.floor((x * bits) / width)) & 1 ? 235 : 16
      }
      await write(Buffer.concat(Array.from({ length: height }, () => row)))
    }
  })
  return path
}

/** The number that a frame shows. */
export function shownNumber({ data, width, height, channels }: VideoFrame): number {
  let number = 0
  for (let bit = 0; bit < bits; bit++) {
    const x = Math.floor(((bit + 0.5) * width) / bits)
    if (data[((height >> 1) * width + x) * channels]! > 128) number |= 1 << bit
  }
  return number
}

/** Runs ffmpeg, with raw bytes for its input. */
export async function ffmpeg(
  args: string[],
  feed: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void> = async () => {}
): Promise<void> {
  const child = spawn('ffmpeg', ['-y', '-v', 'error', ...args], {
    stdio: ['pipe', 'ignore', 'inherit']
  })
  const ended = once(child, 'close')
  await feed(async (bytes) => {
    if (!child.stdin.write(bytes)) await once(child.stdin, 'drain')
  })
  child.stdin.end()
  const [code] = await ended
  if (code !== 0) throw new Error(`ffmpeg ended with ${code}: ${args.join(' ')}`)
}

/** A program that leaves its process id in a file before it does as its lines say. */
export async function script(t: Test, lines: string): Promise<{ path: string; pids: PidFile }> {
  // Not its testdir: that is made anew at each call.
  const folder = await mkdtemp(join(tmpdir(), 'program-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'program')
  const list = join(folder, 'pids')
  await writeFile(path, `#!/bin/sh\necho $$ >> '${list}'\n${lines}\n`)
  await chmod(path, 0o755)
  return { path, pids: pidFile(list) }
}

export interface PidFile {
  /** Resolves once so many processes have told their ids. */
  started(count: number): Promise<number[]>
  /** Resolves when none of them is left; gives how many there were. */
  gone(): Promise<number>
}

function pidFile(path: string): PidFile {
  const read = async () => {
    const text = await readFile(path, 'utf8').catch(() => '')
    return text.split('\n').filter(Boolean).map(Number)
  }
  const until = async (isSo: () => Promise<boolean>, what: string) => {
    for (const end = Date.now() + 10_000; !(await isSo()); ) {
      if (Date.now() > end) throw new Error(`not within 10 s: ${what}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  return {
    started: async (count) => {
      await until(async () => (await read()).length >= count, `${count} processes`)
      return read()
    },
    gone: async () => {
      const pids = await read()
      await until(async () => (await Promise.all(pids.map(isRunning))).every((r) => !r), 'all gone')
      return pids.length
    }
  }
}

// A process that ended and was not yet waited for by its parent is gone too.
async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)
  return stat !== null && !/\) [ZX] /.test(stat)
}
