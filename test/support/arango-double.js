// A double of the part of ArangoDB's HTTP interface that the document stores use, as a process of its own:
//
//   node arango-double.js [--port 0] [--user root] [--password '']
//
// prints one line of JSON, `{ url, admin }`, and ends with its standard input. It is strict: a path, a
// parameter or a statement that it does not know is refused, and nothing is done twice or half. It is not
// a database: it knows whole texts of AQL, one kind of index by name only, and keeps all in memory.
//
// `admin` takes orders as JSON:
//   POST /faults { fault, times?, method?, path?, query?, ms? } for the next `times` requests that fit:
//     unavailable (503), delay, hold (until calm), drop-before, drop-after (what was asked for is done), cut (half an answer),
//     conflict (each document, or the statement that writes, 1200)
//   POST /calm forgets the faults that did not happen yet, and lets go what is held
//   POST /listening { on } refuses connections, or takes them again
//   POST /users { name, password, grants: { database: 'rw' | 'ro' | 'none' } }; '*' is for all others
//   POST /drop { database, collection? }
//   GET  /requests the method and path of each since the last look
//   GET  /traffic { received, written: { collection: … } }: the bytes of bodies that came since the last look, and the
//     characters of the documents that were written then

import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { insert, newCollection, nextTick, takeWritten, update } from './arango-double/documents.js'
import { Refusal } from './arango-double/errors.js'
import { LISTINGS } from './arango-double/listing-statements.js'
import { PIPELINE_STATEMENTS } from './arango-double/pipeline-statements.js'
import { Transaction } from './arango-double/transaction.js'

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    user: { type: 'string', default: 'root' },
    password: { type: 'string', default: '' }
  }
})

const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,255}$/

const databases = new Map([['_system', new Map()]])
const users = new Map([[options.user, { password: options.password, grants: { '*': 'rw' } }]])
const cursors = new Map()
let faults = []
const held = []
let requests = []
let received = 0

/** Every statement that is known, by its whole text: the names of its bind variables, and what it does. */
const STATEMENTS = new Map([...LISTINGS, ...PIPELINE_STATEMENTS])

function resultOf({ database, fault }, { query, bindVars = {} }) {
  const statement = STATEMENTS.get(query)
  if (statement === undefined) throw new Refusal('parse', `not a statement of the double: ${query}`)
  const missing = statement.names.find((name) => !(name in bindVars))
  if (missing !== undefined) throw new Refusal('bindMissing', missing)
  const extra = Object.keys(bindVars).find((name) => !statement.names.includes(name))
  if (extra !== undefined) throw new Refusal('bindUndeclared', extra)
  for (const [name, value] of Object.entries(bindVars)) {
    const isName = name.startsWith('@')
    if (isName && typeof value !== 'string') throw new Refusal('bindType', name)
    const isCount = ['count', 'limit'].includes(name)
    if (isCount && !(Number.isSafeInteger(value) && value >= 0)) throw new Refusal('bindType', name)
  }
  const transaction = new Transaction(database, { hasConflict: fault === 'conflict' })
  try {
    return statement.run(transaction, bindVars)
  } catch (error) {
    transaction.rollBack()
    throw error
  }
}

function nextBatch(id, cursor) {
  const result = cursor.rows.splice(0, cursor.batchSize)
  const hasMore = cursor.rows.length > 0
  if (hasMore) cursors.set(id, cursor)
  else cursors.delete(id)
  return { result, hasMore, ...(hasMore ? { id } : {}), cached: false }
}

// --- paths ---

function collectionIn(database, name) {
  const collection = database.get(name)
  if (collection === undefined) throw new Refusal('collectionNotFound', name)
  return collection
}

function described({ id, name }) {
  return { id, name, type: 2, status: 3, isSystem: false, globallyUniqueId: `h/${id}` }
}

const TRUTHS = new Map([
  ['true', true],
  ['false', false]
])

/** The parameters of a query, all of which must be known. */
function parametersOf(search, known) {
  const values = Object.fromEntries(known)
  for (const [name, text] of search) {
    if (!known.has(name)) throw new Refusal('badParameter', `the double knows no parameter ${name}`)
    const value = typeof known.get(name) === 'boolean' ? TRUTHS.get(text) : text
    if (value === undefined) throw new Refusal('badParameter', `${name} is ${text}`)
    values[name] = value
  }
  return values
}

const MERGING = [
  ['keepNull', true],
  ['mergeObjects', true]
]
const ANSWERING = [
  ['waitForSync', false],
  ['returnNew', false]
]

