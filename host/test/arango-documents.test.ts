import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openDocumentStores } from '../dist/documents/document-stores.js'
import { createSilentLog } from '../dist/observe/log.js'
import type { ArangoOptions } from '../documents/arango/arango-connection.ts'
import { movieStoreContract } from './movie-store-contract.ts'
import { startArangoDouble } from './start-arango-double.ts'
import { image, token, tokenStoreContract } from './token-store-contract.ts'

const log = createSilentLog()
const double = await startArangoDouble()
t.teardown(double.stop)
let databases = 0

function open(more: Partial<ArangoOptions> = {}) {
  const database = `größe-${databases++} of the double`
  return openDocumentStores.arango({ ...double.server, database, backOffMs: 2, log, ...more })
}

movieStoreContract('arango', open)
tokenStoreContract('arango', open)

async function prepare(t: Test, more: Partial<ArangoOptions> = {}) {
  const stores = await open(more)
  t.teardown(() => stores.close())
  await double.requests()
  return stores
}

/** Asks until `fits` holds: what a ping finds out is told to nobody. */
async function until(fits: () => boolean): Promise<void> {
  while (!fits()) await pause(5)
}

const FAILED = { code: 'HOST_DOCUMENTS_FAILED', statusCode: 503 }
const entries = Array.from({ length: 1200 }, (_, place) => token({ label: `label ${place}` }))

t.test('many tokens are few requests', async (t) => {
  const { tokens } = await prepare(t)
  const more = Array.from({ length: 10_000 }, (_, place) => token({ label: `label ${place}` }))
  await tokens.save(more)
  t.ok((await double.requests()).length <= 40, 'two for each 500')
  await tokens.save(more)
  t.ok((await double.requests()).length <= 40)
})

for (const fault of ['unavailable', 'drop-before', 'drop-after', 'cut']) {
  t.test(`${fault} in the middle of a save: it is done once, whole`, async (t) => {
    const { movies, tokens } = await prepare(t)
    await tokens.save(entries.slice(0, 700))
    for (const method of ['PUT', 'POST', 'PATCH']) {
      await double.fault({ fault, method, path: '/document/Tokens', times: 2 })
    }
    const ids = await tokens.save(entries)
    t.equal(new Set(ids).size, 1200)
    for (let times = 0; times < 2; times++) await double.fault({ fault, path: '/document/Movies' })
    t.match(await movies.save({ _key: 'a', n: { a: 1 } }), { n: { a: 1 } })
    await double.fault({ fault, path: '/document/Movies' })
    t.match(await movies.update('a', { n: { b: 2 } }), { n: { a: 1, b: 2 } })
    await double.fault({ fault, path: '/cursor', times: 2 })
    const { documents } = await tokens.list({ collection: 'Tokens', limit: 5000 })
    t.strictSame(
      new Set(documents.map(({ _id }) => _id)),
      new Set(ids),
      'nothing lost, nothing twice'
    )
  })
}

t.test('an answer that was lost is not taken for another: a create is not repeated', async (t) => {
  const { movies } = await prepare(t)
  await double.fault({ fault: 'drop-after', path: '/document/Movies' })
  await t.rejects(movies.create({ name: 'once' }), FAILED)
  const { documents } = await movies.list({ limit: 10 })
  t.match(documents, [{ name: 'once' }])
  t.equal(documents.length, 1)
  await double.fault({ fault: 'unavailable', path: '/document/Movies' })
  t.match(await movies.create({ name: 'twice' }), { name: 'twice' }, 'what was not done is')
  t.equal((await movies.list({ limit: 10 })).documents.length, 2)
})

t.test('others who write the same documents only cost time', async (t) => {
  const { movies, tokens } = await prepare(t)
  await double.fault({ fault: 'conflict', method: 'POST', times: 3 })
  t.match(await movies.create({ _key: 'a' }), { _key: 'a' })
  await double.fault({ fault: 'conflict', method: 'PATCH', times: 3 })
  t.match(await movies.update('a', { n: 1 }), { n: 1 })
  await double.fault({ fault: 'conflict', method: 'POST', times: 2 })
  t.equal((await tokens.save(entries)).length, 1200)
  await double.fault({ fault: 'conflict', method: 'PATCH', times: 1000 })
  await t.rejects(movies.update('a', { n: 2 }), { ...FAILED, message: /others/ }, 'bounded')
  await double.calm()
})

