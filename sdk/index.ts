export { type Static, type TSchema, Type } from 'typebox'
export { BaseExpert, type ExpertStatus, type ExpertTask } from './base-expert.ts'
export type {
  ExpertContext,
  ExpertLog,
  InitContext,
  ItemContext,
  PipelineContext,
  RunContext
} from './context.ts'
export type { DocumentPage, Movies, StoredDocument, Tokens } from './documents.ts'
export { ExpertError, type ExpertErrorCode, isExpertError } from './errors.ts'
export type {
  ExpertApi,
  ExpertReply,
  ExpertRequest,
  RouteOptions,
  UploadedFile
} from './expert-api.ts'
export type { HandledTask, HandleOptions } from './handle-task.ts'
export type { ItemAnswer } from './item-outcome.ts'
export type {
  DecodedImage,
  DecodeOptions,
  DownloadedFile,
  FrameOptions,
  Media,
  MediaInfo,
  SceneChange,
  SceneChanges,
  VideoFrame
} from './media/media.ts'
export { syncFolder } from './media/sync-folder.ts'
export { FrameChoice } from './movies/frame-choice.ts'
export { type ChooseOptions, type ChosenFrame, MovieFile } from './movies/movie-file.ts'
export { movieKeyOf, movieNameOf } from './movies/movie-key.ts'
export { isElsewhere, openMovieFile } from './movies/open-movie.ts'
export type { SceneElement } from './movies/scene-elements.ts'
export type { PipelineMovie, PipelineMovies } from './pipeline-movies.ts'
export type { PipelineTask } from './pipeline-task.ts'
export type { PipelineMoviesAnswer, Pipelines, PipelineUpdate } from './pipelines.ts'
export { ExpertParam, ImageRecord, ImageToken, TokenRecord } from './records.ts'
export type { MovieChange, WaitOptions } from './version-counters.ts'
export { verifyWebhook, type WebhookHeaders } from './webhook-signature.ts'
