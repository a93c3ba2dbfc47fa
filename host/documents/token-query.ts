import { hostError } from '../errors.ts'
import { movieIdOf } from './token-documents.ts'
import type { TokenQuery } from './token-store.ts'

/** What a listing of tokens compares, by the names of the stored fields. */
export interface TokenFilter {
  movie_id?: string
  scene_element?: number | undefined
  /** The whole `id` of image tokens. */
  image_id?: string | undefined
  /** How the `id` of image tokens begins. */
  imagePrefix?: string
  expert?: string | null | undefined
  label?: string | number | null | undefined
}

/**
 * What a query asks of its collection.
 *
 * @throws HostError HOST_DOCUMENT_INVALID when the collection has no such field
 */
export function tokenFilter(query: TokenQuery): TokenFilter {
  const { collection, movie_id, image_id, scene_element, expert, label } = query
  const movie = movie_id === undefined ? undefined : movieIdOf(movie_id)
  if (collection === 'Tokens') {
    if (image_id !== undefined) throw wrong('image_id', 'tokens of movies have none')
    return { ...(movie === undefined ? {} : { movie_id: movie }), scene_element, expert, label }
  }
  if (movie === undefined) {
    if (scene_element !== undefined) throw wrong('scene_element', 'it needs movie_id beside it')
    return { image_id, expert, label }
  }
  const imagePrefix = `${movie}/${scene_element === undefined ? '' : `${scene_element}/`}`
  return { image_id, imagePrefix, expert, label }
}

function wrong(field: string, why: string) {
  return hostError('HOST_DOCUMENT_INVALID', [`${field} cannot be asked for: ${why}`])
}