t.test('an outage is bounded, told, and passes', async (t) => {
  const lines: string[] = []
  const telling = pino({}, { write: (line: string) => lines.push(line) })
  const stores = await prepare(t, { tries: 3, pingMs: 10, log: telling })
  const { movies, tokens } = stores
  await movies.create({ _key: 'a' })
  t.equal(stores.failure, null)
  await double.listening(false)
  await t.rejects(movies.get('a'), { ...FAILED, message: /ECONNREFUSED/ })
  t.match(stores.failure, { ...FAILED, message: /127\.0\.0\.1.*ECONNREFUSED/ })
  await t.rejects(tokens.save([token()]), FAILED)
  await double.listening(true)
  await until(() => stores.failure === null)
  t.match(await movies.get('a'), { _key: 'a' })
  await double.listening(false)
  await until(() => stores.failure !== null)
  t.pass('who asks nothing hears of it too')
  await double.listening(true)
  await until(() => stores.failure === null)
  t.equal(lines.filter((line) => line.includes('works again')).length, 2)
  t.notOk(lines.some((line) => line.includes('größe:7') || line.includes('Basic')))
})

t.test('a create that reached nobody is tried again', async (t) => {
  const { movies } = await prepare(t, { tries: 50, backOffMs: 20 })
  await double.listening(false)
  const refused = new Promise<void>((resolve) => {
    const told = () => {
      unsubscribe('undici:client:connectError', told)
      resolve()
    }
    subscribe('undici:client:connectError', told)
  })
  const creating = movies.create({ _key: 'a' })
  await refused
  await double.listening(true)
  t.match(await creating, { _key: 'a' })
})

t.test('a server that comes later is waited for', async (t) => {
  await double.listening(false)
  const stores = await prepare(t, { tries: 2, pingMs: 10 })
  t.match(stores.failure, FAILED)
  await t.rejects(stores.movies.create({ _key: 'a' }), FAILED)
  await double.listening(true)
  await until(() => stores.failure === null)
  t.match(await stores.movies.create({ _key: 'a' }), { _key: 'a' })
})

t.test('a request that takes too long is given up', async (t) => {
  const { movies } = await prepare(t, { timeoutMs: 50, tries: 2 })
  await double.fault({ fault: 'delay', ms: 60_000, method: 'PUT' })
  await t.rejects(movies.get('a'), FAILED)
  t.equal(await movies.get('a'), undefined)
})

t.test('who is refused hears as whom, and the password is said nowhere', async (t) => {
  const wrong = { password: 'secret-number-9' }
  const error = await open({ ...wrong, user: 'root' }).then(
    () => t.fail('it was let in'),
    (error) => error
  )
  t.match(error, { ...FAILED, message: /user 'root' was refused.*not authorized/ })
  t.notMatch(JSON.stringify(error) + error.stack + error.message, /secret|Basic/)
  await double.addUser('limited', 'größe', { other: 'rw' })
  const limited = { user: 'limited', password: 'größe' }
  const missing = /user 'limited'.*database 'never made' is missing, and may not be made/
  await t.rejects(open({ ...limited, database: 'never made' }), { ...FAILED, message: missing })
})

t.test('a reader may read, and hears that it may not write', async (t) => {
  const database = 'for readers'
  const writer = await prepare(t, { database })
  await writer.movies.create({ _key: 'a' })
  await double.addUser('reader', '', { [database]: 'ro' })
  const reader = { database, user: 'reader', password: '' }
  const stores = await prepare(t, reader)
  t.match(await stores.movies.get('a'), { _key: 'a' })
  await t.rejects(stores.movies.create({ _key: 'b' }), { ...FAILED, message: /reader.*read only/ })
  t.equal(stores.failure, null, 'what can be read is no outage')
  t.match(await stores.movies.get('a'), { _key: 'a' })
  await double.drop(database, 'Tokens')
  const message = /the collection 'Tokens' is missing, and may not be made/
  await t.rejects(open(reader), { ...FAILED, message })
})

t.test('what is dropped meanwhile is made again', async (t) => {
  const database = 'dropped'
  const { movies } = await prepare(t, { database })
  await movies.create({ _key: 'a' })
  await double.drop(database)
  await t.rejects(movies.create({ _key: 'a' }), { ...FAILED, message: /dropped/ })
  t.match(await movies.create({ _key: 'a' }), { _key: 'a' })
  await double.drop(database, 'Movies')
  await t.rejects(movies.create({ _key: 'a' }), FAILED)
  t.match(await movies.create({ _key: 'a' }), { _key: 'a' })
})

