import type { MediaPolicy } from '@nebula-experts/sdk/hosting'
import type { LogLevel } from '../observe/log.ts'
import type { ExpertSettings } from './config-schema.ts'

/** How the host reaches an ArangoDB server. */
export interface ArangoConfig {
  /** `ARANGO_HOST`: a name, or an `http(s)://` URL. */
  host: string
  port: number
  database: string
  user: string
  password: string
}

/** What a host does: it serves, or runs its one expert once, without a port, and ends. */
export type RunMode = 'service' | 'batch' | 'task'

/** Everything the host was told, from file and environment, checked and complete. */
export interface HostConfig {
  /** The file that was read, or null. */
  configPath: string | null
  /** Folders whose sub-folders are plugins, absolute, in order of precedence. */
  pluginDirs: string[]
  /** `EXPERT_PLUGINS`: names, folders or packages; null selects all that the folders hold. */
  selected: string[] | null
  /** Where relative folders of `EXPERT_PLUGINS` and installed packages are looked up. */
  baseDir: string
  /** `EXPERT_DEFAULT`: the expert that also answers at the root, or null. */
  defaultExpert: string | null
  experts: Record<string, ExpertSettings>
  dataDir: string
  port: number
  host: string
  logLevel: LogLevel
  /** `NEBULA_ADMIN_KEY`; null lets only loopback change things. */
  adminKey: string | null
  /** `EXPERT_THREAD_POOL_SIZE`: runs at once in one expert instance, unless `concurrency` says else. */
  threadPoolSize: number
  /** `MAX_WAIT_PREDICT_TIME`, milliseconds. */
  maxWaitMs: number
  /** `JOBS_EXPIRATION`, milliseconds, from a job's end. */
  jobsExpirationMs: number
  /** `NEBULA_STORE`: where accepted jobs and documents are kept; of `memory` nothing outlives the host. */
  store: 'sqlite' | 'memory'
  /** `REDIS_URL`: the Redis that keeps accepted jobs for all hosts which share it, or null. Has credentials. */
  redisUrl: string | null
  /** `NEBULA_JOB_STORE_MAX_BYTES`; null for as many as the disk has. */
  jobStoreMaxBytes: number | null
  /** `NEBULA_MAX_BACKLOG`: accepted jobs that may wait. */
  maxBacklog: number
  /** `JOBS_ABSENT_EXPIRATION`: how long jobs wait for an expert that does not serve, milliseconds. */
  jobsAbsentMs: number
  /** `NEBULA_WEBHOOK_SECRET`: what webhooks are signed with; none leaves them unsigned. */
  webhookSecrets: string[]
  /** `NEBULA_WEBHOOK_RETRIES`: waits between the tries of a webhook, milliseconds. */
  webhookWaitsMs: number[]
  /** The ArangoDB that keeps movies and tokens (`ARANGO_HOST` and its kin); null for files of this host. */
  arango: ArangoConfig | null
  /** `EXPERT_OUTPUT_ROOT`: the folder under which answers may be written, or null. */
  outputRoot: string | null
  /** Largest JSON body, bytes. */
  maxBodyBytes: number
  /** Largest upload, bytes, all its files together. */
  maxUploadBytes: number
  /** `EXPERT_RUN_PIPELINE`: pipelines that other tools put into the store are run too. */
  runPipeline: boolean
  /** `EXPERT_RUN_MODE`. */
  runMode: RunMode
  /** `PIPELINE_ID`: the pipeline that `EXPERT_RUN_MODE=task` works on, or null. */
  pipelineId: string | null
  media: MediaPolicy
  /** The environment that declared config keys are read from. */
  env: NodeJS.ProcessEnv
}
