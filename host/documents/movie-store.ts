import type { DocumentFields, PageQuery, StoredDocument } from './stored-document.ts'

/** Which movies a listing gives; a field that is absent is not asked about. */
export interface MovieQuery extends PageQuery {
  status?: string | undefined
  /** The movie's `File`. */
  file?: string | undefined
  pipeline_id?: string | undefined
}

/**
 * The documents of movies, in the collection `Movies`. A driver passes `host/test/movie-store-contract.ts`.
 *
 * A movie is given and taken as a copy. Ids are `Movies/<key>` or the bare key. What a method wrote is
 * kept, as durably as the driver keeps anything, when it resolves. Each may throw HostError
 * HOST_DOCUMENTS_FAILED (503) or HOST_STORE_FULL (503), and HOST_DOCUMENT_INVALID (422) for what no
 * document can be.
 */
export interface MovieStore {
  /**
   * Writes a new movie, under its `_key` or one that the store chooses.
   * @returns the movie with `_id`, `_key` and `_rev`
   * @throws HostError HOST_DOCUMENT_EXISTS (409) when the key is taken
   */
  create(movie: DocumentFields): Promise<StoredDocument>
  /** The movie, or undefined when there is none. */
  get(id: string): Promise<StoredDocument | undefined>
  /**
   * Writes a movie over the one of its `_key`, or as a new one. Objects are merged deeply, arrays and all
   * else are replaced, a null is kept; writers of different fields never lose each other's.
   */
  save(movie: DocumentFields): Promise<StoredDocument>
  /** Merges `patch` like `save`; undefined when there is no such movie. `_key`, `_id` and `_rev` in it are ignored. */
  update(id: string, patch: DocumentFields): Promise<StoredDocument | undefined>
  /**
   * A page of the movies, by key. What was there all the time is given once, whatever is written
   * meanwhile; `next` is undefined when the page is the last.
   */
  list(query: MovieQuery): Promise<{ documents: StoredDocument[]; next: string | undefined }>
  /** Like `list`, but only `_id`s. */
  ids(query: MovieQuery): Promise<{ ids: string[]; next: string | undefined }>
  /**
   * What another collection knows of one scene element: its documents of that `movie_id` and
   * `scene_element`, laid over each other by key. Undefined when there are none, or no such collection.
   */
  scene(
    collection: string,
    movieId: string,
    sceneElement: number
  ): Promise<StoredDocument | undefined>
}
