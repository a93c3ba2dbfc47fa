import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { Agent, type IncomingMessage, request } from 'node:http'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { createLog } from '@nebula-experts/host'
import type { ImageToken, TokenRecord } from '@nebula-experts/sdk'
import t, { type Test } from 'tap'
import { openDocumentStores } from '../../host/dist/documents/document-stores.js'
import { rawClient } from '../support/raw-request.ts'
import { call, type HostOptions, makeHome, spawnHost, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const DOUBLE = fileURLToPath(new URL('../support/arango-double.js', import.meta.url))
const MAIN = fileURLToPath(new URL('../../host/dist/main.js', import.meta.url))
const PASSWORD = 'geheim:größe 7'
const KEY = 'the key of the house'
const NDJSON = { accept: 'application/x-ndjson' }
const { log } = createLog('silent')

type Answer = Awaited<ReturnType<typeof call>>
/** A document as a route shows it. */
type Shown = Answer['json']
type Stores = Awaited<ReturnType<(typeof openDocumentStores)['sqlite']>>

/** What is data, however it looks in a path, a query or a statement. */
const ODD = [
  `it's "quoted" \\ and \`ticked\``,
  `' OR 1=1 --`,
  '" RETURN d //',
  '"; DROP TABLE documents; --',
  'größe 😀 \u2028 \u202e',
  'a+b c&d=e?f#g%20%',
  '@value',
  '__proto__',
  'null',
  '\u0000',
  ''
]

/** A double of ArangoDB, as a process that a test may kill. */
async function startDouble(t: Test, port = '0') {
  const child = spawn(process.execPath, [DOUBLE, '--password', PASSWORD, '--port', port], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  const kill = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      process.kill(child.pid as number, 'SIGKILL')
    }
    await exited
  }
  t.teardown(kill)
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const { hostname, port: taken } = new URL(JSON.parse(line).url)
  return { host: hostname, port: taken, kill }
}

/** A store: what the host is told of it, and how a test reaches it before there is a host. */
interface Store {
  env: Record<string, string>
  open: (home: string) => Promise<Stores>
}

let databases = 0
function arangoStore({ host, port }: { host: string; port: string }): Store {
  const database = `documents-${databases++}`
  return {
    env: {
      ARANGO_HOST: host,
      ARANGO_PORT: port,
      ARANGO_DB: database,
      DEFAULT_ARANGO_USER: 'root',
      DEFAULT_ARANGO_PASSWORD: PASSWORD
    },
    open: () =>
      openDocumentStores.arango({
        ...{ host, port: Number(port), database, user: 'root', password: PASSWORD, log }
      })
  }
}

const shared = await startDouble(t)
const makeStore: Record<string, () => Store> = {
  sqlite: () => ({
    env: {},
    open: (home) => openDocumentStores.sqlite({ dir: join(home, 'data', 'documents'), log })
  }),
  arango: () => arangoStore(shared)
}

/** A home whose store has what `fill` puts there, and the hosts that serve it. */
async function prepare(
  t: Test,
  store: Store,
  options: HostOptions = {},
  fill?: (stores: Stores) => Promise<unknown>
) {
  const home = await makeHome(t, options)
  if (fill !== undefined) {
    const stores = await store.open(home)
    await fill(stores)
    await stores.close()
  }
  const env = { ...store.env, ...options.env }
  return {
    home,
    start: () => startHost(t, { home, env }),
    spawn: () => spawnHost(t, { home, env })
  }
}

async function serve(
  t: Test,
  store: Store,
  options: HostOptions = {},
  fill?: (stores: Stores) => Promise<unknown>
) {
  const { url } = await (await prepare(t, store, options, fill)).start()
  return url
}

const create = (url: string, movie: unknown, headers = {}) =>
  call(`${url}/movies`, 'POST', movie, headers)

/** Every page of a listing, as `next` leads through them. */
async function pagesOf(
  url: string,
  name: 'movies' | 'tokens',
  query: Record<string, string>,
  whileReading: () => Promise<unknown> = async () => undefined
): Promise<Shown[][]> {
  const pages: Shown[][] = []
  let cursor: Record<string, string> = {}
  for (let count = 0; count < 100; count++) {
    const asked = `${url}/${name}?${new URLSearchParams({ ...query, ...cursor })}`
    const [{ status, json, text }] = await Promise.all([call(asked, 'GET'), whileReading()])
    if (status !== 200) throw new Error(`${status} ${asked} ${text}`)
    pages.push(json[name])
    if (json.next === null) return pages
    cursor = { cursor: json.next }
  }
  throw new Error('the pages do not end')
}

/** The keys of a listing that fits into one page. */
async function keysOf(url: string, name: 'movies' | 'tokens', query: Record<string, string> = {}) {
  const [page, ...others] = await pagesOf(url, name, { limit: '1000', ...query })
  if (page === undefined || others.length > 0) throw new Error(`${others.length} more pages`)
  return page.map(({ _key }) => _key).sort()
}

const token = (more: Partial<TokenRecord> = {}): TokenRecord => ({
  movie_id: 'Movies/1',
  scene_element: 0,
  scene: 0,
  expert: 'actions',
  bbox: null,
  label: 'car',
  meta_label: null,
  re_id: 0,
  ...more
})
const image = (more: Partial<ImageToken> = {}): ImageToken => ({
  id: '1',
  type: 'image',
  expert: 'detector',
  expert_meta: null,
  bbox: null,
  label: 'car',
  label_meta: null,
  score: 0.5,
  re_id: 0,
  ...more
})