function each(request, documents, { waitForSync, returnNew, ...how }, change) {
  if (!Array.isArray(documents)) throw new Refusal('badParameter', 'the double takes lists only')
  const counts = new Map()
  const body = documents.map((document) => {
    try {
      if (request.fault === 'conflict') throw new Refusal('conflict', 'write-write conflict')
      const { document: after, oldRev } = change(request.collection, document, how)
      const { _id, _key, _rev } = after
      const before = oldRev === undefined ? {} : { _oldRev: oldRev }
      return { _id, _key, _rev, ...before, ...(returnNew ? { new: after } : {}) }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      counts.set(error.errorNum, (counts.get(error.errorNum) ?? 0) + 1)
      return { error: true, errorNum: error.errorNum, errorMessage: error.message }
    }
  })
  const codes = [...counts].map(([number, count]) => `${number}:${count}`).join()
  const headers = codes === '' ? {} : { 'x-arango-error-codes': codes }
  return { status: waitForSync ? 201 : 202, body, headers }
}

/** By method and path behind the database: what it needs of the user, and what it does. */
const ROUTES = [
  [
    'GET /_api/version',
    'none',
    () => ({ status: 200, body: { server: 'arango', license: 'community', version: '3.12.4' } })
  ],
  [
    'GET /_api/database/current',
    'ro',
    ({ databaseName: name }) => ({
      status: 200,
      body: named(200, { result: { id: '1', name, path: '', isSystem: name === '_system' } })
    })
  ],
  [
    'POST /_api/database',
    'rw',
    ({ databaseName, body }) => {
      if (databaseName !== '_system') throw new Refusal('systemOnly')
      if (typeof body?.name !== 'string' || body.name === '') throw new Refusal('illegalName')
      if (databases.has(body.name)) throw new Refusal('duplicateName', body.name)
      databases.set(body.name, new Map())
      for (const { username } of body.users ?? []) {
        const user = users.get(username)
        if (user !== undefined) user.grants[body.name] = 'rw'
      }
      return { status: 201, body: named(201, { result: true }) }
    }
  ],
  [
    'DELETE /_api/database/:name',
    'rw',
    ({ databaseName, name }) => {
      if (databaseName !== '_system') throw new Refusal('systemOnly')
      if (!databases.delete(name)) throw new Refusal('databaseNotFound', name)
      return { status: 200, body: named(200, { result: true }) }
    }
  ],
  [
    'GET /_api/collection/:collection',
    'ro',
    ({ collection }) => ({ status: 200, body: named(200, described(collection)) })
  ],
  [
    'GET /_api/collection/:collection/revision',
    'ro',
    ({ collection }) => ({
      status: 200,
      body: named(200, { ...described(collection), revision: collection.revision })
    })
  ],
  [
    'POST /_api/collection',
    'rw',
    ({ database, body }) => {
      if (typeof body?.name !== 'string' || !NAME.test(body.name)) throw new Refusal('illegalName')
      if (database.has(body.name)) throw new Refusal('duplicateName', body.name)
      const collection = newCollection(body.name)
      database.set(body.name, collection)
      return { status: 200, body: named(200, described(collection)) }
    }
  ],
  [
    'GET /_api/index',
    'ro',
    ({ database, search }) => {
      const { collection: name } = parametersOf(search, new Map([['collection', '']]))
      const made = collectionIn(database, name).indexes.map((fields) => ({
        type: 'persistent',
        fields: JSON.parse(fields)
      }))
      const indexes = [{ id: `${name}/0`, type: 'primary', fields: ['_key'] }, ...made]
      return { status: 200, body: named(200, { indexes }) }
    }
  ],
  [
    'POST /_api/index',
    'rw',
    ({ database, search, body }) => {
      const { collection: name } = parametersOf(search, new Map([['collection', '']]))
      const collection = collectionIn(database, name)
      const areFields = Array.isArray(body?.fields) && body.fields.length > 0
      if (body?.type !== 'persistent' || !areFields) throw new Refusal('badParameter')
      const fields = JSON.stringify(body.fields)
      const isNewlyCreated = !collection.indexes.includes(fields)
      if (isNewlyCreated) collection.indexes.push(fields)
      const status = isNewlyCreated ? 201 : 200
      const id = `${name}/${fields.length}`
      return { status, body: named(status, { ...body, id, isNewlyCreated }) }
    }
  ],
  [
    'POST /_api/document/:collection',
    'write',
    (request) => {
      const known = new Map([...ANSWERING, ...MERGING, ['overwriteMode', 'conflict']])
      const how = parametersOf(request.search, known)
      if (!['conflict', 'update'].includes(how.overwriteMode)) throw new Refusal('badParameter')
      return each(request, request.body, how, insert)
    }
  ],
  [
    'PATCH /_api/document/:collection',
    'write',
    (request) => {
      const known = new Map([...ANSWERING, ...MERGING, ['ignoreRevs', true]])
      return each(request, request.body, parametersOf(request.search, known), update)
    }
  ],
  [
    'PUT /_api/document/:collection',
    'ro',
    ({ collection, search, body }) => {
      const { onlyget } = parametersOf(search, new Map([['onlyget', false]]))
      if (!onlyget || !Array.isArray(body)) throw new Refusal('badParameter', 'only with onlyget')
      const found = body.map((key) => {
        const document = collection.documents.get(key)
        if (document !== undefined) return document
        const { errorNum, message: errorMessage } = new Refusal('documentNotFound')
        return { error: true, errorNum, errorMessage }
      })
      return { status: 200, body: found }
    }
  ],
  [
    'GET /_api/document/:collection/:key',
    'ro',
    ({ collection, key, headers }) => {
      const document = collection.documents.get(key)
      if (document === undefined) throw new Refusal('documentNotFound')
      const unquoted = (header) => header?.replaceAll('"', '')
      const etag = { etag: `"${document._rev}"` }
      if (unquoted(headers['if-none-match']) === document._rev) {
        return { status: 304, body: undefined, headers: etag }
      }
      const wanted = unquoted(headers['if-match'])
      if (wanted !== undefined && wanted !== document._rev) {
        const { _id, _key, _rev } = document
        const { errorNum, message } = new Refusal('conflict')
        const body = { error: true, code: 412, errorNum, errorMessage: message, _id, _key, _rev }
        return { status: 412, body, headers: etag }
      }
      return { status: 200, body: document, headers: etag }
    }
  ],
  [
    'POST /_api/cursor',
    'ro',
    ({ database, body, fault }) => {
      const rows = resultOf({ database, fault }, body ?? {})
      const batch = nextBatch(nextTick(), { rows, batchSize: body.batchSize ?? 1000 })
      return { status: 201, body: named(201, batch) }
    }
  ],
  [
    'POST /_api/cursor/:cursor',
    'ro',
    ({ cursor: id }) => {
      const cursor = cursors.get(id)
      if (cursor === undefined) throw new Refusal('cursorNotFound', 'disposed or unknown cursor')
      return { status: 200, body: named(200, nextBatch(id, cursor)) }
    }
  ],
  [
    'DELETE /_api/cursor/:cursor',
    'ro',
    ({ cursor: id }) => {
      if (!cursors.delete(id)) throw new Refusal('cursorNotFound', 'disposed or unknown cursor')
      return { status: 202, body: named(202, { id }) }
    }
  ]
].map(([route, needs, run]) => {
  const [method, path] = route.split(' ')
  const pattern = path.replaceAll(/:(\w+)/g, '(?<$1>[^/]+)')
  return { method, pattern: new RegExp(`^${pattern}$`), needs, run }
})

