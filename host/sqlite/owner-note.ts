import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'

/**
 * Who holds the store's file, for the message to those who cannot have it. Only words: the lock is
 * SQLite's own, and a note that a killed host left means nothing.
 */
export function writeOwnerNote(path: string): void {
  try {
    const lines = [`process ${process.pid} on ${hostname()}`, `since ${new Date().toISOString()}`]
    writeFileSync(noteOf(path), `${lines.join(', ')}\n`)
  } catch {
    // On a full disk a host must still start: reading and deleting work.
  }
}

export function readOwnerNote(path: string): string | null {
  try {
    const text = readFileSync(noteOf(path), 'utf8').trim()
    return text === '' ? null : text
  } catch {
    return null
  }
}

export function removeOwnerNote(path: string): void {
  try {
    rmSync(noteOf(path), { force: true })
  } catch {
    // See above: it means nothing when the lock is free.
  }
}

function noteOf(path: string): string {
  return `${path}.owner`
}
