import { rm } from 'node:fs/promises'
import {
  BaseExpert,
  type ExpertApi,
  type ItemAnswer,
  type ItemContext,
  isElsewhere,
  isExpertError,
  type MovieFile,
  openMovieFile,
  type RunContext,
  type Static,
  type StoredDocument,
  Type
} from '@nebula-experts/sdk'
import {
  describeMovie,
  keepFrames,
  type MovieDescription,
  removeOldFrames
} from './describe-movie.ts'
import { keepMovie, removeOldMovie } from './keep-movie.ts'
import {
  checkKey,
  Division,
  ProcessMovies,
  type ProcessOptions,
  type RequestedMovie,
  requestedMovie
} from './process-request.ts'
import { Turns } from './turns.ts'

const Config = Type.Object({
  VIDEO_PROCESSING: Type.Enum(['scenes', 'every_n_seconds'], {
    default: 'scenes',
    description: 'Scene elements are the shots between cuts, or parts of equal length'
  }),
  VIDEO_PROCESSING_INTERVAL: Type.Number({
    default: 5,
    exclusiveMinimum: 0,
    description: 'For every_n_seconds: seconds of a part'
  })
})
const Params = Type.Object(Division)
type Params = Static<typeof Params>

const Result = Type.Object({
  result: Type.Union([
    Type.Object({
      _id: Type.String(),
      _key: Type.String(),
      _rev: Type.String(),
      context: Type.String()
    }),
    Type.Null()
  ]),
  error: Type.Union([Type.String(), Type.Null()])
})
type Result = Static<typeof Result>

/** A movie of which is known what its document will say. */
interface Processed {
  given: RequestedMovie
  file: MovieFile
  described: MovieDescription
  /** Its document when it was begun. */
  before: StoredDocument | undefined
  /** Where its file is kept already. */
  kept: string | null
}

/** Takes movies and pictures in: finds their shots and middle frames, and writes the documents that other experts read. */
export default class VideoProcessingExpert extends BaseExpert<typeof Config, typeof Params> {
  static override config = Config
  static override params = Params
  readonly #turns = new Turns()

  override addExpertApis(api: ExpertApi): void {
    const options = {
      body: ProcessMovies,
      job: true,
      summary: 'Take movies in: find their scenes and middle frames, write their documents'
    }
    api.post('/process/movies', options, ({ body }, context) => this.#processAll(body, context))
  }

  override async predict(): Promise<unknown> {
    return { error: 'not implemented' }
  }

  override async predictImage(): Promise<unknown> {
    return { error: 'not implemented' }
  }

  override async processMovie(movieId: string, context: ItemContext<Params>): Promise<ItemAnswer> {
    const movie = await this.movies.get(movieId)
    if (movie === undefined) return { ok: false, error: `There is no movie '${movieId}'` }
    const url = movie.orig_url ?? movie.url_path
    if (typeof url !== 'string' || url === '') {
      return { ok: false, error: `Field 'url_path' of ${movieId} says where the movie is` }
    }
    const { type } = movie
    const name = typeof movie.name === 'string' ? movie.name : movie._key
    const text = typeof movie.context === 'string' ? movie.context : ''
    const options = { saveMovie: true, overwrite: false, misc: {}, ...context.extraParams }
    const given = { key: movie._key, name, url, type: isKind(type) ? type : null, context: text }
    await this.#process(given, options, context, (fraction) => context.progress(fraction))
    return { ok: true }
  }

  async #processAll(body: ProcessMovies, context: RunContext): Promise<unknown> {
    const delimiter = body.context?.delimeter ?? null
    const isDataset = body.input === 'dataset' && body.dataset != null
    if (isDataset && !body.dataset!.path) return { result: null, error: 'no dataset path' }
    const given = isDataset
      ? (await this.media.listFolder(body.dataset!.path!)).map((url) => {
          return { url, type: body.dataset!.type, movie_id: '' }
        })
      : (body.movies ?? [])
    if (given.length === 0) return { result: null, error: 'No movies in the list' }
    const { benchmark_name, benchmark_tag } = body.benchmark ?? {}
    const options: ProcessOptions = {
      saveMovie: body.save_movies,
      overwrite: body.overwrite,
      misc: { benchmark_name: benchmark_name ?? '', benchmark_tag: benchmark_tag ?? '' },
      video_processing: body.video_processing,
      video_processing_interval: body.video_processing_interval
    }
    const results: Result[] = []
    for (const [index, movie] of given.entries()) {
      context.signal.throwIfAborted()
      const onProgress = (fraction: number) => {
        context.progress((index + fraction) / given.length, `movie ${index + 1} of ${given.length}`)
      }
      onProgress(0)
      results.push(await this.#tryOne(movie, delimiter, options, context, onProgress))
    }
    return { results, jobId: context.jobId }
  }

  /** One movie that cannot be had is an answer of its own: the others are processed all the same. */
  async #tryOne(
    given: NonNullable<ProcessMovies['movies']>[number],
    delimiter: string | null,
    options: ProcessOptions,
    context: RunContext,
    onProgress: (fraction: number) => void
  ): Promise<Result> {
    try {
      const movie = requestedMovie(given, delimiter)
      const saved = await this.#process(movie, options, context, onProgress)
      const { _id, _key, _rev } = saved
      return { result: { _id, _key, _rev, context: String(saved.context ?? '') }, error: null }
    } catch (error) {
      if (context.signal.aborted) throw error
      const { code } = error as NodeJS.ErrnoException
      if (!isExpertError(error)) {
        // A full disk, a folder that is not writable: of no concern to the movies that are done.
        if (typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) throw error
        context.log.error(`a movie cannot be kept (${code})`, { url: given.url, code })
        return { result: null, error: `${given.url.slice(0, 200)}: it cannot be kept (${code})` }
      }
      // Messages on a file that was fetched name the file, which tells nobody which movie it was.
      const isNamed = error.message.includes(given.url) || error.code === 'EXP_BAD_INPUT'
      const message = isNamed ? error.message : `${given.url.slice(0, 200)}: ${error.message}`
      return { result: null, error: message }
    }
  }