for (const [name, make] of Object.entries(makeStore)) {
  t.test(`${name}: a movie that is created is 201, and found by its key`, async (t) => {
    const url = await serve(t, make())
    t.same((await call(`${url}/movies`, 'GET')).json, { movies: [], next: null }, 'none yet')
    const movie = { File: '/films/a b.mp4', scenes: [[0, 375]], meta: { fps: 29.97 }, last: null }
    const created = await create(url, { _key: '-3132222071598952047', ...movie })
    t.equal(created.status, 201)
    t.equal(created.headers.get('content-type'), 'application/json')
    const { _rev, ...rest } = created.json
    t.type(_rev, 'string')
    t.strictSame(rest, {
      _id: 'Movies/-3132222071598952047',
      _key: '-3132222071598952047',
      ...movie
    })
    const chosen = await create(url, movie)
    t.equal(chosen.status, 201)
    t.match(chosen.json, { _key: /^.+$/, _id: `Movies/${chosen.json._key}`, ...movie })
    t.not(chosen.json._key, created.json._key)
    const byId = await create(url, { _id: 'Movies/by-id', _rev: 'mine', name: 'c' })
    t.match(byId, { status: 201, json: { _id: 'Movies/by-id', _key: 'by-id', name: 'c' } })
    t.not(byId.json._rev, 'mine')
    for (const { json } of [created, chosen, byId]) {
      const found = await call(`${url}/movies/${json._key}`, 'GET')
      t.equal(found.status, 200)
      t.strictSame(found.json, json)
    }
    const all = [created, chosen, byId].map(({ json }) => json._key).sort()
    t.same(await keysOf(url, 'movies'), all)
  })

  t.test(`${name}: a key that is taken is 409, and what is there stays`, async (t) => {
    const url = await serve(t, make())
    t.equal((await create(url, { _key: 'a', first: true })).status, 201)
    for (const movie of [
      { _key: 'a', first: false },
      { _key: 'a' },
      { _id: 'Movies/a', more: 1 }
    ]) {
      const { status, json } = await create(url, movie)
      t.equal(status, 409)
      t.match(json, { code: 'HOST_DOCUMENT_EXISTS', detail: /Movies\/a/, request_id: String })
    }
    const { _id, _key, _rev, ...fields } = (await call(`${url}/movies/a`, 'GET')).json
    t.strictSame(fields, { first: true })

    const places = Array.from({ length: 20 }, (_, place) => place)
    const answers = await Promise.all(places.map((place) => create(url, { _key: 'b', place })))
    const made = answers.filter(({ status }) => status === 201)
    t.equal(made.length, 1, 'of many at once, one')
    t.equal(answers.filter(({ status }) => status === 409).length, 19)
    t.strictSame((await call(`${url}/movies/b`, 'GET')).json, made[0]?.json)
  })

  t.test(`${name}: many without a key at once get as many keys`, async (t) => {
    const url = await serve(t, make())
    const places = Array.from({ length: 40 }, (_, place) => place)
    const answers = await Promise.all(places.map((place) => create(url, { place })))
    const keys = answers.map(({ json }) => json._key).sort()
    t.equal(new Set(keys).size, 40)
    t.same(await keysOf(url, 'movies'), keys)
  })

  t.test(`${name}: a key that no document can have is 422, and named`, async (t) => {
    const url = await serve(t, make())
    const long = 'x'.repeat(255)
    const wrong = [
      '',
      'a/b',
      'a b',
      'é',
      '😀',
      'a\u0000',
      'a\n',
      '"',
      '#',
      long,
      5,
      true,
      {},
      ['a']
    ]
    for (const _key of wrong) {
      const { status, json } = await create(url, { _key, name: 'never' })
      t.equal(status, 422, JSON.stringify(_key).slice(0, 40))
      t.match(json, { code: /^HOST_(DOCUMENT_)?INVALID$/, request_id: String })
      t.match(JSON.stringify(json.detail), /_key/)
    }
    for (const _id of ['Tokens/a', 'Movies/', 'Movies/a/b', 'Movies/a b', 7]) {
      const { status, json } = await create(url, { _id, name: 'never' })
      t.equal(status, 422, JSON.stringify(_id))
      t.match(JSON.stringify(json.detail), /_id/)
    }
    t.same(await keysOf(url, 'movies'), [], 'and nothing is written')
  })

  t.test(`${name}: what is no JSON object is 422, and nothing is written`, async (t) => {
    const url = await serve(t, make())
    const send = rawClient(t, url)
    const headers = { 'content-type': 'application/json' }
    const bodies = [
      ...['', 'null', '[]', '[{"_key":"a"}]', '"text"', '5', 'true', 'NaN', ' '],
      ...['{', '{"_key":"a"', '{"_key":"a"}}', "{'_key':'a'}", '{"_key":"a",}', 'movie']
    ]
    for (const body of bodies) {
      const { status, text } = await send('POST', '/movies', { headers, body })
      t.equal(status, 422, JSON.stringify(body))
      t.match(JSON.parse(text), { code: /^HOST_(DOCUMENT_)?INVALID$/, detail: /./ })
    }
    const missing = await call(`${url}/movies`, 'POST')
    t.equal(missing.status, 422)
    t.match(missing.json, { code: 'HOST_INVALID', detail: [{ loc: ['body'] }] })
    const broken = await create(url, '{"_key":')
    t.match(broken.json.detail, [{ loc: ['body', 8], type: 'value_error.jsondecode' }])
    const plain = { 'content-type': 'text/plain' }
    const asText = await send('POST', '/movies', { headers: plain, body: '{"_key":"a"}' })
    t.equal(asText.status, 422, 'an object that does not say that it is JSON')
    t.same(await keysOf(url, 'movies'), [])
    t.equal((await create(url, {})).status, 201, 'an empty object is a document')
  })

  t.test(`${name}: a key that is not there is 404`, async (t) => {
    const url = await serve(t, make())
    await create(url, { _key: 'a' })
    for (const key of ['b', 'A', 'a.', 'aa', '%61b', '0', 'null']) {
      const { status, json } = await call(`${url}/movies/${key}`, 'GET')
      t.equal(status, 404, key)
      t.match(json, { code: 'HOST_DOCUMENT_UNKNOWN', request_id: String })
      t.match(json.detail, decodeURIComponent(key))
    }
  })

  t.test(`${name}: an odd id is an unknown one`, async (t) => {
    const url = await serve(t, make())
    await create(url, { _key: 'a' })
    const send = rawClient(t, url)
    const odd = [
      ...['%2E%2E', '..', '...', '%00', 'a%00', '%00a', '%0A', '%0D%0A', '%7F'],
      ...['%5C', '%22', "'", "'%20OR%201=1%20--", '%E2%80%AE', '%20', '%20a', '%C3%A9', '%25'],
      ...['__proto__', 'constructor', 'toString', '%F0%9F%98%80', '*', '%252F', 'x'.repeat(100)],
      ...['x'.repeat(101), 'x'.repeat(254)]
    ]
    for (const id of odd) {
      const { status, text } = await send('GET', `/movies/${id}`)
      const shown = id.slice(0, 40)
      t.equal(status, 404, shown)
      t.match(JSON.parse(text), { code: 'HOST_DOCUMENT_UNKNOWN', detail: String }, shown)
      t.ok(text.length < 1000, 'and is not told at length')
    }
    for (const id of ['a%2Fb', '%2F', 'a%2F', '%2Fa', 'Movies%2fa', 'a/b', 'Movies/a']) {
      const { status, text } = await send('GET', `/movies/${id}`)
      t.equal(status, 404, id)
      t.match(JSON.parse(text), { code: 'HOST_NOT_FOUND' }, 'a slash is never of a key')
    }
    const noText = ['%', '%zz', '%FF', '%ED%A0%80']
    const tooLong = ['x'.repeat(5000), '%00'.repeat(5000), '%F0%9F%98%80'.repeat(1000)]
    for (const id of [...noText, ...tooLong]) {
      const { status, text } = await send('GET', `/movies/${id}`)
      const shown = `${id.slice(0, 40)} (${id.length})`
      t.ok([400, 404].includes(status), `${shown}: ${status}`)
      t.match(JSON.parse(text), { code: /^HOST_/, detail: String, request_id: String }, shown)
    }
    t.match((await call(`${url}/movies/a`, 'GET')).json, { _key: 'a' })
  })

  t.test(`${name}: every key that can be written can be read`, async (t) => {
    const url = await serve(t, make())
    const send = rawClient(t, url)
    const keys = [
      ...[..."_-:.@()+,=;$!*'%"],
      ...['..', '...', '__proto__', 'constructor', '%2F', '50%25', '%00', '%%', 'a;b=c', 'Movies'],
      ...['x'.repeat(100), 'x'.repeat(101), 'x'.repeat(254), '%'.repeat(254)]
    ]
    for (const _key of keys) {
      const shown = `${_key.slice(0, 20)} (${_key.length})`
      t.equal((await create(url, { _key, name: shown })).status, 201, shown)
    }
    for (const _key of keys) {
      // As a client escapes it; and with every character escaped, as it may.
      const escaped = Buffer.from(_key).toString('hex').replaceAll(/../g, '%$&')
      for (const path of [encodeURIComponent(_key), escaped]) {
        const { status, text } = await send('GET', `/movies/${path}`)
        const shown = `${path.slice(0, 20)} (${_key.length})`
        t.equal(status, 200, shown)
        t.match(JSON.parse(text), { _key, _id: `Movies/${_key}` }, shown)
      }
    }
    t.same(await keysOf(url, 'movies'), [...keys].sort())
  })

  t.test(`${name}: movies by status, file and pipeline`, async (t) => {
    const url = await serve(t, make())
    const movies = [
      { _key: 'a', status: 'done', File: 'x.mp4', pipeline_id: 'p1' },
      { _key: 'b', status: 'done', File: 'y.mp4', pipeline_id: 'p2' },
      { _key: 'c', status: 'open', File: 'x.mp4', pipeline_id: 'p1' },
      { _key: 'd', status: 'Done', File: 'x.mp4 ', pipeline_id: null },
      { _key: 'e', file: 'x.mp4' }
    ]
    for (const movie of movies) t.equal((await create(url, movie)).status, 201)
    const expected = [
      [{}, 'abcde'],
      [{ status: 'done' }, 'ab'],
      [{ file: 'x.mp4' }, 'ac'],
      [{ pipeline_id: 'p1' }, 'ac'],
      [{ status: 'done', file: 'x.mp4' }, 'a'],
      [{ status: 'open', pipeline_id: 'p1', file: 'x.mp4' }, 'c'],
      [{ status: 'open', pipeline_id: 'p2' }, ''],
      [{ status: 'don' }, ''],
      [{ status: '%' }, ''],
      [{ pipeline_id: 'null' }, '']
    ] as const
    for (const [query, keys] of expected) {
      t.same(await keysOf(url, 'movies', { ...query }), [...keys], JSON.stringify(query))
    }
    const one = (await call(`${url}/movies?limit=1&status=done`, 'GET')).json
    t.match(one, { movies: [{ _key: 'a', File: 'x.mp4' }], next: String })
    const two = (await call(`${url}/movies?limit=1&status=done&cursor=${one.next}`, 'GET')).json
    t.match(two, { movies: [{ _key: 'b' }], next: null })
    t.equal(two.movies.length, 1)
    const all = (await call(`${url}/movies?limit=5&unknown=1`, 'GET')).json
    t.equal(all.movies.length, 5)
    t.equal(all.next, null, 'a page that is just full is the last')
  })

  t.test(`${name}: pages have each movie once, also while others are created`, async (t) => {
    const url = await serve(t, make())
    const keys: string[] = []
    for (let place = 0; place < 25; place++) {
      const chosen = place % 2 === 0 ? {} : { _key: `m${place}` }
      keys.push((await create(url, { ...chosen, status: 'old' })).json._key)
    }
    keys.sort()
    const sizes = (pages: Shown[][]) => pages.map((page) => page.length)
    const namesIn = (pages: Shown[][]) => pages.flat().map(({ _key }) => _key)
    const quiet = await pagesOf(url, 'movies', { limit: '7' })
    t.same(sizes(quiet), [7, 7, 7, 4])
    t.same(namesIn(quiet), keys, 'in the order of their keys')

    let created = 0
    const createMore = async () => {
      // Before all others, behind all others, in between, and where the store puts it.
      const at = ['!', 'z', `m${created % 25}-`].map((start) => ({ _key: `${start}${created}` }))
      for (const movie of [...at, {}]) {
        created++
        t.equal((await create(url, { ...movie, status: 'new' })).status, 201)
      }
    }
    const busy = await pagesOf(url, 'movies', { limit: '7' }, createMore)
    const found = namesIn(busy)
    t.equal(new Set(found).size, found.length, 'none twice')
    t.same(
      found.filter((key) => keys.includes(key)),
      keys,
      'none is missing'
    )
    t.ok(
      sizes(busy)
        .slice(0, -1)
        .every((size) => size === 7)
    )
    const old = await pagesOf(url, 'movies', { limit: '7', status: 'old' }, createMore)
    t.same(sizes(old), [7, 7, 7, 4])
    t.same(namesIn(old), keys, 'with a filter, too')
    t.equal((await keysOf(url, 'movies')).length, 25 + created)
    t.ok(created >= 32, 'others were created')
  })

  t.test(`${name}: a wrong value is 422, and its field named`, async (t) => {
    const url = await serve(t, make())
    const paging = ['limit=0', 'limit=-1', 'limit=1001', 'limit=x', 'limit=', 'limit=1.5']
    const wrong = [
      ...paging.map((query) => ['movies', query]),
      ...paging.map((query) => ['tokens', query]),
      ...['collection=Movies', 'collection=tokens', 'collection='].map((query) => [
        'tokens',
        query
      ]),
      ...['scene_element=x', 'scene_element=1.5', 'scene_element='].map((query) => [
        'tokens',
        query
      ])
    ]
    for (const [path, query] of wrong as Array<[string, string]>) {
      const { status, json } = await call(`${url}/${path}?${query}`, 'GET')
      t.equal(status, 422, `${path} ${query}`)
      const loc = ['query', query.split('=')[0]]
      t.match(json, { code: 'HOST_INVALID', detail: [{ loc, msg: String, type: String }] })
      t.equal(json.detail.length, 1)
    }
    const both = await call(`${url}/tokens?limit=x&scene_element=x`, 'GET')
    t.same(
      both.json.detail.map(({ loc }: Shown) => loc[1]).sort(),
      ['limit', 'scene_element'],
      'all that is wrong is said at once'
    )
    const refused = [
      ...['cursor=a/b', 'cursor=a%20b', 'cursor=%00', `cursor=${'x'.repeat(255)}`].flatMap(
        (query) => [
          ['movies', query],
          ['tokens', query]
        ]
      ),
      ['tokens', 'image_id=1&collection=Tokens'],
      ['tokens', 'scene_element=1&collection=ImageTokens'],
      ['tokens', 'scene_element=1&image_id=1']
    ]
    for (const [path, query] of refused as Array<[string, string]>) {
      const field = query.split('=')[0] as string
      for (const headers of [{}, ...(field === 'cursor' ? [] : [NDJSON])]) {
        const { status, json } = await call(`${url}/${path}?${query}`, 'GET', undefined, headers)
        t.equal(status, 422, `${path} ${query.slice(0, 40)}`)
        t.match(json, { code: /^HOST_(DOCUMENT_)?INVALID$/ })
        t.match(JSON.stringify(json.detail), field)
      }
    }
    for (const query of ['limit=1', 'limit=1000', 'cursor=nobody']) {
      t.equal((await call(`${url}/movies?${query}`, 'GET')).status, 200, query)
    }
  })

  t.test(`${name}: tokens by movie, scene element, expert and label`, async (t) => {
    const entries: TokenRecord[] = []
    for (const movie_id of ['Movies/1', 'Movies/11', 'Other/1']) {
      for (const scene_element of [0, 1, 11]) {
        for (const expert of ['actions', 'places']) {
          for (const label of ['car', 'Car']) {
            entries.push(token({ movie_id, scene_element, expert, label }))
          }
        }
      }
    }
    const pictures = [image({ id: '1' }), image({ id: 'Movies/1/0/5' })]
    const url = await serve(t, make(), {}, async ({ tokens }) => {
      await tokens.save(entries)
      await tokens.saveImages(pictures)
    })
    const [all = []] = await pagesOf(url, 'tokens', { limit: '1000' })
    t.equal(all.length, entries.length)
    t.match(all[0], { _id: /^Tokens\//, _rev: String, bbox: null, re_id: 0 })
    const ofOne = (document: Shown) => document.movie_id === 'Movies/1'
    const expected: Array<[Record<string, string>, (document: Shown) => boolean, number]> = [
      [{ movie_id: '1' }, ofOne, 12],
      [{ movie_id: 'Movies/1' }, ofOne, 12],
      [{ movie_id: 'Other/1' }, ({ movie_id }) => movie_id === 'Other/1', 12],
      [{ movie_id: 'Movies' }, () => false, 0],
      [{ expert: 'places' }, ({ expert }) => expert === 'places', 18],
      [{ label: 'Car' }, ({ label }) => label === 'Car', 18],
      [{ scene_element: '1' }, (document) => document.scene_element === 1, 12],
      [{ scene_element: '-1' }, () => false, 0],
      [{ movie_id: '1', scene_element: '11' }, (d) => ofOne(d) && d.scene_element === 11, 4],
      [{ movie_id: '1', expert: 'actions', label: 'car' }, () => true, 3],
      [{ movie_id: '1', expert: 'actions', label: 'car', scene_element: '0' }, () => true, 1],
      [{ collection: 'Tokens', movie_id: '1' }, ofOne, 12]
    ]
    for (const [query, fits, count] of expected) {
      const [found = []] = await pagesOf(url, 'tokens', { limit: '1000', ...query })
      t.equal(found.length, count, JSON.stringify(query))
      t.ok(found.every(fits), JSON.stringify(query))
      const lines = await call(
        `${url}/tokens?${new URLSearchParams(query)}`,
        'GET',
        undefined,
        NDJSON
      )
      t.same(linesOf(lines.text), found, 'and the export of these')
    }
    const narrow = await keysOf(url, 'tokens', { movie_id: '1', expert: 'actions', label: 'car' })
    const whole = all.filter((d) => ofOne(d) && d.expert === 'actions' && d.label === 'car')
    t.same(narrow, whole.map(({ _key }) => _key).sort())
  })

  t.test(`${name}: tokens of pictures by picture, movie and scene element`, async (t) => {
    const ids = ['1', 'Images/1', 'Movies/1/0/5', 'Movies/1/1/5', 'Movies/1/11/5', 'Movies/11/1/5']
    const url = await serve(t, make(), {}, async ({ tokens }) => {
      await tokens.saveImages(
        ids.flatMap((id) => ['car', 'dog'].map((label) => image({ id, label })))
      )
      await tokens.saveImages([image({ id: 'Movies/1/1/5', expert: 'other', label: 'dog' })])
      await tokens.save([token(), token({ label: 'dog' })])
    })
    const expected: Array<[Record<string, string>, string[]]> = [
      [{ image_id: '1' }, ['1', '1']],
      [{ image_id: 'Images/1', label: 'dog' }, ['Images/1']],
      [
        { image_id: 'Movies/1/11/5', collection: 'ImageTokens' },
        ['Movies/1/11/5', 'Movies/1/11/5']
      ],
      [{ image_id: '2' }, []],
      [{ collection: 'ImageTokens', expert: 'other' }, ['Movies/1/1/5']],
      [{ collection: 'ImageTokens', label: 'dog', expert: 'detector' }, ids],
      [
        { collection: 'ImageTokens', movie_id: '1', label: 'car' },
        ['Movies/1/0/5', 'Movies/1/1/5', 'Movies/1/11/5']
      ],
      [
        { collection: 'ImageTokens', movie_id: 'Movies/1', scene_element: '1', expert: 'detector' },
        ['Movies/1/1/5', 'Movies/1/1/5']
      ],
      [{ image_id: 'Movies/1/1/5', movie_id: '11' }, []]
    ]
    for (const [query, found] of expected) {
      const [page = []] = await pagesOf(url, 'tokens', { limit: '1000', ...query })
      t.same(page.map(({ id }) => id).sort(), [...found].sort(), JSON.stringify(query))
      t.ok(page.every(({ _id }) => _id.startsWith('ImageTokens/')))
    }
    t.equal((await keysOf(url, 'tokens', { collection: 'ImageTokens' })).length, 13)
    t.equal((await keysOf(url, 'tokens')).length, 2, 'they are not among those of movies')
  })

  t.test(`${name}: an export of 3,000 tokens is what the pages have`, async (t) => {
    const entries = Array.from({ length: 3000 }, (_, place) =>
      token({
        label: `${ODD[place % ODD.length]}${place}`,
        scene: place % 3,
        bbox: [[place, 2, 3, 4]]
      })
    )
    const pictures = entries.map((_, place) => image({ label: `label ${place}` }))
    const url = await serve(t, make(), {}, async ({ tokens }) => {
      await tokens.save(entries)
      await tokens.saveImages(pictures)
    })
    for (const query of [{}, { movie_id: '1' }, { image_id: '1' }] as Array<
      Record<string, string>
    >) {
      const shown = JSON.stringify(query)
      const pages = await pagesOf(url, 'tokens', { ...query, limit: '700' })
      t.same(
        pages.map((page) => page.length),
        [700, 700, 700, 700, 200],
        shown
      )
      const search = new URLSearchParams(query)
      const lines = await call(`${url}/tokens?${search}`, 'GET', undefined, NDJSON)
      t.equal(lines.status, 200)
      t.equal(lines.headers.get('content-type'), 'application/x-ndjson')
      t.strictSame(linesOf(lines.text), pages.flat(), shown)
      const labels = pages.flat().map(({ label }) => label)
      const saved = query['image_id'] === undefined ? entries : pictures
      t.same(new Set(labels), new Set(saved.map(({ label }) => label)), `${shown}: each is there`)
      t.equal(labels.length, 3000)
    }
    const thousands = await pagesOf(url, 'tokens', { limit: '1000' })
    t.same(
      thousands.map((page) => page.length),
      [1000, 1000, 1000]
    )
    const first = (await call(`${url}/tokens`, 'GET')).json
    t.equal(first.tokens.length, 100, 'who does not say gets 100')
    t.type(first.next, 'string')
    const third = `scene_element=0&label=${encodeURIComponent(String(entries[2500]?.label))}`
    const one = await call(`${url}/tokens?${third}`, 'GET', undefined, NDJSON)
    t.match(linesOf(one.text), [{ scene: 1, bbox: [[2500, 2, 3, 4]] }])
    const both = { accept: 'application/json;q=0.5, application/x-ndjson' }
    const limited = await call(`${url}/tokens?limit=5`, 'GET', undefined, both)
    t.equal(linesOf(limited.text).length, 3000, 'an export has no pages')
    const none = await call(`${url}/tokens?label=nothing`, 'GET', undefined, NDJSON)
    t.match(none, { status: 200, text: /^$/ })
  })

  t.test(`${name}: quotes and every other character are data`, async (t) => {
    const url = await serve(t, make(), {}, async ({ tokens }) => {
      await tokens.save(ODD.map((odd) => token({ label: odd, expert: odd })))
      await tokens.saveImages(
        ODD.map((odd, place) => image({ id: odd || 'x', label: `n${place}` }))
      )
    })
    const fields = Object.fromEntries(ODD.map((odd) => [odd, odd]))
    const created = []
    for (const [place, odd] of ODD.entries()) {
      const movie = { status: odd, File: odd, pipeline_id: odd, name: { ...fields, list: ODD } }
      const { status, json } = await create(url, movie)
      t.equal(status, 201, `odd ${place}`)
      const { _id, _key, _rev, ...rest } = json
      t.strictSame(rest, movie, `odd ${place}`)
      t.strictSame((await call(`${url}/movies/${_key}`, 'GET')).json, json, `odd ${place}`)
      created.push(json)
    }
    // An own field of that name, as JSON has it.
    const own = (await create(url, '{"_key":"own","__proto__":{"_key":"x","status":"x"}}')).text
    t.match(own, /"__proto__":\{"_key":"x","status":"x"\}/)
    t.match(own, /"_key":"own"/)
    for (const [place, odd] of ODD.entries()) {
      for (const field of ['status', 'file', 'pipeline_id']) {
        const [found] = await pagesOf(url, 'movies', { limit: '1000', [field]: odd })
        t.strictSame(found, [created[place]], `${field} is odd ${place}`)
      }
      for (const field of ['label', 'expert']) {
        const [found = []] = await pagesOf(url, 'tokens', { limit: '1000', [field]: odd })
        t.equal(found.length, 1, `${field} is odd ${place}`)
        t.match(found[0], { label: odd, expert: odd })
        t.equal(found[0].label, odd)
      }
      const [pictures = []] = await pagesOf(url, 'tokens', { limit: '9', image_id: odd || 'x' })
      t.same(
        pictures.map(({ id, label }) => [id, label]),
        [[odd || 'x', `n${place}`]]
      )
      const ofMovie = await keysOf(url, 'tokens', { movie_id: odd })
      t.same(ofMovie, [], `movie_id is odd ${place}`)
    }
    t.equal((await keysOf(url, 'movies')).length, ODD.length + 1)
    t.equal((await keysOf(url, 'tokens')).length, ODD.length)
  })

  t.test(`${name}: documents are there after stop and start`, async (t) => {
    const { start } = await prepare(t, make(), {}, ({ tokens }) =>
      tokens.save([token({ label: 'kept' })])
    )
    const first = await start()
    const movies = []
    for (const movie of [{ _key: 'a', status: 'done' }, { n: 1 }, { n: 2 }]) {
      movies.push((await create(first.url, movie)).json)
    }
    const tokens = (await call(`${first.url}/tokens`, 'GET')).json
    await first.host.stop()
    const { url } = await start()
    for (const movie of movies) {
      t.strictSame((await call(`${url}/movies/${movie._key}`, 'GET')).json, movie)
    }
    t.match(tokens, { tokens: [{ label: 'kept' }] })
    t.strictSame((await call(`${url}/tokens`, 'GET')).json, tokens)
    t.same(await keysOf(url, 'movies', { status: 'done' }), ['a'])
    t.equal((await create(url, { _key: 'a' })).status, 409)
    const chosen = (await create(url, {})).json
    t.same(await keysOf(url, 'movies'), [...movies, chosen].map(({ _key }) => _key).sort())
  })

  t.test(`${name}: what was answered with 201 is there after kill -9`, async (t) => {
    const home = await prepare(t, make(), {}, ({ tokens }) =>
      tokens.save([token({ label: 'kept' })])
    )
    const first = await home.spawn()
    const answered: Shown[] = []
    const keep = async (place: number) => {
      const movie = place % 2 === 0 ? { place } : { _key: `k${place}`, place }
      const { status, json } = await create(first.url, movie)
      if (status === 201) answered.push(json)
    }
    for (let place = 0; place < 20; place++) await keep(place)
    // More are under way when it dies: those that had no answer may be there or not.
    let isDead = false
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let place = 100 * (writer + 1); !isDead; place++) {
        await keep(place).catch(() => {
          isDead = true
        })
      }
    })
    await until('many answers', () => (answered.length > 60 ? true : undefined))
    process.kill(first.child.pid as number, 'SIGKILL')
    await first.exited
    await Promise.all(writers)
    t.ok(answered.length > 60)
    const { url } = await home.spawn()
    const [found = []] = await pagesOf(url, 'movies', { limit: '1000' })
    const byKey = new Map(found.map((movie) => [movie._key, movie]))
    t.equal(byKey.size, found.length)
    t.ok(found.length <= answered.length + 4, 'nothing twice')
    for (const movie of answered) t.strictSame(byKey.get(movie._key), movie)
    t.match((await call(`${url}/tokens`, 'GET')).json, { tokens: [{ label: 'kept' }], next: null })
    const more = (await create(url, {})).json
    t.notOk(byKey.has(more._key), 'a new one is given no key of an old one')
  })
}

