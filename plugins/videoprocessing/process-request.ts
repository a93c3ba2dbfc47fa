import { ExpertError, movieKeyOf, movieNameOf, type Static, Type } from '@nebula-experts/sdk'

/** How the parts of a movie are found. */
export const Division = {
  video_processing: Type.Optional(
    Type.Enum(['scenes', 'every_n_seconds'], {
      description: 'Scene elements are the shots between cuts, or parts of equal length'
    })
  ),
  video_processing_interval: Type.Optional(
    Type.Number({
      exclusiveMinimum: 0,
      description: 'For `every_n_seconds`: seconds of a part'
    })
  )
}
export type Division = Static<ReturnType<typeof divisionSchema>>
const divisionSchema = () => Type.Object(Division)

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()])

const GivenMovie = Type.Object({
  movie_id: Type.Optional(
    Nullable(Type.String({ description: 'Key of the movie; empty: made of its address' }))
  ),
  url: Type.String({ description: 'Where the movie or picture is' }),
  type: Type.String({
    default: 'file',
    description: '`movie`, `image`, or `file`: as its name says'
  })
})

/** Body of `POST /process/movies`, as the older system's clients send it. */
export const ProcessMovies = Type.Object(
  {
    movies: Type.Optional(Nullable(Type.Array(GivenMovie, { maxItems: 10_000 }))),
    input: Type.Optional(
      Nullable(Type.String({ description: '`dataset`: the movies are the files of a folder' }))
    ),
    dataset: Type.Optional(
      Nullable(
        Type.Object({
          path: Type.Optional(
            Nullable(Type.String({ description: 'Folder on the host, under an allowed root' }))
          ),
          type: Type.String({ default: 'file' }),
          id: Type.Optional(Nullable(Type.String()))
        })
      )
    ),
    context: Type.Optional(
      Nullable(
        Type.Object({
          delimeter: Type.Optional(
            Nullable(Type.String({ description: 'What parts the words of a file name' }))
          )
        })
      )
    ),
    output: Type.String({ default: 'json' }),
    overwrite: Type.Boolean({ default: false, description: 'Fetch a movie again that is kept' }),
    save_movies: Type.Boolean({ default: true, description: 'Keep the file of each movie' }),
    benchmark: Type.Optional(
      Nullable(
        Type.Object({
          benchmark_name: Type.Optional(Nullable(Type.String())),
          benchmark_tag: Type.Optional(Nullable(Type.String()))
        })
      )
    ),
    ...Division
  },
  {
    examples: [
      { movies: [{ movie_id: '', url: 'https://example.org/video8059.mp4', type: 'movie' }] }
    ]
  }
)
export type ProcessMovies = Static<typeof ProcessMovies>

/** A movie that a request names. */
export interface RequestedMovie {
  key: string
  name: string
  url: string
  type: 'movie' | 'image' | null
  context: string
}

/** What of a movie is asked for beside where it is. */
export interface ProcessOptions extends Division {
  saveMovie: boolean
  overwrite: boolean
  misc: Record<string, string>
}

const LEGAL_KEY = /^[A-Za-z0-9_\-:.@()+,=;$!*'%]{1,254}$/

/**
 * A movie as the request names it.
 *
 * @throws ExpertError EXP_BAD_INPUT naming the field
 */
export function requestedMovie(
  given: Static<typeof GivenMovie>,
  delimiter: string | null
): RequestedMovie {
  const { url, type } = given
  if (type !== 'movie' && type !== 'image' && type !== 'file') {
    const message = `Field 'type' is '${type.slice(0, 50)}', wanted 'movie', 'image' or 'file'`
    throw new ExpertError('EXP_BAD_INPUT', message)
  }
  const asked = (given.movie_id ?? '').replace(/^Movies\//, '')
  if (asked !== '') checkKey(asked)
  const file = movieNameOf(url)
  return {
    key: asked === '' ? movieKeyOf(url) : asked,
    name: asked === '' ? file : asked,
    url,
    type: type === 'file' ? null : type,
    context: delimiter === null || delimiter === '' ? '' : file.split(delimiter).join(' ')
  }
}

/**
 * A key names a document, and folders with what belongs to it.
 *
 * @throws ExpertError EXP_BAD_INPUT
 */
export function checkKey(key: string): void {
  if (LEGAL_KEY.test(key) && !/^\.+$/.test(key)) return
  const wanted = "at most 254 of A-Z a-z 0-9 _-:.@()+,=;$!*'%, not points alone"
  const message = `Field 'movie_id' is '${key.slice(0, 50)}', wanted ${wanted}`
  throw new ExpertError('EXP_BAD_INPUT', message)
}
