import t from 'tap'
import { ArangoChanges } from '../dist/documents/arango/arango-changes.js'
import { ArangoConnection } from '../dist/documents/arango/arango-connection.js'
import { ArangoDocuments } from '../dist/documents/arango/arango-documents.js'
import { createSilentLog } from '../dist/observe/log.js'
import type { DocumentStores } from '../documents/document-stores.ts'
import { changeStoreContract } from './change-store-contract.ts'
import { startArangoDouble } from './start-arango-double.ts'

const log = createSilentLog()
const double = await startArangoDouble()
t.teardown(double.stop)
let databases = 0

async function open(database = `changes-${databases++}`) {
  const options = { ...double.server, database, backOffMs: 2, log }
  const connection = await ArangoConnection.open(options)
  const documents = new ArangoDocuments(connection)
  const changes = new ArangoChanges(documents)
  const stores = { changes, close: () => connection.close() } as unknown as DocumentStores
  const put = (document: object) =>
    documents.insert('changes', [{ ...document }], { isRepeatable: true })
  return { stores, put }
}

changeStoreContract('arango', open)

t.test('hosts that raise the same counter at once lose nothing', async (t) => {
  const hosts = await Promise.all([1, 2, 3].map(() => open('shared')))
  t.teardown(() => Promise.all(hosts.map(({ stores }) => stores.close())))
  const all = hosts.flatMap(({ stores }) => Array.from({ length: 10 }, () => stores.changes))
  await Promise.all(all.map((changes) => changes.advance('movies')))
  t.match(await hosts[0]?.stores.changes.versions(), [{ movies: 30 }])
})

for (const fault of ['unavailable', 'drop-before', 'drop-after', 'cut', 'conflict']) {
  t.test(`${fault} in the middle: a counter is raised to its version all the same`, async (t) => {
    const { stores } = await open()
    t.teardown(() => stores.close())
    await double.fault({ fault, path: '/document/changes', times: 2 })
    t.equal(await stores.changes.advance('Actors', 7), 7)
    await double.fault({ fault, path: '/document/changes', times: 2 })
    t.equal(await stores.changes.advance('Actors', 9), 9)
    t.match(await stores.changes.versions(), [{ Actors: 9 }])
    await double.calm()
  })
}
