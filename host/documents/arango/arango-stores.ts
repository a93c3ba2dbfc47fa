import type { DocumentStores } from '../document-stores.ts'
import { ArangoChanges } from './arango-changes.ts'
import { ArangoConnection, type ArangoOptions } from './arango-connection.ts'
import { ArangoDocuments } from './arango-documents.ts'
import { ArangoMovies } from './arango-movies.ts'
import { ArangoPipelines } from './arango-pipelines.ts'
import { ArangoTokens } from './arango-tokens.ts'

/**
 * Connects to an ArangoDB server, whose collections other tools may use too.
 *
 * @param options.now - epoch milliseconds; leases of items go by it, so that hosts must agree about it
 * @throws HostError HOST_DOCUMENTS_FAILED, as `ArangoConnection.open`
 */
export async function openArangoStores({
  now = Date.now,
  ...options
}: ArangoOptions & { now?: () => number }): Promise<DocumentStores> {
  const connection = await ArangoConnection.open(options)
  const documents = new ArangoDocuments(connection)
  return {
    movies: new ArangoMovies(documents),
    tokens: new ArangoTokens(documents),
    pipelines: new ArangoPipelines(documents, now),
    changes: new ArangoChanges(documents),
    get failure() {
      return connection.failure
    },
    close: () => connection.close()
  }
}
