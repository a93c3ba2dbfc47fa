import type { HostConfig } from '../config/host-config.ts'
import type { DocumentStores } from '../documents/document-stores.ts'
import type { JobService } from '../jobs/job-service.ts'
import type { JobStore } from '../jobs/job-stores.ts'
import type { EventFeed } from '../observe/event-feed.ts'
import type { Logger } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { RouteTallies } from '../observe/request-tally.ts'
import type { PipelineService } from '../pipelines/pipeline-service.ts'
import type { Expert } from '../registry/expert.ts'
import type { ExpertContract } from '../registry/expert-contract.ts'
import type { Registry } from '../registry/registry.ts'
import type { WebhookSender } from '../webhooks/webhook-sender.ts'
import type { Front } from './front.ts'

/** What the routes of an expert stand on. */
export interface ExpertRouteContext {
  expert: Expert
  contract: ExpertContract
  jobs: JobService
  config: HostConfig
  log: Logger
  /** Uploads are kept under it until their job ends. */
  uploadDir: string
  /** Where its requests are counted. */
  tallies: RouteTallies
}

/** What the host's own routes stand on. */
export interface HostRouteContext {
  config: HostConfig
  registry: Registry
  jobs: JobService
  jobStore: JobStore
  documents: DocumentStores
  pipelines: PipelineService
  webhooks: WebhookSender
  events: EventFeed
  metrics: Metrics
  log: Logger
  front: Front
  version: string
}
