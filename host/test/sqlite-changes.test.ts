import { join } from 'node:path'
import t from 'tap'
import { SqliteChanges } from '../dist/documents/sqlite/sqlite-changes.js'
import { SqliteDocuments } from '../dist/documents/sqlite/sqlite-documents.js'
import { createSilentLog } from '../dist/observe/log.js'
import type { DocumentStores } from '../documents/document-stores.ts'
import { changeStoreContract } from './change-store-contract.ts'

const folder = t.testdir()
const log = createSilentLog()
let files = 0

async function open(path = join(folder, `${files++}.sqlite`)) {
  const documents = await SqliteDocuments.open({ path, log })
  const changes = new SqliteChanges(documents)
  const stores = { changes, close: () => documents.close() } as unknown as DocumentStores
  const put = ({ _key: key, ...fields }: { _key: string }) =>
    documents.write({ collection: 'changes', keys: [key], decide: () => ({ key, fields }) })
  return { stores, put }
}

changeStoreContract('sqlite', open)

t.test('counters are there after a restart', async (t) => {
  const path = join(t.testdir(), 'documents.sqlite')
  const before = await open(path)
  await before.stores.changes.advance('movies', 7)
  await before.stores.close()
  const after = await open(path)
  t.teardown(() => after.stores.close())
  t.match(await after.stores.changes.versions(), [{ movies: 7 }])
})