t.test('with NEBULA_ADMIN_KEY, creating needs it, and reading does not', async (t) => {
  const url = await serve(t, makeStore.sqlite!(), { env: { NEBULA_ADMIN_KEY: KEY } })
  const wrong = [
    {},
    { authorization: KEY },
    { authorization: `Basic ${KEY}` },
    { authorization: 'Bearer another' },
    { authorization: `Bearer ${KEY} x` }
  ]
  for (const headers of wrong) {
    for (const body of [{ _key: 'a' }, '{', undefined]) {
      const answer = await create(url, body, headers)
      t.equal(answer.status, 403, JSON.stringify(headers))
      t.match(answer.json, { code: 'HOST_FORBIDDEN', detail: /NEBULA_ADMIN_KEY/ })
      t.notMatch(answer.text, KEY)
    }
  }
  t.same(await keysOf(url, 'movies'), [], 'nothing was written')
  const bearer = { authorization: `Bearer ${KEY}` }
  t.equal((await create(url, { _key: 'a' }, bearer)).status, 201)
  t.equal((await create(url, '{', bearer)).status, 422)
  const proxied = { ...bearer, 'x-forwarded-for': '203.0.113.7' }
  t.equal((await create(url, { _key: 'b' }, proxied)).status, 201, 'from anywhere')
  t.match(await call(`${url}/movies/a`, 'GET'), { status: 200, json: { _key: 'a' } })
  t.match(await call(`${url}/tokens`, 'GET'), { status: 200, json: { tokens: [] } })
})

