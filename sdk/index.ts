export { type Static, type TSchema, Type } from 'typebox'
export { BaseExpert, type ExpertStatus, type ExpertTask } from './base-expert.ts'
export type { ExpertContext, ExpertLog, InitContext, RunContext } from './context.ts'
export type { DocumentPage, Movies, StoredDocument, Tokens } from './documents.ts'
export { ExpertError, type ExpertErrorCode, isExpertError } from './errors.ts'
export type {
  ExpertApi,
  ExpertReply,
  ExpertRequest,
  RouteOptions,
  UploadedFile
} from './expert-api.ts'
export type { DecodedImage, DecodeOptions, Media } from './media/media.ts'
export { ExpertParam, ImageRecord, ImageToken, TokenRecord } from './records.ts'
