import { closeSync, copyFileSync, openSync, readSync, renameSync } from 'node:fs'

const LOG_HEADER_BYTES = 32

/** Renames the file and what belongs to it, and says to what. Nothing is ever deleted. */
export function setAside(path: string): string {
  const aside = asideOf(path)
  // The file last: another host that starts now must not meet the log alone.
  const moved = ['-wal', '-shm', ''].filter((suffix) => rename(path + suffix, aside + suffix))
  const names = moved.map((suffix) => aside + suffix)
  return `It was set aside as ${names.reverse().join(', ')}`
}

/**
 * SQLite passes over a log whose header it cannot read, without a word, and writes over it. What the main file has is
 * whole then, but what was only in the log is missing: the log is kept under another name, and told of.
 *
 * To be called when the lock is held, and before the first write.
 */
export function copyUnreadableLog(path: string, tell: (sentence: string) => void): void {
  const log = `${path}-wal`
  const header = readStart(log)
  // A log that was just begun, or of which the disk has no more than the length: nothing was ever in it.
  if (header === null || header.every((byte) => byte === 0) || isLogHeader(header)) return
  const copy = `${asideOf(path)}-wal`
  copyFileSync(log, copy)
  tell(
    `${log} cannot be read: its header is broken. It was copied to ${copy}; ` +
      `${path} is used without what was only there.`
  )
}

/** https://sqlite.org/fileformat2.html#walformat */
function isLogHeader(header: Buffer): boolean {
  const magic = header.readUInt32BE(0)
  if (magic !== 0x377f0682 && magic !== 0x377f0683) return false
  const read = (at: number) =>
    magic === 0x377f0683 ? header.readUInt32BE(at) : header.readUInt32LE(at)
  let [first, second] = [0, 0]
  for (let at = 0; at < 24; at += 8) {
    first = (first + read(at) + second) >>> 0
    second = (second + read(at + 4) + first) >>> 0
  }
  return first === header.readUInt32BE(24) && second === header.readUInt32BE(28)
}

function readStart(path: string): Buffer | null {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  try {
    const start = Buffer.alloc(LOG_HEADER_BYTES)
    return readSync(file, start, 0, LOG_HEADER_BYTES, 0) === LOG_HEADER_BYTES ? start : null
  } finally {
    closeSync(file)
  }
}

function rename(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

function asideOf(path: string): string {
  return `${path}.corrupt-${new Date().toISOString().replaceAll(':', '-')}`
}