function named(code, body) {
  return { error: false, code, ...body }
}

// --- requests ---

function userOf({ authorization = '' }) {
  const [scheme, credentials = ''] = authorization.split(' ')
  const text = scheme === 'Basic' ? Buffer.from(credentials, 'base64').toString() : ''
  const colon = text.indexOf(':')
  const user = users.get(text.slice(0, colon))
  if (user === undefined || user.password !== text.slice(colon + 1)) {
    throw new Refusal('unauthorized')
  }
  return user
}

/** Like the server: who asks comes first, then whether there is such a database, then what may be done in it. */
function prepared(method, url, headers) {
  const user = userOf(headers)
  const match = /^\/_db\/([^/]+)(\/.*)$/.exec(url.pathname)
  if (match === null) throw new Refusal('notFound', 'the double wants the database in the path')
  const databaseName = decodeURIComponent(match[1])
  const database = databases.get(databaseName)
  if (database === undefined) throw new Refusal('databaseNotFound', databaseName)
  const grant = user.grants[databaseName] ?? user.grants['*'] ?? 'none'
  const onPath = ROUTES.filter(({ pattern }) => pattern.test(match[2]))
  if (onPath.length === 0) throw new Refusal('notFound', `unknown path '${url.pathname}'`)
  const route = onPath.find((candidate) => candidate.method === method)
  if (route === undefined) throw new Refusal('methodNotAllowed')
  if (grant === 'none') {
    // Whoever may not see the system database may not make others either.
    throw new Refusal(databaseName === '_system' ? 'forbidden' : 'unauthorized')
  }
  if (grant === 'ro' && route.needs === 'rw') throw new Refusal('forbidden')
  if (grant === 'ro' && route.needs === 'write') throw new Refusal('readOnly')
  const places = route.pattern.exec(match[2]).groups ?? {}
  for (const [name, text] of Object.entries(places)) places[name] = decodeURIComponent(text)
  const { collection: name, ...others } = places
  const collection = name === undefined ? undefined : collectionIn(database, name)
  return { route, request: { ...others, database, databaseName, collection } }
}

