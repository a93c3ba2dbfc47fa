import { ArangoConnection, type ArangoOptions } from './arango-connection.ts'
import { ArangoDocuments } from './arango-documents.ts'
import { ArangoMovies } from './arango-movies.ts'
import { ArangoTokens } from './arango-tokens.ts'
import type { DocumentStores } from './document-stores.ts'

/**
 * Connects to an ArangoDB server, whose collections other tools may use too.
 *
 * @throws HostError HOST_DOCUMENTS_FAILED, as `ArangoConnection.open`
 */
export async function openArangoStores(options: ArangoOptions): Promise<DocumentStores> {
  const connection = await ArangoConnection.open(options)
  const documents = new ArangoDocuments(connection)
  return {
    movies: new ArangoMovies(documents),
    tokens: new ArangoTokens(documents),
    get failure() {
      return connection.failure
    },
    close: () => connection.close()
  }
}
