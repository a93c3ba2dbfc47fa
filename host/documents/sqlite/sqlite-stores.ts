import { join } from 'node:path'
import { makeStoreFolder } from '../../lasting-folder.ts'
import type { Logger } from '../../observe/log.ts'
import { StoreInUseError } from '../../sqlite/store-error.ts'
import type { DocumentStores } from '../document-stores.ts'
import { SqliteChanges } from './sqlite-changes.ts'
import { SqliteDocuments } from './sqlite-documents.ts'
import { SqliteMovies } from './sqlite-movies.ts'
import { SqlitePipelines } from './sqlite-pipelines.ts'
import { SqliteTokens } from './sqlite-tokens.ts'

export interface SqliteStoresOptions {
  /** Made when it is missing; `documents.sqlite` is kept there. */
  dir: string
  log: Logger
  /** The clock of leases, epoch milliseconds. */
  now?: () => number
}

/**
 * Opens the documents of a folder, which belong to this host alone.
 *
 * @throws Error saying which, when another host has the file; the other errors of `SqliteStore.open`
 */
export async function openSqliteStores({
  dir,
  log,
  now
}: SqliteStoresOptions): Promise<DocumentStores> {
  await makeStoreFolder(dir, log)
  const documents = await open(join(dir, 'documents.sqlite'), log)
  const pipelines = await openPipelines(documents, now)
  return {
    movies: new SqliteMovies(documents),
    tokens: new SqliteTokens(documents),
    pipelines,
    changes: new SqliteChanges(documents),
    get failure() {
      return documents.failure
    },
    close: async () => {
      await pipelines.settled()
      await documents.close()
    }
  }
}

async function openPipelines(
  documents: SqliteDocuments,
  now: (() => number) | undefined
): Promise<SqlitePipelines> {
  try {
    return await SqlitePipelines.open(documents, now)
  } catch (error) {
    await documents.close()
    throw error
  }
}

async function open(path: string, log: Logger): Promise<SqliteDocuments> {
  try {
    return await SqliteDocuments.open({ path, log })
  } catch (error) {
    if (!(error instanceof StoreInUseError)) throw error
    const advice = 'a data folder belongs to one host, NEBULA_DATA_DIR gives this one its own'
    throw new Error(`${error.message}: ${advice}`, { cause: error })
  }
}
