import t, { type Test } from 'tap'
import type { DocumentStores } from '../documents/document-stores.ts'
import type { MovieQuery } from '../documents/movie-store.ts'
import type { DocumentFields, StoredDocument } from '../documents/stored-document.ts'

/** What is data, however it looks in a language of queries. */
export const oddTexts = [
  `it's "quoted" \\ and \`ticked\``,
  '" RETURN d //',
  'größe 😀 \u2028',
  '@value',
  '-',
  ''
]

/** What every driver of `MovieStore` promises. `make` gives empty stores. */
export function movieStoreContract(driver: string, make: () => Promise<DocumentStores>): void {
  const prepare = async (t: Test) => {
    const stores = await make()
    t.teardown(() => stores.close())
    const { movies, tokens } = stores
    const collect = async (query: Partial<MovieQuery>) => {
      const documents: StoredDocument[] = []
      const ids: string[] = []
      let cursor: string | undefined
      do {
        const page = await movies.list({ limit: 3, ...query, cursor })
        const named = await movies.ids({ limit: 3, ...query, cursor })
        t.equal(named.next, page.next, 'both listings have the same pages')
        documents.push(...page.documents)
        ids.push(...named.ids)
        cursor = page.next
      } while (cursor !== undefined)
      t.strictSame(
        documents.map(({ _id }) => _id),
        ids
      )
      return documents
    }
    return { movies, tokens, collect }
  }

  t.test(`${driver}: a movie that is created is read as it was written`, async (t) => {
    const { movies } = await prepare(t)
    const movie = {
      _key: '-3132222071598952047',
      name: oddTexts,
      scenes: [[0, 375]],
      meta: { fps: 29.97, odd: Object.fromEntries(oddTexts.map((text) => [text, text])) },
      context: '',
      last: null,
      ['__proto__x']: JSON.parse('{"__proto__":{"a":1}}'),
      'a.b $c': true
    }
    const created = await movies.create(movie)
    const { _id, _rev, ...rest } = created
    t.equal(_id, 'Movies/-3132222071598952047')
    t.ok(typeof _rev === 'string' && _rev !== '')
    t.strictSame(rest, movie)
    t.strictSame(await movies.get(_id), created)
    t.strictSame(await movies.get('-3132222071598952047'), created)
    const inner = (await movies.get(_id))?.['__proto__x'] as object
    t.strictSame(Object.keys(inner), ['__proto__'], 'a field of any name is a field')
  })

  t.test(`${driver}: without a key, one is given that grows and is no other's`, async (t) => {
    const { movies } = await prepare(t)
    const first = await movies.create({ name: 'first' })
    const second = await movies.create({ name: 'second' })
    t.match(first._key, /^\d+$/)
    t.equal(first._id, `Movies/${first._key}`)
    t.ok(Number(second._key) > Number(first._key), `${first._key} < ${second._key}`)
    const taken = [1, 2, 3, 4, 5, 6, 7, 8].map((more) => String(Number(second._key) + more))
    for (const _key of taken) await movies.create({ _key, name: 'chosen' })
    const others = await Promise.all([1, 2, 3, 4].map((name) => movies.save({ name })))
    const keys = new Set([first, second, ...others].map(({ _key }) => _key))
    t.equal(keys.size, 6)
    t.notOk(taken.some((key) => keys.has(key)))
    for (const key of taken) t.equal((await movies.get(key))?.['name'], 'chosen')
  })

  t.test(`${driver}: a taken key is an error, and its movie stays as it is`, async (t) => {
    const { movies } = await prepare(t)
    const before = await movies.create({ _key: 'a', n: 1 })
    const exists = { code: 'HOST_DOCUMENT_EXISTS', statusCode: 409, message: /Movies\/a/ }
    await t.rejects(movies.create({ _key: 'a', n: 2 }), exists)
    await t.rejects(movies.create({ _id: 'Movies/a', n: 2 }), exists)
    t.strictSame(await movies.get('a'), before)
    const both = await Promise.allSettled([1, 2].map((n) => movies.create({ _key: 'b', n })))
    t.strictSame(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  })

  t.test(`${driver}: what no document can be is refused by name`, async (t) => {
    const { movies, collect } = await prepare(t)
    const invalid = (message: RegExp) => ({
      code: 'HOST_DOCUMENT_INVALID',
      statusCode: 422,
      message
    })
    for (const _key of ['', 'a/b', 'é', 'a b', 'x'.repeat(255), 7]) {
      await t.rejects(movies.create({ _key }), invalid(/_key/), JSON.stringify(_key))
      await t.rejects(movies.save({ _key }), invalid(/_key/))
    }
    await t.rejects(movies.create({ _id: 'Tokens/a' }), invalid(/_id/))
    await t.rejects(movies.create({ size: 1n }), invalid(/JSON/))
    await t.rejects(movies.save([] as unknown as DocumentFields), invalid(/object/))
    await t.rejects(movies.list({ limit: 1, cursor: 'a/b' }), invalid(/cursor/))
    t.strictSame(await collect({}), [])
    const longest = await movies.create({ _key: 'x'.repeat(254) })
    t.strictSame(await movies.get(longest._id), longest)
    for (const _key of ['..', '.', '%2e', '*', "it's", ';', '@:(),=+$!_-']) {
      t.equal((await movies.create({ _key }))._key, _key)
      t.equal((await movies.update(_key, { _key: 'b', _id: 'c', _rev: 'd', n: 1 }))?._key, _key)
      t.equal((await movies.get(`Movies/${_key}`))?.['n'], 1)
    }
  })

  t.test(`${driver}: what is not there is undefined`, async (t) => {
    const { movies } = await prepare(t)
    await movies.create({ _key: 'a' })
    for (const id of ['b', 'Movies/b', 'Tokens/a', 'Movies/a/a', '', 'Movies/', 'é', 'a\0', '..']) {
      t.equal(await movies.get(id), undefined, id)
      t.equal(await movies.update(id, { n: 1 }), undefined, id)
    }
  })

  t.test(`${driver}: a save merges objects deeply and replaces all else`, async (t) => {
    const { movies } = await prepare(t)
    const first = await movies.save({
      _key: 'a',
      meta: { fps: 25, size: { width: 1, height: 2 }, tags: [1, 2, 3] },
      scenes: [[0, 1]],
      name: 'old',
      status: 'created',
      object: { a: 1 },
      list: [{ a: 1 }]
    })
    const second = await movies.save({
      _key: 'a',
      _rev: 'another',
      meta: { size: { width: null }, tags: [4] },
      scenes: [],
      name: null,
      object: 'text',
      list: { b: 2 },
      more: { x: { y: null } }
    })
    const { _id, _key, _rev, ...fields } = second
    t.strictSame(fields, {
      meta: { fps: 25, size: { width: null, height: 2 }, tags: [4] },
      scenes: [],
      name: null,
      status: 'created',
      object: 'text',
      list: { b: 2 },
      more: { x: { y: null } }
    })
    t.not(_rev, first._rev, 'another revision')
    t.strictSame(await movies.get('a'), second)
    const third = await movies.update('Movies/a', { meta: { size: { height: 3 } } })
    t.strictSame(third?.['meta'], { fps: 25, size: { width: null, height: 3 }, tags: [4] })
    t.equal(third?.['status'], 'created')
    t.not(third?._rev, _rev)
    t.strictSame(await movies.get('a'), third)
  })

  t.test(`${driver}: a copy is given and taken`, async (t) => {
    const { movies } = await prepare(t)
    const movie = {
      _key: 'a',
      meta: { fps: 25 },
      size: Number.NaN,
      half: 'a\ud800b',
      none: undefined
    }
    const saving = movies.save(movie)
    movie.meta.fps = 1
    const saved = await saving
    t.match(saved, { meta: { fps: 25 }, size: null, half: 'a\ufffdb' })
    t.notOk('none' in saved)
    ;(saved['meta'] as DocumentFields)['fps'] = 2
    const [one, two] = await Promise.all([movies.get('a'), movies.update('a', { n: 1 })])
    t.strictSame([one?.['meta'], two?.['meta']], [{ fps: 25 }, { fps: 25 }])
    t.equal(one?.['half'], 'a\ufffdb')
  })

  t.test(`${driver}: of 50 who merge at once, none loses a field`, async (t) => {
    const { movies } = await prepare(t)
    await movies.create({ _key: 'a', tasks: { all: 'kept' } })
    const places = Array.from({ length: 50 }, (_, place) => place)
    const written = await Promise.all(
      places.map((place) => {
        const patch = { tasks: { [`task ${place}`]: { place, note: null } } }
        return place % 2 === 0 ? movies.update('a', patch) : movies.save({ _key: 'a', ...patch })
      })
    )
    t.equal(new Set(written.map((movie) => movie?._rev)).size, 50, 'each write is a revision')
    for (const [place, movie] of written.entries()) {
      const own = (movie as StoredDocument & { tasks: DocumentFields }).tasks[`task ${place}`]
      t.strictSame(own, { place, note: null }, 'everyone is given what it wrote')
    }
    const tasks = places.map((place) => [`task ${place}`, { place, note: null }])
    t.strictSame((await movies.get('a'))?.['tasks'], { all: 'kept', ...Object.fromEntries(tasks) })
  })

  t.test(`${driver}: listings give what is asked for, page by page`, async (t) => {
    const { movies, collect } = await prepare(t)
    const keys = ['B', 'a', 'A', '_', '10', '9', 'b', '-1', 'Z', 'z']
    for (const [place, _key] of keys.entries()) {
      await movies.save({
        _key,
        status: place % 2 === 0 ? 'created' : `it's "done"`,
        File: oddTexts[place % oddTexts.length],
        pipeline_id: place < 5 ? 'p-1' : 'p-2'
      })
    }
    const all = await collect({})
    t.strictSame(all.map(({ _key }) => _key).sort(), [...keys].sort(), 'each once')
    t.strictSame(all, (await movies.list({ limit: 10 })).documents)
    t.equal((await movies.list({ limit: 10 })).next, undefined, 'a full last page is the last')
    t.equal((await movies.list({ limit: 9 })).documents.length, 9)
    const keysOf = async (query: Partial<MovieQuery>) =>
      (await collect(query)).map(({ _key }) => _key).sort()
    const placed = (fits: (place: number) => boolean) =>
      keys.filter((_, place) => fits(place)).sort()
    t.strictSame(
      await keysOf({ status: 'created' }),
      placed((place) => place % 2 === 0)
    )
    t.strictSame(
      await keysOf({ status: `it's "done"` }),
      placed((place) => place % 2 === 1)
    )
    t.strictSame(await keysOf({ status: 'other' }), [])
    for (const [at, file] of oddTexts.entries()) {
      t.strictSame(
        await keysOf({ file }),
        placed((place) => place % oddTexts.length === at)
      )
    }
    const both = { status: 'created', pipeline_id: 'p-2' }
    t.strictSame(
      await keysOf(both),
      placed((place) => place % 2 === 0 && place >= 5)
    )
  })

  t.test(`${driver}: who reads page by page misses nothing and meets nothing twice`, async (t) => {
    const { movies } = await prepare(t)
    const name = (place: number) => `m${String(place).padStart(3, '0')}`
    for (let place = 1; place < 60; place += 2) await movies.create({ _key: name(place) })
    const met: string[] = []
    let cursor: string | undefined
    let late = 0
    do {
      const page = await movies.ids({ limit: 4, cursor })
      met.push(...page.ids)
      cursor = page.next
      // One behind the reader, one before it, and one that it has read.
      await movies.save({ _key: name(late) })
      await movies.save({ _key: name(59 - late - 1) })
      await movies.update(page.ids[0] as string, { n: late })
      late += 2
    } while (cursor !== undefined)
    t.equal(new Set(met).size, met.length, 'nothing twice')
    for (let place = 1; place < 60; place += 2) {
      t.ok(met.includes(`Movies/${name(place)}`), `${place} was there all the time`)
    }
  })

  t.test(`${driver}: a scene is what another collection knows of it`, async (t) => {
    const { movies, tokens } = await prepare(t)
    const more = { scene: 0, bbox: null, re_id: 0, expert: 'e' }
    await tokens.save([
      { ...more, movie_id: 'Movies/a', scene_element: 1, label: 'car', meta_label: { n: 1 } },
      { ...more, movie_id: 'a', scene_element: 1, label: 'dog', meta_label: null },
      { ...more, movie_id: 'Movies/a', scene_element: 2, label: 'cat', meta_label: null }
    ])
    t.match(await movies.scene('Tokens', 'Movies/a', 1), { label: 'dog', scene_element: 1 })
    t.match(await movies.scene('Tokens', 'a', 2), { _id: 'Tokens/a:2:0:cat', label: 'cat' })
    t.equal(await movies.scene('Tokens', 'a', 3), undefined)
    t.equal(await movies.scene('Tokens', 'b', 1), undefined)
    t.equal(await movies.scene('never_made', 'a', 1), undefined)
    for (const name of ['_users', '', 'a b', 'Tokens RETURN 1', '@@x', 'é']) {
      const invalid = { code: 'HOST_DOCUMENT_INVALID', message: /collection/ }
      await t.rejects(movies.scene(name, 'a', 1), invalid, name)
    }
  })
}
