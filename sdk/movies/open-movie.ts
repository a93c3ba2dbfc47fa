import type { Movies, StoredDocument } from '../documents.ts'
import { ExpertError, isExpertError } from '../errors.ts'
import type { Media } from '../media/media.ts'
import { MovieFile } from './movie-file.ts'
import { namesPicture } from './movie-key.ts'

const ELSEWHERE = ['EXP_MEDIA_NOT_FOUND', 'EXP_MEDIA_ADDRESS']

interface JobPlace {
  tmp: string
  signal: AbortSignal
}

/** Whether a file cannot be had since it is not here, or would lie in a folder of which this host knows nothing. */
export function isElsewhere(error: unknown): error is ExpertError {
  return isExpertError(error) && ELSEWHERE.includes(error.code)
}

/**
 * Finds a movie's document and fetches the file that its `url_path` names.
 *
 * @throws ExpertError EXP_MEDIA_NOT_FOUND when there is no such movie; else as {@link openMovieFile}
 */
export async function openMovie(
  id: string,
  services: { movies: Movies; media: Media },
  context: JobPlace
): Promise<MovieFile> {
  const movie = await services.movies.get(id)
  if (movie === undefined) {
    throw new ExpertError('EXP_MEDIA_NOT_FOUND', `There is no movie '${id}'`)
  }
  return openMovieFile(movie, services.media, context)
}

/**
 * Fetches the file that the `url_path` of a movie's document names. When that is not there, since another host keeps
 * it on its own disk or somebody made room, it is fetched from `orig_url`, where it came from.
 *
 * @throws ExpertError EXP_BAD_INPUT when the document does not say where the file is; else as `media.downloadVideo` and
 *   `media.downloadImage`: when neither place has it, with the code of the second and the messages of both
 */
export async function openMovieFile(
  movie: StoredDocument,
  media: Media,
  { tmp: folder, signal }: JobPlace
): Promise<MovieFile> {
  const { url_path: url } = movie
  if (typeof url !== 'string' || url === '') {
    const found = JSON.stringify(url)?.slice(0, 100) ?? 'missing'
    const message = `Field 'url_path' of ${movie._id} is ${found}, wanted where its file is`
    throw new ExpertError('EXP_BAD_INPUT', message)
  }
  const isPicture = saysPicture(movie, url)
  const fetchFrom = (from: string) =>
    isPicture
      ? media.downloadImage(from, { folder, signal })
      : media.downloadVideo(from, { folder, signal })
  const { orig_url: origin } = movie
  const { path } = await fetchFrom(url).catch((first) => {
    const isOther = typeof origin === 'string' && origin !== '' && origin !== url
    if (!isElsewhere(first) || !isOther) throw first
    return fetchFrom(origin).catch((cause) => {
      if (!isExpertError(cause)) throw cause
      const { code, statusCode } = cause
      const message = `${first.message}; and where it came from: ${cause.message}`
      throw new ExpertError(code, message, { statusCode, cause })
    })
  })
  return new MovieFile(media, { movie, path, isPicture, signal })
}

/** As the seed system writes it, a picture's `meta` has a colour mode where a video's has frames a second. */
function saysPicture({ type, meta }: StoredDocument, url: string): boolean {
  if (type === 'image' || type === 'movie') return type === 'image'
  const { fps, mode } = (meta ?? {}) as Record<string, unknown>
  if (typeof fps === 'number') return false
  return typeof mode === 'string' || namesPicture(url)
}
