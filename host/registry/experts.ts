import type { Expert } from './expert.ts'

/** The experts of a host, for those who only use them. */
export interface Experts {
  /** Those that cannot be served included. */
  readonly all: readonly Expert[]
  get(name: string): Expert | undefined
}