  async #process(
    given: RequestedMovie,
    options: ProcessOptions,
    context: RunContext,
    onProgress: (fraction: number) => void
  ): Promise<StoredDocument> {
    const { key, url } = given
    checkKey(key)
    const id = `Movies/${key}`
    this.addTask(id)
    try {
      const before = await this.movies.get(id)
      const asGiven = { _id: id, _key: key, _rev: '', type: given.type, url_path: url }
      let kept = options.overwrite ? null : keptFile(before, url)
      const open = (url_path: string) => {
        return openMovieFile({ ...asGiven, url_path }, this.media, context)
      }
      const file = await (kept === null
        ? open(url)
        : open(kept).catch((error) => {
            // Another host keeps it, or somebody made room: it is fetched again.
            if (!isElsewhere(error)) throw error
            kept = null
            return open(url)
          }))
      onProgress(0.1)
      const described = await describeMovie(file, {
        media: this.media,
        tmp: context.tmp,
        mode: options.video_processing ?? this.config.VIDEO_PROCESSING,
        intervalS: options.video_processing_interval ?? this.config.VIDEO_PROCESSING_INTERVAL,
        signal: context.signal
      })
      onProgress(0.9)
      // Each removes what the one before had kept: two at once would miss each other's.
      return await this.#turns.take(key, () =>
        this.#keep({ given, file, described, before, kept }, options, context)
      )
    } finally {
      this.removeTask(id)
    }
  }

  /** Puts what was found on disk, and then into the document; where that fails, nothing of it stays. */
  async #keep(
    { given, file, described, before, kept }: Processed,
    options: ProcessOptions,
    context: RunContext
  ): Promise<StoredDocument> {
    const { key, url } = given
    const { media } = this
    const id = `Movies/${key}`
    const latest = await this.movies.get(id)
    // Another run has kept the movie anew, and removed what this one has read.
    const again = kept === null || latest?.url_path === kept ? kept : keptFile(latest, url)
    const movie =
      again === null && options.saveMovie
        ? await keepMovie(file, url, key, media, context)
        : { path: again ?? url, isNew: false }
    const { path } = movie
    const frames = await media.folder('frames')
    let inPlace: MovieDescription | undefined
    let saved: StoredDocument
    try {
      inPlace = await keepFrames(described, key, media)
      const { pipelineId = null } = context as Partial<ItemContext>
      saved = await this.movies.save({
        _key: key,
        name: given.name,
        url_path: path,
        orig_url: url,
        type: file.isPicture ? 'image' : 'movie',
        ...inPlace,
        mdfs_path: file.isPicture ? [path] : inPlace.mdfs_path,
        context: given.context === '' ? (before?.context ?? '') : given.context,
        status: before?.status ?? 'created',
        source: before?.source ?? 'external',
        updates: (typeof before?.updates === 'number' ? before.updates : 0) + 1,
        ...(pipelineId === null ? {} : { pipeline_id: pipelineId }),
        misc: { config_name: 'default', ...options.misc, execution_time: executionTime(new Date()) }
      })
    } catch (error) {
      // A store that failed to answer may have saved all the same.
      const now = await this.movies.get(id).catch(() => latest)
      const named = Array.isArray(now?.mdfs_path) ? now.mdfs_path : []
      await removeOldFrames(inPlace?.mdfs_path, named, frames)
      if (movie.isNew && now?.url_path !== path) await rm(path, { force: true })
      throw error
    }
    await removeOldFrames(latest?.mdfs_path, inPlace.mdfs_path, frames)
    await removeOldMovie(latest?.url_path, path, key, file, media)
    return saved
  }
}

/** Where an earlier run kept the file of the same address. */
function keptFile(movie: StoredDocument | undefined, url: string): string | null {
  const path = movie?.url_path
  return movie?.orig_url === url && typeof path === 'string' && path !== url ? path : null
}

function isKind(type: unknown): type is 'movie' | 'image' {
  return type === 'movie' || type === 'image'
}

/** As the older system writes it: `2023-01-08_10:20:30`, in UTC. */
function executionTime(now: Date): string {
  return now.toISOString().slice(0, 19).replace('T', '_')
}