t.test('without a key, only a program of this machine creates', async (t) => {
  const url = await serve(t, makeStore.sqlite!(), { env: { HOST: '0.0.0.0' } })
  const { port } = new URL(url)
  const local = `http://127.0.0.1:${port}`
  const send = rawClient(t, local)
  const foreign: Array<Record<string, string>> = [
    { 'x-forwarded-for': '127.0.0.1' },
    { forwarded: 'for=127.0.0.1' },
    { via: '1.1 proxy' },
    { 'x-real-ip': '127.0.0.1' },
    { host: 'nebula.example' },
    { origin: 'http://nebula.example' },
    { origin: 'null' },
    { authorization: `Bearer ${KEY}`, origin: 'http://nebula.example' }
  ]
  for (const headers of foreign) {
    const answer = await send('POST', '/movies', { headers, body: '{"_key":"a"}' })
    t.equal(answer.status, 403, JSON.stringify(headers))
    t.match(JSON.parse(answer.text), { code: 'HOST_FORBIDDEN', detail: /NEBULA_ADMIN_KEY/ })
    const read = await send('GET', '/movies', { headers })
    t.equal(read.status, 200, 'reading is for all')
  }
  t.same(await keysOf(local, 'movies'), [], 'nothing was written')
  t.equal((await create(local, { _key: 'a' })).status, 201)
})