t.test('two hosts that come first at once both find what they need', async (t) => {
  const database = 'for two'
  const [one, two] = await Promise.all([prepare(t, { database }), prepare(t, { database })])
  await one.movies.create({ _key: 'a' })
  t.match(await two.movies.get('a'), { _key: 'a' })
  await Promise.all([one, two].map(({ movies }, n) => movies.update('a', { [`n${n}`]: n })))
  t.match(await one.movies.get('a'), { n0: 0, n1: 1 })
  const saving = [one, two, one, two].map(({ tokens }, place) =>
    tokens.save([token({ expert: `expert ${place % 2}`, meta_label: { [place]: true } })])
  )
  const ids = (await Promise.all(saving)).flat()
  t.equal(new Set(ids).size, 2)
  const { documents } = await two.tokens.list({ collection: 'Tokens', limit: 9 })
  t.strictSame(
    documents.map(({ meta_label }) => meta_label).sort((a) => ('0' in (a as object) ? -1 : 1)),
    [
      { 0: true, 2: true },
      { 1: true, 3: true }
    ]
  )
})

t.test("a token is not written into what has become another expert's meanwhile", async (t) => {
  const database = 'meanwhile'
  const { tokens } = await prepare(t, { database })
  const own = token({ expert: 'a', meta_label: { of: 'a' } })
  await tokens.save([own])
  await double.fault({ fault: 'hold', method: 'PATCH' })
  const saving = tokens.save([own])
  const seen: string[] = []
  while (!seen.some((line) => line.startsWith('PATCH'))) seen.push(...(await double.requests()))
  await double.drop(database, 'Tokens')
  const other = await prepare(t, { database })
  const theirs = token({ expert: 'b', meta_label: { of: 'b' } })
  t.strictSame(await other.tokens.save([theirs]), ['Tokens/305:0:0:car'])
  await double.calm()
  t.strictSame(await saving, ['Tokens/305:0:0:car:a'])
  const { documents } = await tokens.list({ collection: 'Tokens', limit: 9 })
  t.match(documents, [theirs, own])
})

t.test('a store that is closed says so, also who waits', async (t) => {
  const stores = await open({ tries: 100, backOffMs: 60_000 })
  await double.fault({ fault: 'unavailable', method: 'PUT' })
  const waiting = t.rejects(stores.movies.get('a'), { ...FAILED, message: /closed/ })
  const seen: string[] = []
  while (!seen.some((line) => line.startsWith('PUT'))) seen.push(...(await double.requests()))
  await stores.close()
  await waiting
  await t.rejects(stores.tokens.saveImages([image()]), { ...FAILED, message: /closed/ })
})

t.test('the double refuses what it does not know', async (t) => {
  await prepare(t, { database: 'strict' })
  const { host, port, user, password } = double.server
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const ask = async (path: string, body?: object, headers: object = { authorization }) => {
    const asked = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
    const answer = await fetch(`http://${host}:${port}${path}`, {
      ...asked,
      headers: headers as Record<string, string>
    })
    return { status: answer.status, ...((await answer.json()) as object) }
  }
  const documents = '/_db/strict/_api/document/Movies'
  const query = 'FOR d IN @@collection RETURN d'
  const refusals: Array<[Promise<object>, number, number]> = [
    [ask('/_db/strict/_api/version', undefined, {}), 401, 11],
    [ask('/_db/other/_api/version'), 404, 1228],
    [ask('/_db/strict/_api/unknown'), 404, 404],
    [ask('/_db/strict/_api/document/Other', [{}]), 404, 1203],
    [ask(`${documents}?unknown=true`, [{}]), 400, 400],
    [ask('/_db/strict/_api/collection', { name: 'Movies' }), 409, 1207],
    [ask('/_db/strict/_api/collection', { name: 'a b' }), 400, 1208],
    [ask('/_db/strict/_api/cursor', { query, bindVars: { '@collection': 'Movies' } }), 400, 1501],
    [ask('/_db/strict/_api/cursor/17', {}), 404, 1600],
    [ask('/_db/strict/_api/database', { name: 'more' }), 403, 1230]
  ]
  for (const [answer, status, errorNum] of refusals) {
    t.match(await answer, { status, errorNum, error: true, code: status })
  }
  t.match(await ask(documents, [{ _key: 'a/b' }, { _key: 'a' }, { _key: 'a' }, 7]), {
    status: 202,
    0: { error: true, errorNum: 1221 },
    1: { _id: 'Movies/a' },
    2: { error: true, errorNum: 1210 },
    3: { error: true, errorNum: 1227 }
  })
  const match = { authorization, 'if-match': '"other"' }
  t.match(await ask(`${documents}/a`, undefined, match), { status: 412, errorNum: 1200 })
})