async function bodyOf(message) {
  const chunks = []
  for await (const chunk of message) chunks.push(chunk)
  const bytes = Buffer.concat(chunks)
  if (bytes.length === 0) return undefined
  if (message.headers['content-length'] === undefined) {
    throw new Refusal('badParameter', 'the server takes no chunked bodies')
  }
  const text = bytes.toString()
  if (/(?<!\\)(?:\\\\)*\\ud[89a-f]/i.test(text)) throw new Refusal('corruptedJson', 'bad surrogate')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Refusal('corruptedJson', error.message)
  }
}

function takeFault(method, path, { query = '' } = {}) {
  const fault = faults.find(
    (each) =>
      (each.method === undefined || each.method === method) &&
      (each.path === undefined || path.includes(each.path)) &&
      (each.query === undefined || query.includes(each.query))
  )
  if (fault !== undefined && --fault.times <= 0) faults = faults.filter((each) => each !== fault)
  return fault
}

async function answer(message) {
  const url = new URL(message.url, 'http://double')
  const { method, headers } = message
  requests.push(`${method} ${url.pathname}`)
  received += Number(headers['content-length'] ?? 0)
  const body = await bodyOf(message)
  const { fault, ms } = takeFault(method, url.pathname, body) ?? {}
  if (fault === 'drop-before') return { fault }
  if (fault === 'hold') await new Promise((resolve) => held.push(resolve))
  if (fault === 'delay') await new Promise((resolve) => setTimeout(resolve, ms))
  if (fault === 'unavailable') throw new Refusal('unavailable')
  const { route, request } = prepared(method, url, headers)
  const search = url.searchParams
  return { ...route.run({ ...request, search, headers, body, fault }), fault }
}

function send(response, { status, body, headers = {} }) {
  const text = body === undefined ? '' : JSON.stringify(body)
  const type = { 'content-type': 'application/json; charset=utf-8' }
  response.writeHead(status, { ...type, ...headers, 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

const server = createServer(async (message, response) => {
  try {
    const { fault, ...answered } = await answer(message)
    if (fault === 'drop-before' || fault === 'drop-after') message.socket.destroy()
    else if (fault === 'cut') {
      const text = JSON.stringify(answered.body)
      const headers = { 'content-type': 'application/json', 'content-length': text.length }
      response.writeHead(answered.status, headers)
      response.write(text.slice(0, text.length / 2), () => message.socket.destroy())
    } else send(response, answered)
  } catch (error) {
    const { errorNum = 4, code = 500, message: errorMessage } = error
    send(response, { status: code, body: { error: true, code, errorNum, errorMessage } })
  }
})

const ORDERS = {
  'POST /faults': (fault) => {
    faults.push({ times: 1, ...fault })
  },
  'POST /calm': () => {
    faults = []
    for (const release of held.splice(0)) release()
  },
  'POST /listening': ({ on }) => {
    if (on === server.listening) return undefined
    if (on) return new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
    return new Promise((resolve) => {
      server.close(resolve)
      server.closeAllConnections()
    })
  },
  'POST /users': ({ name, password, grants }) => {
    users.set(name, { password, grants })
  },
  'POST /drop': ({ database, collection }) => {
    if (collection === undefined) databases.delete(database)
    else databases.get(database).delete(collection)
  },
  'GET /requests': () => {
    const seen = requests
    requests = []
    return seen
  },
  'GET /traffic': () => {
    const counted = { received, written: takeWritten() }
    received = 0
    return counted
  }
}

const admin = createServer(async (message, response) => {
  try {
    const order = ORDERS[`${message.method} ${message.url}`]
    if (order === undefined) throw new Refusal('notFound', `no order ${message.url}`)
    const body = await bodyOf(message)
    send(response, { status: 200, body: (await order(body)) ?? {} })
  } catch (error) {
    send(response, { status: 400, body: { message: error.message } })
  }
})

/** @param {import('node:http').Server} listener */
function listen(listener, at) {
  return new Promise((resolve) => {
    listener.listen(at, '127.0.0.1', () => resolve(listener.address().port))
  })
}

const port = await listen(server, Number(options.port))
const adminPort = await listen(admin, 0)
process.stdin.resume().once('end', () => process.exit())
console.log(
  JSON.stringify({ url: `http://127.0.0.1:${port}`, admin: `http://127.0.0.1:${adminPort}` })
)