const outside = Object.values(networkInterfaces())
  .flat()
  .find((address) => address?.family === 'IPv4' && !address.internal)?.address

t.test(
  'without a key, another machine may read and not create',
  { skip: outside === undefined && 'this machine has no address but loopback' },
  async (t: Test) => {
    const url = await serve(t, makeStore.sqlite!(), { env: { HOST: '0.0.0.0' } })
    const { port } = new URL(url)
    const far = `http://${outside}:${port}`
    t.match(await create(far, { _key: 'a' }), { status: 403, json: { code: 'HOST_FORBIDDEN' } })
    t.same(await keysOf(far, 'movies'), [])
    t.equal((await create(`http://127.0.0.1:${port}`, { _key: 'a' })).status, 201)
    t.same(await keysOf(far, 'movies'), ['a'])
  }
)

const predict = (url: string, image_id: string) =>
  call(`${url}/predict/image`, 'POST', { image_id, url: 'u' })

t.test('while ArangoDB is gone, readiness says why, and the host lives and predicts', async (t) => {
  const double = await startDouble(t)
  const store = arangoStore(double)
  const url = await serve(t, store, { plugins: ['echo-params'] })
  const ready = () => call(`${url}/health/ready`, 'GET')
  t.equal((await create(url, { _key: 'a' })).status, 201)
  t.match((await ready()).json, { ready: true, reasons: { length: 0 } })
  await double.kill()
  // Nobody asks for a document meanwhile.
  const unready = await until('not ready', async () => {
    const answer = await ready()
    return answer.status === 503 ? answer : undefined
  })
  t.match(unready.json, { ready: false, reasons: [/document store/] })
  t.equal(unready.json.reasons.length, 1)
  t.match(unready.json.reasons[0], `127.0.0.1:${double.port}`)
  t.match(unready.json.reasons[0], /ECONNREFUSED/)
  const answers = await Promise.all([
    call(`${url}/movies`, 'GET'),
    call(`${url}/movies/a`, 'GET'),
    create(url, { _key: 'b' }),
    call(`${url}/tokens`, 'GET'),
    call(`${url}/tokens`, 'GET', undefined, NDJSON)
  ])
  for (const answer of answers) {
    t.equal(answer.status, 503)
    t.match(answer.json, { code: 'HOST_DOCUMENTS_FAILED', detail: /ECONNREFUSED/ })
    t.ok(Number(answer.headers.get('retry-after')) > 0)
  }
  for (const { text } of [unready, ...answers]) t.notMatch(text, PASSWORD)
  t.match(await call(`${url}/health/live`, 'GET'), { status: 200, json: { live: true } })
  t.match(await predict(url, 'meanwhile'), { status: 200, text: /meanwhile/ })
  t.equal((await ready()).status, 503, 'and still says so')

  await startDouble(t, double.port)
  await until('ready again', async () => ((await ready()).status === 200 ? true : undefined))
  // A double that is new has forgotten the collections, and the first who asks finds that out.
  await until('created', async () =>
    (await create(url, { _key: 'c' })).status === 201 ? true : undefined
  )
  t.same(await keysOf(url, 'movies'), ['c'])
  t.match((await ready()).json, { ready: true, reasons: { length: 0 } })
})

