/**
 * What a host checks requests and packages with. It may change with any version.
 *
 * @module
 */
export {
  ImageParam,
  JobOptions,
  PredictImageParam,
  PredictImagesParam,
  PredictParam
} from './requests.ts'
export { checkRoutes } from './route-rules.ts'
export { type Checked, compileSchema, type Issue, SchemaError } from './validation/index.ts'
