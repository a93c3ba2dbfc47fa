import { randomUUID } from 'node:crypto'
import { Database } from 'arangojs'
import t from 'tap'
import { openDocumentStores } from '../dist/documents/document-stores.js'
import { createSilentLog } from '../dist/observe/log.js'
import { movieStoreContract } from './movie-store-contract.ts'
import { pipelineStoreContract } from './pipeline-store-contract.ts'
import { tokenStoreContract } from './token-store-contract.ts'

const { ARANGO_URL, ARANGO_USER: user = 'root', ARANGO_PASSWORD: password = '' } = process.env

if (ARANGO_URL === undefined) {
  const skip = 'ARANGO_URL names no server (ARANGO_USER, ARANGO_PASSWORD: who may make databases)'
  t.test('the contracts on a real server', { skip }, () => {})
} else {
  const { hostname, port } = new URL(ARANGO_URL)
  const server = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 8529) }
  const make = async (options: { now?: () => number } = {}) => {
    // One for each test, and none stays.
    const database = `nebula-test-${randomUUID()}`
    const log = createSilentLog()
    const stores = await openDocumentStores.arango({
      ...server,
      database,
      user,
      password,
      log,
      ...options
    })
    const close = async () => {
      await stores.close()
      const system = new Database({ url: ARANGO_URL, auth: { username: user, password } })
      await system.dropDatabase(database)
    }
    return { ...stores, close }
  }
  movieStoreContract('ArangoDB', make)
  tokenStoreContract('ArangoDB', make)
  pipelineStoreContract('ArangoDB', make)
}