t.test('an ArangoDB that does not answer yet does not keep the host from its start', async (t) => {
  const first = await startDouble(t)
  await first.kill()
  const url = await serve(t, arangoStore(first), { plugins: ['echo-params'] })
  t.match(await call(`${url}/health/ready`, 'GET'), {
    status: 503,
    json: { ready: false, reasons: [/document store.*ECONNREFUSED/] }
  })
  t.equal((await call(`${url}/health/live`, 'GET')).status, 200)
  t.match(await predict(url, 'early'), { status: 200, text: /early/ })
  await startDouble(t, first.port)
  t.equal((await create(url, { _key: 'a' })).status, 201)
  t.match(await call(`${url}/health/ready`, 'GET'), { status: 200, json: { reasons: [] } })
})

t.test('half an export does not look like a whole one', async (t) => {
  const double = await startDouble(t)
  const meta_label = { text: 'x'.repeat(20_000) }
  const url = await serve(t, arangoStore(double), {}, ({ tokens }) =>
    tokens.save(Array.from({ length: 1500 }, (_, n) => token({ label: `n${n}`, meta_label })))
  )
  const agent = new Agent()
  t.teardown(() => agent.destroy())
  const sent = request(`${url}/tokens`, { headers: NDJSON, agent })
  sent.end()
  // The first page fills every buffer on the way; the second is asked for when this is read.
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  t.equal(answer.statusCode, 200)
  await double.kill()
  await t.rejects(text(answer), { code: 'ECONNRESET' })
  t.notOk(answer.complete)
  t.equal((await call(`${url}/health/live`, 'GET')).status, 200)
})

