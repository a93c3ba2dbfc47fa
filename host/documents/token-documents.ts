import { setImmediate } from 'node:timers/promises'
import type { ImageToken, TokenRecord } from '@nebula-experts/sdk'
import { hostError } from '../errors.ts'
import { canonicalJson } from './canonical-json.ts'
import { fitKey, hashedKey, keyPart } from './document-key.ts'
import { mergeDocuments } from './merge-documents.ts'
import { collectionNames, type DocumentFields, fieldsOf } from './stored-document.ts'
import { joinBoxes } from './token-boxes.ts'

/** A document to be written, before it is known which of its keys is free. */
export interface PlannedDocument {
  /** The keys it may have, best first. */
  keys: string[]
  /** Whether a stored document is the same token, so that it is written over. */
  owns: (stored: DocumentFields) => boolean
  fields: DocumentFields
}

/** What tells two tokens apart; a stored document is of the token with which it agrees in all of these. */
type Identity = readonly unknown[]

/** How many tokens are planned in one turn of the event loop. */
const TURN = 500
const MOVIE_PREFIX = `${collectionNames.movies}/`

/** `Movies/<key>` of an id with or without its collection. An id of another collection stays as it is. */
export function movieIdOf(id: string): string {
  return id.includes('/') ? id : `${MOVIE_PREFIX}${id}`
}

/**
 * The documents of tokens. Tokens of the same movie, scene element, scene, label and expert are one:
 * their boxes are joined as `joinBoxes` does, `meta_label` is merged deeply, of the rest the last that is not
 * null counts.
 */
export function planTokens(entries: readonly TokenRecord[]): Promise<PlannedDocument[]> {
  return plan(entries, {
    what: 'token',
    fieldsOf: (fields, what) => {
      const movieId = textIn(fields, 'movie_id', what)
      if (movieId === MOVIE_PREFIX) throw wrongField(what, 'movie_id', fields['movie_id'])
      return {
        ...fields,
        movie_id: movieIdOf(movieId),
        scene_element: integerIn(fields, 'scene_element', what),
        scene: integerIn(fields, 'scene', what),
        expert: fields['expert'] ?? null,
        bbox: fields['bbox'] ?? null,
        label: fields['label'] ?? null,
        meta_label: fields['meta_label'] ?? null,
        re_id: fields['re_id'] ?? 0
      }
    },
    identityOf: (token) => [
      typeof token['movie_id'] === 'string' ? movieIdOf(token['movie_id']) : null,
      token['scene_element'] ?? 0,
      token['scene'] ?? 0,
      token['label'] ?? null,
      token['expert'] ?? null
    ],
    keyOf: ([movieId, sceneElement, scene, label]) => {
      const movie = String(movieId)
      const key = movie.startsWith(MOVIE_PREFIX) ? movie.slice(MOVIE_PREFIX.length) : movie
      return [key, sceneElement, scene, label].map(numberOrPart).join(':')
    },
    addsExpert: true
  })
}

/**
 * The documents of tokens of pictures. The key is `<id>:<expert>:<label>:<box>`, of a frame
 * `<movie>:<scene element>:<frame>:<expert>:<label>:<box>`: the box as its numbers with commas, before it
 * the `re_id` unless that is 0; without a box, nothing. So each box of a picture is a document of its own,
 * however the boxes are spread over calls, and a run that sees the same box again writes over its score and
 * what else is said of it. Boxes stay that an earlier run saw and a later one does not.
 */
