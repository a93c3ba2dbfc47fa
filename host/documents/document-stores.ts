import { openArangoStores } from './arango/arango-stores.ts'
import type { ChangeStore } from './change-store.ts'
import type { MovieStore } from './movie-store.ts'
import type { PipelineStore } from './pipeline-store.ts'
import { openSqliteStores } from './sqlite/sqlite-stores.ts'
import type { TokenStore } from './token-store.ts'

/** Where movies, tokens and pipelines are kept, in one place for all. */
export interface DocumentStores {
  movies: MovieStore
  tokens: TokenStore
  pipelines: PipelineStore
  changes: ChangeStore
  /** Why they cannot be used at the moment, or null; an outage of a server passes. */
  readonly failure: Error | null
  close(): Promise<void>
}

/** The drivers: one is one line here, and one test of each contract suite. */
export const openDocumentStores = {
  /** A file of this host. */
  sqlite: openSqliteStores,
  /** A server that other hosts and other tools use too. */
  arango: openArangoStores
}

export type DocumentStoreName = keyof typeof openDocumentStores
