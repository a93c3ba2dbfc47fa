import type { ItemContext, RunContext } from './context.ts'
import type { ItemAnswer } from './item-outcome.ts'

/** What takes the movies of a pipeline, one by one; an expert is one. */
export interface PipelineTask {
  /** The key under `tasks` of the document and under each movie's `status`. */
  getName(): string
  /** The movie succeeded when `ok` is true and there is no `error`; whatever is thrown is a failure. */
  processMovie(movieId: string, context: ItemContext): Promise<ItemAnswer> | ItemAnswer
}

/** Makes the context of one movie; `close` removes its folder. */
export type MakeItemContext = (options: {
  signal: AbortSignal
  /** The job that the movie is a part of; absent, it is one of its own. */
  jobId: string | undefined
}) =>
  | { context: RunContext; close(): Promise<void> }
  | Promise<{ context: RunContext; close(): Promise<void> }>

/** What is recorded of an expert with each movie that it takes. */
export interface RunMark {
  expert_version: string | null
  model_sha256: string | null
}
