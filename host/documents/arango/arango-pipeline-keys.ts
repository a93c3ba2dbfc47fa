import { createHash, randomBytes } from 'node:crypto'
import type { ItemPlace } from '../pipeline-store.ts'

const KEY_LENGTH = 32
const SEQ_DIGITS = 16
const TIE_DIGITS = 8
/** The character that no task has in its name. */
export const NUL = '\0'
/** Behind the hex of every text. */
const BEHIND_ALL = 'g'

/** The key of an item's document: of a fixed length, whatever the names in it. */
export function itemKey({ pipeline, task, movie }: ItemPlace): string {
  return digestOf([pipeline, task, movie]).toString('base64url').slice(0, KEY_LENGTH)
}

/** The key of what is known of the order of a pipeline's movies since it was created. */
export function orderKey(pipeline: string): string {
  return digestOf(['order', pipeline]).toString('base64url').slice(0, KEY_LENGTH)
}

/**
 * Where an item stands among those of its pipeline: by task and then as its movie does, as a text whose
 * order is the same by the rules of any language, which servers compare texts by, as byte by byte.
 */
export function placeOf(item: ItemPlace, seq: number): string {
  // Two hosts may give two movies that they find at once the same number.
  const { pipeline, task, movie } = item
  const tie = digestOf([pipeline, task, movie]).toString('hex').slice(0, TIE_DIGITS)
  return `${beginOf(task)}${String(seq).padStart(SEQ_DIGITS, '0')}${tie}`
}

/** The number of the movie in a place. */
export function seqIn(place: string): number {
  return Number(place.slice(-SEQ_DIGITS - TIE_DIGITS, -TIE_DIGITS))
}

/** Between which places the items of a task stand; those of all tasks without one. */
export function placesOf(task: string | undefined): { from: string; to: string } {
  if (task === undefined) return { from: '', to: BEHIND_ALL }
  const from = beginOf(task)
  return { from, to: `${from}${BEHIND_ALL}` }
}

/** Whether it can be a place at all. */
export function isPlace(text: string): boolean {
  return /^[0-9a-f]+$/.test(text)
}

/** What only one call has: what a statement wrote is known by it when the answer was lost. */
export function callId(): string {
  return randomBytes(12).toString('base64url')
}

/** As no task has it, what a task's places begin with is no begin of another's. */
function beginOf(task: string): string {
  return `${Buffer.from(task).toString('hex')}00`
}

function digestOf(parts: readonly string[]): Buffer {
  return createHash('sha256').update(JSON.stringify(parts)).digest()
}
