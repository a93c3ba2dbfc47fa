import { join } from 'node:path'
import t from 'tap'
import { openDocumentStores } from '../dist/documents/document-stores.js'
import { createSilentLog } from '../dist/observe/log.js'
import { movieStoreContract } from './movie-store-contract.ts'
import { token, tokenStoreContract } from './token-store-contract.ts'

const folder = t.testdir()
const log = createSilentLog()
let folders = 0

const make = () => openDocumentStores.sqlite({ dir: join(folder, `${folders++}`), log })

movieStoreContract('sqlite', make)
tokenStoreContract('sqlite', make)

t.test('what was written is there after a restart, and keys go on growing', async (t) => {
  const dir = join(t.testdir(), 'made', 'when missing')
  const before = await openDocumentStores.sqlite({ dir, log })
  const movie = await before.movies.create({ name: 'größer' })
  await before.tokens.save([token({ label: 'dog' })])
  const writing = before.movies.create({ name: 'last' })
  await before.close()
  const last = await writing
  const after = await openDocumentStores.sqlite({ dir, log })
  t.teardown(() => after.close())
  t.strictSame(await after.movies.get(movie._id), movie)
  t.strictSame(await after.movies.get(last._id), last, 'what was asked before the end is done')
  t.match(await after.tokens.list({ collection: 'Tokens', limit: 2 }), {
    documents: [{ label: 'dog' }]
  })
  const next = await after.movies.create({})
  t.ok(Number(next._key) > Number(last._key))
  t.ok(Number(next._rev) > Number(last._rev), 'no revision comes twice')
})

t.test('a folder belongs to one host, and a store that is closed says so', async (t) => {
  const dir = t.testdir()
  const stores = await openDocumentStores.sqlite({ dir, log })
  await t.rejects(openDocumentStores.sqlite({ dir, log }), /NEBULA_DATA_DIR/)
  t.equal(stores.failure, null)
  await stores.close()
  const failed = { code: 'HOST_DOCUMENTS_FAILED', statusCode: 503, message: /closed/ }
  await t.rejects(stores.movies.get('a'), failed)
  await t.rejects(stores.movies.save({ _key: 'a' }), failed)
  await t.rejects(stores.tokens.save([token()]), failed)
})

t.test('a change that is refused takes no other along', async (t) => {
  const stores = await openDocumentStores.sqlite({ dir: t.testdir(), log })
  t.teardown(() => stores.close())
  await stores.movies.create({ _key: 'a', n: 0 })
  const outcomes = await Promise.allSettled([
    stores.movies.create({ _key: 'b' }),
    stores.movies.create({ _key: 'a', n: 1 }),
    stores.movies.update('a', { m: 1 })
  ])
  t.strictSame(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled']
  )
  t.match(await stores.movies.get('a'), { n: 0, m: 1 })
})
