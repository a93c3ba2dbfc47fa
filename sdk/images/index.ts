/**
 * Pictures as models want them, and boxes as pictures want them back.
 *
 * @module
 */
export {
  intersectionOverUnion,
  nonMaxSuppression,
  type ScoredBox,
  type SuppressionOptions
} from './boxes.ts'
export { decodeNanodet, type NanodetGrid } from './decode-nanodet.ts'
export {
  type ImageTensor,
  type ImageTensorData,
  type ImageTensorOptions,
  type ImageTensors,
  imageTensor,
  imageTensors
} from './image-tensor.ts'
export { type Box, type Fit, type Placement, placeImage } from './placement.ts'