export function planImageTokens(entries: readonly ImageToken[]): Promise<PlannedDocument[]> {
  return plan(entries, {
    what: 'image token',
    fieldsOf: (fields, what) => ({
      ...fields,
      id: textIn(fields, 'id', what),
      type: textIn(fields, 'type', what),
      expert: fields['expert'] ?? null,
      expert_meta: fields['expert_meta'] ?? null,
      bbox: fields['bbox'] ?? null,
      label: fields['label'] ?? null,
      label_meta: fields['label_meta'] ?? null,
      score: fields['score'] ?? null,
      re_id: fields['re_id'] ?? 0
    }),
    identityOf: (token) => [
      token['id'] ?? null,
      token['expert'] ?? null,
      token['label'] ?? null,
      token['re_id'] ?? 0,
      token['bbox'] ?? null
    ],
    keyOf: ([id, expert, label, reId, bbox]) => {
      const parts = [...placesIn(String(id)), expert, label].map(keyPart)
      if (reId !== 0) parts.push(numberOrPart(reId))
      if (bbox !== null) parts.push(isNumbers(bbox) ? bbox.join() : keyPart(bbox))
      return parts.join(':')
    },
    addsExpert: false
  })
}

interface Rules {
  what: string
  fieldsOf: (fields: DocumentFields, what: string) => DocumentFields
  identityOf: (token: DocumentFields) => Identity
  keyOf: (identity: Identity) => string
  /** Whether the second key is the first with the expert, who is the last of the identity. */
  addsExpert: boolean
}

async function plan(entries: readonly object[], rules: Rules): Promise<PlannedDocument[]> {
  const planned = new Map<string, PlannedDocument & { boxes: unknown[] }>()
  for (const [place, entry] of entries.entries()) {
    // Ten thousand take a tenth of a second: predictions must not wait for it.
    if (place % TURN === TURN - 1) await setImmediate()
    const what = entries.length === 1 ? rules.what : `${rules.what} ${place}`
    const fields = rules.fieldsOf(fieldsOf(entry, what), what)
    const identity = rules.identityOf(fields)
    const text = canonicalJson(identity)
    const same = planned.get(text)
    if (same === undefined) {
      const owns = (stored: DocumentFields) => canonicalJson(rules.identityOf(stored)) === text
      planned.set(text, { keys: keysOf(identity, rules), owns, fields, boxes: [fields['bbox']] })
    } else {
      const said = Object.entries(fields).filter(([, value]) => value !== null)
      same.fields = mergeDocuments(same.fields, Object.fromEntries(said))
      same.boxes.push(fields['bbox'])
    }
  }
  return [...planned.values()].map(({ keys, owns, fields, boxes }) => ({
    keys,
    owns,
    fields: { ...fields, bbox: joinBoxes(boxes) }
  }))
}

function keysOf(identity: Identity, { keyOf, addsExpert }: Rules): string[] {
  const key = keyOf(identity)
  const keys = [fitKey(key, identity)]
  const expert = identity.at(-1)
  if (addsExpert && expert !== null) keys.push(fitKey(`${key}:${keyPart(expert)}`, identity))
  return [...new Set([...keys, hashedKey(key, identity)])]
}

function placesIn(imageId: string): string[] {
  const isFrame = imageId.startsWith(MOVIE_PREFIX)
  return isFrame ? imageId.slice(MOVIE_PREFIX.length).split('/') : [imageId]
}

function numberOrPart(value: unknown): string {
  return typeof value === 'number' ? String(value) : keyPart(value)
}

function isNumbers(value: unknown): value is number[] {
  // A token's box has four; of many, the key would be nothing but numbers.
  return (
    Array.isArray(value) && value.length > 0 && value.length <= 8 && value.every(Number.isFinite)
  )
}

function textIn(fields: DocumentFields, field: string, what: string): string {
  const value = fields[field]
  if (typeof value === 'string' && value !== '') return value
  throw wrongField(what, field, value)
}

function integerIn(fields: DocumentFields, field: string, what: string): number {
  const value = fields[field] ?? 0
  if (Number.isSafeInteger(value)) return value as number
  const found = JSON.stringify(value).slice(0, 100)
  throw hostError('HOST_DOCUMENT_INVALID', [
    `${field} of the ${what} is ${found}, not a whole number`
  ])
}

function wrongField(what: string, field: string, value: unknown) {
  const found = value === undefined ? 'missing' : JSON.stringify(value).slice(0, 100)
  return hostError('HOST_DOCUMENT_INVALID', [
    `${field} of the ${what} is ${found === '""' ? 'empty' : found}, not an id`
  ])
}
