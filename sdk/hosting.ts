/**
 * What both sides of an expert's process need of the SDK and its author does not. Small on purpose: each
 * expert's process loads it. It may change with any version.
 *
 * @module
 */
export { BaseExpert } from './base-expert.ts'
export { baseExpertMark } from './base-expert-mark.ts'
export { type Ask, Movies, Tokens } from './documents.ts'
export { encodeAnswer } from './encode-answer.ts'
export { ExpertError } from './errors.ts'
export { collectRoutes, type DeclaredRoute, ExpertReply } from './expert-api.ts'
export { itemOutcome } from './item-outcome.ts'
export { allowedHosts } from './media/allowed-hosts.ts'
export {
  type AddressRules,
  checkedAddresses,
  type Resolve,
  systemResolve
} from './media/checked-addresses.ts'
export { createMedia, defaultMediaPolicy } from './media/create-media.ts'
export type { MediaPolicy } from './media/media.ts'
export { pinnedLookup } from './media/pinned-lookup.ts'
export { shownUrl } from './media/shown-url.ts'
export { movieKeyOf, movieNameOf, namesPicture } from './movies/movie-key.ts'
export type { MakeItemContext, RunMark } from './pipeline-task.ts'
export { Pipelines } from './pipelines.ts'
export { type ExpertParam, movieAlias } from './records.ts'
export { attachServices, type ExpertServices } from './services.ts'
export { signWebhook, webhookSecrets } from './webhook-signature.ts'
