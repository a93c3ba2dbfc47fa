import { movieKeyOf, movieNameOf, namesPicture } from '@nebula-experts/sdk/hosting'
import { isLegalKey } from '../documents/document-key.ts'
import type { MovieStore } from '../documents/movie-store.ts'
import { type DocumentFields, isObject } from '../documents/stored-document.ts'

/** A movie that a pipeline's `inputs` name by its address. */
interface GivenMovie {
  key: string
  url: string
  type: string
}

/**
 * Makes movies of the addresses that the `inputs` of a pipeline give to some of its experts, as the
 * seed's web client writes them: each gets a document in `Movies` unless there is one.
 *
 * @param experts - keys of `inputs` to look at
 * @param signal - ends it between two movies; its reason is thrown
 * @returns entries for the pipeline's `movies`, by `_id`
 */
export async function moviesOfInputs(
  pipeline: DocumentFields & { _key: string },
  experts: readonly string[],
  movies: MovieStore,
  signal: AbortSignal
): Promise<Record<string, DocumentFields>> {
  const inputs = isObject(pipeline.inputs) ? pipeline.inputs : {}
  const given = experts.flatMap((expert) => givenMovies(inputs[expert]))
  const entries: Record<string, DocumentFields> = {}
  for (const movie of given) {
    const id = `Movies/${movie.key}`
    signal.throwIfAborted()
    if (entries[id] !== undefined) continue
    entries[id] = { _key: movie.key, context: '', status: {} }
    if ((await movies.get(movie.key)) !== undefined) continue
    // Another host may be doing the same: merged, both write one document.
    await movies.save({
      _key: movie.key,
      name: movieNameOf(movie.url),
      url_path: movie.url,
      orig_url: movie.url,
      type: movie.type,
      status: 'created',
      source: 'external',
      pipeline_id: pipeline._key
    })
  }
  return entries
}

/** The movies that one expert's request names; what has no address is none. */
function givenMovies(request: unknown): GivenMovie[] {
  if (!isObject(request) || !Array.isArray(request.movies)) return []
  return request.movies.flatMap((movie) => {
    if (!isObject(movie) || typeof movie.url !== 'string' || movie.url === '') return []
    const { url, movie_id: id, type } = movie
    const asked = typeof id === 'string' ? id.replace(/^Movies\//, '') : ''
    const isKind = type === 'movie' || type === 'image'
    return {
      key: isLegalKey(asked) ? asked : movieKeyOf(url),
      url,
      type: isKind ? type : namesPicture(url) ? 'image' : 'movie'
    }
  })
}
