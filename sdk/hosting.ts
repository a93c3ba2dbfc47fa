/**
 * What a host needs of the SDK and an expert's author does not. It may change with any version.
 *
 * @module
 */
export { BaseExpert, baseExpertMark } from './base-expert.ts'
export { encodeAnswer } from './encode-answer.ts'
export { collectRoutes, type DeclaredRoute, ExpertReply } from './expert-api.ts'
export { createMedia, defaultMediaPolicy } from './media/create-media.ts'
export type { MediaPolicy } from './media/media.ts'
export { type ExpertParam, movieAlias } from './records.ts'
export {
  ImageParam,
  PredictImageParam,
  PredictImagesParam,
  PredictParam
} from './requests.ts'
export { checkRoutes } from './route-rules.ts'
export { attachServices, type ExpertServices } from './services.ts'
export { type Checked, compileSchema, type Issue, SchemaError } from './validation/index.ts'
