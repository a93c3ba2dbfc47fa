import t from 'tap'
import type { DocumentFields, StoredDocument } from '../../documents/stored-document.ts'
import { oddTexts } from '../movie-store-contract.ts'
import { INVALID, type Movies, ONE, type OpenStores, prepare } from './prepare.ts'

export function documents(driver: string, open: OpenStores): void {
  t.test(
    `${driver}: a pipeline is created under its key, else its id, else one of its own`,
    async (t) => {
      const { pipelines } = await prepare(t, open)
      const created = await pipelines.create({
        _key: 'p-1',
        id: 'another',
        tag: oddTexts,
        none: null
      })
      const { _rev, ...rest } = created
      t.ok(typeof _rev === 'string' && _rev !== '')
      const names = { _id: 'pipelines/p-1', _key: 'p-1', id: 'p-1' }
      t.strictSame(rest, { ...names, tag: oddTexts, none: null, tasks: {}, inputs: {} })
      t.strictSame(await pipelines.get('p-1'), { ...created, movies: {} })
      t.strictSame(await pipelines.get('pipelines/p-1'), { ...created, movies: {} })
      t.equal((await pipelines.create({ _id: 'pipelines/p-2' }))._key, 'p-2')
      const byId = await pipelines.create({
        id: 'p-3',
        tasks: { a: 'active' },
        inputs: { e: { n: 1 } }
      })
      t.match(byId, { _key: 'p-3', id: 'p-3', tasks: { a: 'active' }, inputs: { e: { n: 1 } } })
      const [one, two] = await Promise.all([pipelines.create({}), pipelines.create({})])
      t.match(one._key, /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[\da-f]{4}-[\da-f]{12}$/)
      t.equal(one['id'], one._key)
      t.not(one._key, two._key)
    }
  )

  t.test(
    `${driver}: movies are kept as an object in the order given, whatever their form`,
    async (t) => {
      const { pipelines, moviesOf } = await prepare(t, open)
      const ids = ['Movies/9', 'Movies/-3132222071598952047', 'Movies/10', "Movies/it's"]
      const created = await pipelines.create({ _key: 'p', movies: ids })
      t.notOk('movies' in created)
      t.strictSame(Object.keys(await moviesOf()), ids)
      t.match((await moviesOf())['Movies/-3132222071598952047'], { _key: '-3132222071598952047' })
      await pipelines.create({ _key: 'bare', movies: ['9', '10', 'Movies/8'] })
      t.strictSame(Object.keys(await moviesOf('bare')), ['Movies/9', 'Movies/10', 'Movies/8'])
      const listed = [
        { _id: 'Movies/b', _key: 'b', status: { x: 'success' }, context: 'c' },
        { _id: 'Movies/a' },
        { _key: '7', status: {} }
      ]
      await pipelines.create({ _key: 'listed', movies: listed })
      const fromList = await moviesOf('listed')
      t.strictSame(Object.keys(fromList), ['Movies/b', 'Movies/a', 'Movies/7'])
      t.match(fromList, {
        'Movies/b': { _key: 'b', status: { x: 'success' }, context: 'c' },
        'Movies/a': { _key: 'a' },
        'Movies/7': { _key: '7' }
      })
      const object = {
        'Movies/z': { _key: 'z', context: '', status: { a: 'fail' }, more: { deep: [null, 1] } },
        'Movies/y': { _key: 'y', context: oddTexts, status: {} }
      }
      await pipelines.create({ _key: 'object', movies: object })
      t.strictSame(await moviesOf('object'), object)
      t.strictSame(Object.keys(await moviesOf('object')), ['Movies/z', 'Movies/y'])
    }
  )

  t.test(`${driver}: what no pipeline can be is refused, and leaves nothing`, async (t) => {
    const { pipelines } = await prepare(t, open)
    const refused: Array<[string, DocumentFields, RegExp]> = [
      ['named twice', { movies: ['Movies/1', 'Movies/2', 'Movies/1'] }, /Movies\/1.*twice/],
      ['twice in two forms', { movies: ['1', { _id: 'Movies/1' }] }, /twice/],
      ['twice as keys', { movies: { 'Movies/1': {}, 1: {} } }, /twice/],
      ['an illegal id', { movies: ['Movies/a b'] }, /a b/],
      ['an id of no key', { movies: ['Movies/'] }, /Movies/],
      ['an id that is too long', { movies: [`Movies/${'x'.repeat(255)}`] }, /xxx/],
      ['an illegal key of the object', { movies: { 'Movies/é': {} } }, /é/],
      ['no id', { movies: [{ status: {} }] }, /movie 0/],
      ['a number', { movies: ['Movies/1', 7] }, /movie 1/],
      ['no object', { movies: { 'Movies/1': 'text' } }, /Movies\/1/],
      ['no movies', { movies: 'Movies/1' }, /movies/],
      ['an illegal key', { _key: 'a/b' }, /_key/],
      ['an illegal id of the pipeline', { _key: undefined, id: 'a b' }, /id/],
      ['an id that is no text', { _key: undefined, id: 7 }, /id/],
      ['no JSON', { size: 1n }, /JSON/]
    ]
    for (const [what, document, message] of refused) {
      await t.rejects(pipelines.create({ _key: 'p', ...document }), { ...INVALID, message }, what)
    }
    t.strictSame((await pipelines.list({ limit: 10 })).documents, [])
  })

  t.test(`${driver}: a taken key is an error, and its pipeline stays as it is`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1'], tag: 'first' })
    const before = await pipelines.get('p')
    const exists = { code: 'HOST_DOCUMENT_EXISTS', statusCode: 409, message: /pipelines\/p/ }
    await t.rejects(pipelines.create({ _key: 'p', movies: ['2'] }), exists)
    await t.rejects(pipelines.create({ id: 'p', movies: ['2'] }), exists)
    t.strictSame(await pipelines.get('p'), before)
    const tries = [1, 2, 3].map((n) => pipelines.create({ _key: 'q', movies: [`${n}`], n }))
    const done = (await Promise.allSettled(tries)).filter(({ status }) => status === 'fulfilled')
    t.equal(done.length, 1)
    const { n, movies } = (await pipelines.get('q')) as StoredDocument
    t.strictSame(
      Object.keys(movies as object),
      [`Movies/${n}`],
      'all of the one, none of the others'
    )
  })

  t.test(`${driver}: a pipeline is given with its movies or without, as a copy`, async (t) => {
    const { pipelines } = await prepare(t, open)
    const document = {
      _key: 'p',
      movies: { 'Movies/1': { status: { a: 'x' } } },
      inputs: { e: { n: 1 } }
    }
    const creating = pipelines.create(document)
    document.inputs.e.n = 2
    document.movies['Movies/1'].status.a = 'y'
    const created = await creating
    const whole = (await pipelines.get('p')) as StoredDocument
    t.match(whole, { inputs: { e: { n: 1 } }, movies: { 'Movies/1': { status: { a: 'x' } } } })
    const { movies, ...rest } = whole
    t.strictSame(await pipelines.get('p', { movies: false }), rest)
    t.strictSame(await pipelines.get('p', { movies: true }), whole)
    t.strictSame(rest, created)
    ;(whole['inputs'] as Movies)['e'] = { status: {} }
    ;(movies as Movies)['Movies/1'] = { status: {} }
    const kept = { inputs: { e: { n: 1 } }, movies: { 'Movies/1': { status: { a: 'x' } } } }
    t.match(await pipelines.get('p'), kept)
  })

  t.test(`${driver}: what is not there is undefined, and empty`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1'] })
    await pipelines.reconcile('p', ONE)
    for (const id of ['q', 'pipelines/q', 'Movies/p', 'pipelines/p/p', '', 'é', 'a\0', '..']) {
      t.equal(await pipelines.get(id), undefined, id)
      t.equal(await pipelines.update(id, { tasks: { a: 'active' } }), undefined, id)
      t.equal(await pipelines.update(id, {}, { status: ['x'] }), undefined, 'not null')
      t.equal(await pipelines.reconcile(id, ONE), undefined, id)
      t.strictSame(await pipelines.claim(id, 'a', { owner: 'host', limit: 1 }), [], id)
      t.match(await pipelines.items({ pipeline: id, limit: 1 }), { items: [], next: undefined })
    }
    for (const task of ['b', 'A', '', "a'", 'a\0', '__proto__']) {
      t.strictSame(await pipelines.claim('p', task, { owner: 'host', limit: 1 }), [], task)
      t.match(await pipelines.items({ pipeline: 'p', task, limit: 1 }), { items: [] }, task)
    }
    for (const limit of [0, -1, Number.NaN]) {
      t.strictSame(await pipelines.claim('p', 'a', { owner: 'host', limit }), [])
    }
    t.strictSame(await pipelines.record([], ONE), [])
  })
}