t.test('a password that ArangoDB refuses ends the host at its start', async (t) => {
  const store = arangoStore(shared)
  const home = await makeHome(t, { plugins: ['echo-params'] })
  const wrong = [
    ['not the password', { DEFAULT_ARANGO_PASSWORD: 'not the password' }],
    [PASSWORD, { DEFAULT_ARANGO_USER: 'nobody' }]
  ] as const
  for (const [password, env] of wrong) {
    const child = spawn(process.execPath, [MAIN, 'serve'], {
      cwd: home,
      env: { PATH: process.env.PATH, PORT: '0', HOST: '127.0.0.1', ...store.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    t.teardown(() => child.kill('SIGKILL'))
    const [stdout, stderr, [code, signal]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'exit')
    ])
    const user = 'DEFAULT_ARANGO_USER' in env ? env.DEFAULT_ARANGO_USER : 'root'
    t.equal(signal, null)
    t.equal(code, 70)
    const said = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const last = said.at(-1)
    t.equal(last.level, 'fatal')
    t.match(last.msg, /the host cannot start/)
    t.match(last.msg, `127.0.0.1:${shared.port}`)
    t.match(last.msg, `user '${user}' was refused`)
    t.notOk(
      said.some((line) => 'url' in line && /listening/.test(line.msg)),
      'it never listened'
    )
    const secrets = [password, encodeURIComponent(password)]
    for (const name of [`${user}:${password}`, password]) {
      secrets.push(Buffer.from(name).toString('base64'))
    }
    for (const secret of secrets) t.notOk((stdout + stderr).includes(secret), 'no password is told')
  }
})

t.test('ARANGO_HOST may be a URL, and the password stand in a file', async (t) => {
  const { env } = arangoStore(shared)
  const { DEFAULT_ARANGO_PASSWORD, ARANGO_PORT, ARANGO_HOST, ...others } = env
  const file = 'the password'
  const home = await makeHome(t, {
    prepare: (folder) => writeFile(join(folder, file), `${PASSWORD}\n`)
  })
  const host = await spawnHost(t, {
    home,
    env: {
      ...others,
      ARANGO_HOST: `http://${ARANGO_HOST}:${ARANGO_PORT}`,
      DEFAULT_ARANGO_PASSWORD_FILE: join(home, file)
    }
  })
  t.equal((await create(host.url, { _key: 'a' })).status, 201)
  t.equal((await call(`${host.url}/health/ready`, 'GET')).status, 200)
  t.notMatch(JSON.stringify(host.lines), PASSWORD)
})

/** The values of an export. */
function linesOf(lines: string): Shown[] {
  if (lines !== '' && !lines.endsWith('\n')) throw new Error('the last line does not end')
  return lines
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}
