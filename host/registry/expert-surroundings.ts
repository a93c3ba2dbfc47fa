import type { MediaPolicy } from '@nebula-experts/sdk/hosting'
import type { Logger } from '../observe/log.ts'
import type { CallObserver, ProcessObserver } from '../observe/observers.ts'
import type { Expert } from './expert.ts'
import type { ExpertContract } from './expert-contract.ts'

/** What an expert needs of the host it lives in. */
export interface ExpertSurroundings {
  log: Logger
  /** Values of declared config keys are read from it. */
  env: NodeJS.ProcessEnv
  media: MediaPolicy
  threadPoolSize: number
  /** This host run's own folder. */
  runDir: string
  /** Kept between runs. */
  cacheDir: string
  logLevel: string
  /**
   * Builds the routes of a version that is ready. What it gives is called in the very step in which the
   * version takes over, and puts them in place.
   */
  prepareRoutes: (expert: Expert, contract: ExpertContract) => Promise<() => void>
  /** Answers what an expert asks its host: arguments and answer are JSON. @throws HostError */
  answer: (expert: string, what: string, args: string) => Promise<string>
  calls: CallObserver
  processes: ProcessObserver
  /** Told of every change of state. */
  onState: (expert: Expert) => void
}
