import type { Movies, StoredDocument } from '../documents.ts'
import { ExpertError } from '../errors.ts'
import type { Media } from '../media/media.ts'
import { MovieFile } from './movie-file.ts'
import { namesPicture } from './movie-key.ts'

interface JobPlace {
  tmp: string
  signal: AbortSignal
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
 * Fetches the file that the `url_path` of a movie's document names.
 *
 * @throws ExpertError EXP_BAD_INPUT when the document does not say where the file is; else as `media.downloadVideo` and
 *   `media.downloadImage`
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
  const { path } = await (isPicture
    ? media.downloadImage(url, { folder, signal })
    : media.downloadVideo(url, { folder, signal }))
  return new MovieFile(media, { movie, path, isPicture, signal })
}

/** As the seed system writes it, a picture's `meta` has a colour mode where a video's has frames a second. */
function saysPicture({ type, meta }: StoredDocument, url: string): boolean {
  if (type === 'image' || type === 'movie') return type === 'image'
  const { fps, mode } = (meta ?? {}) as Record<string, unknown>
  if (typeof fps === 'number') return false
  return typeof mode === 'string' || namesPicture(url)
}
