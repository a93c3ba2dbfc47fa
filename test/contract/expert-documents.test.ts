import t from 'tap'
import { expertOf, predict, untilTrue } from '../support/experts.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

const asker = plugin(
  'asker',
  `async init() { this.atStart = (await this.movies.get('at-start')) ?? null }
  async predict({ movie_id, extra_params }) {
    const { store, method, args = [] } = extra_params ?? {}
    if (store === undefined) return { result: { movie_id, info: (await this.movies.get(movie_id)) ?? {}, extra_params } }
    if (method === 'atStart') return this.atStart
    try {
      return { result: (await this[store][method](...args)) ?? null, error: null }
    } catch (error) {
      if (movie_id === 'thrown') throw error
      return { result: null, error: error.message, name: error.name, code: error.code }
    }
  }`
)

t.test('an expert keeps and finds movies and tokens through its host', async (t) => {
  const { url } = await startHost(t, { files: { asker, second: { ...asker, ...named('second') } } })
  const ask = async (store: string, method: string, args: unknown[] = [], name = 'asker') =>
    (await predict(url, name, 'Movies/1', { store, method, args })).json

  t.test('A23 an unknown movie', async (t) => {
    const { status, json } = await predict(url, 'asker', 'Movies/1')
    t.equal(status, 200)
    t.strictSame(json, { result: { movie_id: 'Movies/1', info: {}, extra_params: null } })
  })

  t.test('what one expert saves, another and the routes find', async (t) => {
    const saved = await ask('movies', 'save', [
      { _key: '1', name: "O'Neill – film", meta: { fps: 25 } }
    ])
    t.match(saved, { error: null, result: { _id: 'Movies/1', name: "O'Neill – film" } })
    await ask('movies', 'update', ['Movies/1', { meta: { width: 320 } }], 'second')
    const { json } = await call(`${url}/movies/1`, 'GET')
    t.match(json, { name: "O'Neill – film", meta: { fps: 25, width: 320 } })
    t.strictSame((await predict(url, 'second', 'Movies/1')).json.result.info, json)
    t.match(await ask('movies', 'list'), { result: { documents: [json] } })
    t.strictSame(await ask('movies', 'get', ['Movies/none']), { result: null, error: null })
  })

  t.test('A59 a token saved twice is one document; a list and any label work', async (t) => {
    const light = { movie_id: 'Movies/1', label: 'traffic light', bbox: [[1, 2, 3, 4]] }
    for (const _ of [1, 2]) {
      const { result } = await ask('tokens', 'save', [light])
      t.strictSame(result, ['Tokens/1:0:0:traffic_light'])
    }
    const odd = ['a/b', 'é', null].map((label) => ({ movie_id: 'Movies/1', label }))
    const { result } = await ask('tokens', 'save', [odd])
    t.equal(new Set(result).size, 3)
    for (const id of result) t.match(id, /^Tokens\/[A-Za-z0-9_\-:.@()+,=;$!*'%]+$/)
    const { tokens } = (await call(`${url}/tokens?movie_id=Movies/1`, 'GET')).json
    t.equal(tokens.length, 4)
    t.ok(
      tokens.every((token: { expert: string }) => token.expert === 'asker'),
      'it is whose it is'
    )
    const theirs = await ask('tokens', 'save', [light], 'second')
    t.strictSame(theirs.result, ['Tokens/1:0:0:traffic_light:second'], 'another expert has its own')
  })

  t.test('what cannot be done is told to the expert, and by it to its caller', async (t) => {
    t.strictSame(await ask('movies', 'get', [5]), {
      result: null,
      error: 'id is no string',
      name: 'ExpertError',
      code: 'HOST_DOCUMENT_INVALID'
    })
    t.match(await ask('movies', 'create', [{ _key: '1' }]), { code: 'HOST_DOCUMENT_EXISTS' })
    t.match(await ask('tokens', 'list', [{ limit: 5000 }]), { error: /limit is 5000/ })
    const extra = { store: 'movies', method: 'get', args: [5] }
    const thrown = await predict(url, 'asker', 'thrown', extra)
    t.match(thrown, {
      status: 422,
      json: { code: 'HOST_DOCUMENT_INVALID', detail: 'id is no string' }
    })
  })

  t.test('init may ask too', async (t) => {
    t.equal((await predict(url, 'asker', 'x', { store: '-', method: 'atStart' })).json, null)
    await ask('movies', 'create', [{ _key: 'at-start', year: 1927 }])
    t.equal((await call(`${url}/manage/experts/asker/restart`, 'POST')).status, 200)
    const { json } = await predict(url, 'asker', 'x', { store: '-', method: 'atStart' })
    t.match(json, { _id: 'Movies/at-start', year: 1927 })
  })
})

t.test(
  'many questions at once are all answered; what is no question of the SDK ends the process',
  async (t) => {
    const files = {
      curious: plugin(
        'curious',
        `async predict({ movie_id }) {
        if (movie_id === 'many') {
          const answers = await Promise.all(Array.from({ length: 500 }, (_, i) => this.movies.get(String(i))))
          return answers.filter((answer) => answer === undefined).length
        }
        if (movie_id === 'flood') {
          const { writeSync } = await import('node:fs')
          for (let i = 0; i < 100; i++) writeSync(3, '["ask",' + (1000 + i) + ',"movies.get"]\\t["1"]\\n')
          await new Promise(() => {})
        }
        return 'here'
      }`
      )
    }
    const { url } = await startHost(t, { files })
    t.equal((await predict(url, 'curious', 'many')).json, 500)
    const flood = await predict(url, 'curious', 'flood')
    t.match(flood, { status: 502, json: { detail: /asked more than 32 questions at once/ } })
    await untilTrue('its return', async () => (await expertOf(url, 'curious')).status === 'ACTIVE')
    t.equal((await predict(url, 'curious', 'again')).json, 'here')
  }
)

/** A manifest like the asker's with another name. */
function named(name: string): Record<string, string> {
  const manifest = JSON.parse(asker['package.json'] as string)
  return { 'package.json': JSON.stringify({ ...manifest, name }) }
}
