import type { ImageToken, TokenRecord } from '@nebula-experts/sdk'
import t, { type Test } from 'tap'
import type { DocumentStores } from '../documents/document-stores.ts'
import type { StoredDocument } from '../documents/stored-document.ts'
import type { TokenQuery } from '../documents/token-store.ts'
import { oddTexts } from './movie-store-contract.ts'

const LEGAL = /^[A-Za-z0-9_\-:.@()+,=;$!*'%]{1,254}$/

/** What every driver of `TokenStore` promises. `make` gives empty stores. */
export function tokenStoreContract(driver: string, make: () => Promise<DocumentStores>): void {
  const prepare = async (t: Test) => {
    const stores = await make()
    t.teardown(() => stores.close())
    const { tokens } = stores
    const all = async (query: Partial<TokenQuery> = {}) => {
      const documents: StoredDocument[] = []
      let cursor: string | undefined
      do {
        const page = await tokens.list({ collection: 'Tokens', limit: 1200, ...query, cursor })
        documents.push(...page.documents)
        cursor = page.next
      } while (cursor !== undefined)
      return documents
    }
    const images = (query: Partial<TokenQuery> = {}) => all({ collection: 'ImageTokens', ...query })
    return { tokens, all, images }
  }

  t.test(`${driver}: a token that is saved twice is one document`, async (t) => {
    const { tokens, all } = await prepare(t)
    const entry = token({ label: 'traffic light', bbox: [{ bbox: [1, 2, 3, 4], score: 0.5 }] })
    const ids = await tokens.save([entry])
    t.strictSame(ids, ['Tokens/305:0:0:traffic_light'])
    const [first] = await all()
    t.strictSame(await tokens.save([entry]), ids)
    const [second, ...others] = await all()
    t.strictSame(others, [])
    const { _id, _key, _rev, ...fields } = second as StoredDocument
    t.strictSame(fields, entry)
    t.equal(_key, '305:0:0:traffic_light')
    t.not(_rev, first?._rev)
    t.strictSame(await tokens.save([]), [])
  })

  t.test(`${driver}: tokens of one key in one call are one document`, async (t) => {
    const { tokens, all } = await prepare(t)
    const [a, b, c] = [[1, 2, 3, 4], [5, 6, 7, 8], { bbox: [9, 9, 9, 9], score: 1 }] as const
    const same = (label: string, ...boxes: unknown[]) => boxes.map((bbox) => token({ label, bbox }))
    const ids = await tokens.save([
      ...same('lists', [a, c], null, [b, { score: 1, bbox: [9, 9, 9, 9] }], [a]),
      ...same('flat', a, b, a),
      ...same('once', a, a),
      ...same('none', null, null),
      ...same('frames', { 1: a, 2: b }, { 2: c, 3: a }),
      ...same('mixed', [a], { 7: b }),
      token({ label: 'meta', meta_label: { n: { a: 1 }, l: [1] }, re_id: 1 }),
      token({ label: 'meta', meta_label: { n: { b: 2 }, l: [2] }, re_id: 2 }),
      token({ label: 'meta', meta_label: null, re_id: 3 })
    ])
    t.strictSame(
      ids,
      ['lists', 'flat', 'once', 'none', 'frames', 'mixed', 'meta'].map(
        (label) => `Tokens/305:0:0:${label}`
      )
    )
    const found = new Map((await all()).map((document) => [document['label'], document]))
    t.equal(found.size, 7)
    const bbox = (label: string) => found.get(label)?.['bbox']
    t.strictSame(bbox('lists'), [a, c, b])
    t.strictSame(bbox('flat'), [a, b])
    t.strictSame(bbox('once'), a)
    t.equal(bbox('none'), null)
    t.strictSame(bbox('frames'), { 1: a, 2: c, 3: a })
    t.strictSame(bbox('mixed'), [a, { 7: b }])
    t.match(found.get('meta'), { meta_label: { n: { a: 1, b: 2 }, l: [2] }, re_id: 3 })
  })

  t.test(`${driver}: saving again merges objects and replaces lists`, async (t) => {
    const { tokens, all } = await prepare(t)
    await tokens.save([
      token({ label: 'list', bbox: [[1, 1, 1, 1]], meta_label: { a: 1, b: { c: 1 } } }),
      token({ label: 'frames', bbox: { 1: [1], 2: [2] } })
    ])
    await tokens.save([
      token({ label: 'frames', bbox: { 2: [3], 4: null } }),
      token({ label: 'list', bbox: [[2, 2, 2, 2]], meta_label: { b: { d: null } } })
    ])
    const [frames, list, ...others] = await all()
    t.strictSame(others, [])
    t.strictSame(list?.['bbox'], [[2, 2, 2, 2]])
    t.strictSame(list?.['meta_label'], { a: 1, b: { c: 1, d: null } })
    t.strictSame(frames?.['bbox'], { 1: [1], 2: [3], 4: null })
  })

  t.test(`${driver}: two experts keep theirs, and find them again`, async (t) => {
    const { tokens, all } = await prepare(t)
    const of = (expert: string | null, score: number) => token({ expert, meta_label: { score } })
    t.strictSame(await tokens.save([of('actions', 1)]), ['Tokens/305:0:0:car'])
    const second = ['Tokens/305:0:0:car:places']
    t.strictSame(await tokens.save([of('places', 2)]), second)
    t.strictSame(await tokens.save([of('places', 3)]), second)
    t.strictSame(await tokens.save([of('actions', 4)]), ['Tokens/305:0:0:car'])
    const odd = [...oddTexts.filter((text) => text !== ''), null]
    const ids = await tokens.save(odd.map((expert, score) => of(expert, score)))
    t.equal(new Set(ids).size, odd.length)
    t.strictSame(await tokens.save(odd.map((expert, score) => of(expert, score + 1))), ids)
    for (const id of ids) t.match(id.slice('Tokens/'.length), LEGAL)
    const scores = (await all()).map(({ expert, meta_label }) => [expert, meta_label])
    const expected = [['actions', 4], ['places', 3], ...odd.map((expert, n) => [expert, n + 1])]
    const byName = (a: unknown[], b: unknown[]) => (String(a[0]) < String(b[0]) ? -1 : 1)
    t.strictSame(
      scores.sort(byName),
      expected.map(([expert, score]) => [expert, { score }]).sort(byName)
    )
  })

  t.test(`${driver}: experts that come at once too`, async (t) => {
    const { tokens, all } = await prepare(t)
    const experts = Array.from({ length: 12 }, (_, place) => `expert ${place % 6}`)
    const save = (expert: string, place: number) =>
      tokens.save([token({ expert, meta_label: { [`call ${place}`]: true } })])
    const ids = (await Promise.all(experts.map(save))).flat()
    t.equal(new Set(ids).size, 6)
    t.strictSame(ids.slice(6), ids.slice(0, 6))
    const found = await all()
    t.equal(found.length, 6)
    for (const [place, expert] of experts.slice(0, 6).entries()) {
      const meta = { [`call ${place}`]: true, [`call ${place + 6}`]: true }
      t.strictSame(found.find((document) => document['expert'] === expert)?.['meta_label'], meta)
    }
  })

  t.test(`${driver}: every label has a legal key of its own`, async (t) => {
    const { tokens, all } = await prepare(t)
    const long = 'x'.repeat(300)
    const labels = [
      ...[null, 'null', -1, '-1', 5, '5', 1.5, true, {}, [], { a: 1, b: 2 }, ['car']],
      ...['a/b', 'a_b', 'a b', 'é', 'è', '', ' ', '_', long, `${long}x`, 'car:b', 'a:b'],
      ...[...oddTexts.filter((text) => text !== ''), '0:0:car', 'a/b.', 'x'.repeat(254)]
    ]
    const entries = labels.map((label) => token({ label }))
    const ids = await tokens.save(entries)
    t.equal(new Set(ids).size, labels.length)
    for (const id of ids) t.match(id.slice('Tokens/'.length), LEGAL)
    t.strictSame(await tokens.save([...entries].reverse()), [...ids].reverse(), 'found again')
    for (const [place, entry] of entries.entries()) {
      t.strictSame(await tokens.save([entry]), [ids[place]], 'one by one too')
    }
    const found = await all()
    t.equal(found.length, labels.length)
    for (const [place, id] of ids.entries()) {
      t.strictSame(found.find(({ _id }) => _id === id)?.['label'], labels[place])
    }
    t.strictSame(
      ids.slice(0, 2).map((id) => id.slice(0, 19)),
      ['Tokens/305:0:0:null', 'Tokens/305:0:0:null']
    )
    t.equal(ids[1], 'Tokens/305:0:0:null', 'a plain text has the plain key')
  })

  t.test(`${driver}: keys that read alike are of different tokens`, async (t) => {
    const { tokens, all } = await prepare(t)
    const entries = [
      token({ movie_id: 'a', scene_element: 1, scene: 2, label: 'x' }),
      token({ movie_id: 'a:1', scene_element: 2, scene: 3, label: 'x' }),
      token({ movie_id: 'a', scene_element: 1, scene: 2, label: '3:x' }),
      token({ movie_id: 'Other/a', label: 'x' }),
      token({ movie_id: 'Movies/a b', label: 'x' }),
      token({ movie_id: 'Movies/a_b', label: 'x' }),
      token({ movie_id: `Movies/${'m'.repeat(254)}`, label: 'x' }),
      token({ movie_id: `Movies/${'m'.repeat(254)}`, label: 'y' }),
      token({ movie_id: 'ü', label: 'x' })
    ]
    const ids = await tokens.save(entries)
    t.equal(new Set(ids).size, entries.length)
    for (const id of ids) t.match(id.slice('Tokens/'.length), LEGAL)
    t.strictSame(await tokens.save(entries), ids)
    t.equal((await all()).length, entries.length)
    t.equal((await all({ movie_id: 'a' })).length, 2)
    t.equal((await all({ movie_id: 'Movies/a:1' })).length, 1)
    t.equal((await all({ movie_id: 'Other/a' })).length, 1)
    t.equal((await all({ movie_id: 'a', scene_element: 1, label: '3:x' })).length, 1)
  })

  t.test(`${driver}: a wrong field is named, and nothing is saved`, async (t) => {
    const { tokens, all, images } = await prepare(t)
    const wrong: Array<[object, RegExp]> = [
      [{ movie_id: '' }, /movie_id of the token 1 is empty/],
      [{ movie_id: 'Movies/' }, /movie_id/],
      [{ movie_id: null }, /movie_id/],
      [{ movie_id: undefined }, /movie_id of the token 1 is missing/],
      [{ scene_element: 'one' }, /scene_element/],
      [{ scene: 0.5 }, /scene /]
    ]
    for (const [fields, message] of wrong) {
      const entries = [token(), { ...token(), ...fields } as TokenRecord]
      const invalid = { code: 'HOST_DOCUMENT_INVALID', statusCode: 422, message }
      await t.rejects(tokens.save(entries), invalid)
    }
    const empty = { ...image(), id: '' }
    await t.rejects(tokens.saveImages([image(), empty]), { message: /id of the image token 1/ })
    t.strictSame(await all(), [])
    t.strictSame(await images(), [])
    const inWrong = { collection: 'Tokens', image_id: '1', limit: 1 } as const
    await t.rejects(tokens.list(inWrong), { code: 'HOST_DOCUMENT_INVALID', message: /image_id/ })
    const alone = { collection: 'ImageTokens', scene_element: 1, limit: 1 } as const
    await t.rejects(tokens.list(alone), { code: 'HOST_DOCUMENT_INVALID', message: /scene_element/ })
  })

  t.test(`${driver}: what a token leaves out has its default`, async (t) => {
    const { tokens, all } = await prepare(t)
    await tokens.save([{ movie_id: '305', extra: 1 } as unknown as TokenRecord])
    const [{ _id, _key, _rev, ...fields }] = (await all()) as [StoredDocument]
    t.strictSame(fields, { ...token({ label: null, expert: null }), extra: 1 })
  })

  t.test(`${driver}: listings give what is asked for`, async (t) => {
    const { tokens, all } = await prepare(t)
    const entries = [1, 2].flatMap((movie) =>
      ['car', 'dog', null, `it's "odd"`].flatMap((label) =>
        ['a', 'b'].map((expert) => token({ movie_id: `${movie}`, label, expert, scene: movie }))
      )
    )
    await tokens.save(entries)
    const count = async (query: Partial<TokenQuery>) => (await all({ limit: 3, ...query })).length
    t.equal(await count({}), 16)
    t.equal(await count({ movie_id: '1' }), 8)
    t.equal(await count({ movie_id: 'Movies/2', expert: 'a' }), 4)
    t.equal(await count({ expert: 'b', label: `it's "odd"` }), 2)
    t.equal(await count({ label: null }), 4)
    t.equal(await count({ label: 'null' }), 0)
    t.equal(await count({ expert: null }), 0)
    t.equal(await count({ movie_id: '1', scene_element: 0 }), 8)
    t.equal(await count({ scene_element: 1 }), 0)
    t.equal(await count({ movie_id: `1' OR ''='` }), 0)
  })

  t.test(`${driver}: who reads page by page misses nothing and meets nothing twice`, async (t) => {
    const { tokens } = await prepare(t)
    const name = (place: number) => `label ${String(place).padStart(3, '0')}`
    await tokens.save(Array.from({ length: 40 }, (_, n) => token({ label: name(2 * n + 1) })))
    const met: unknown[] = []
    let cursor: string | undefined
    let late = 0
    do {
      const page = await tokens.list({ collection: 'Tokens', movie_id: '305', limit: 7, cursor })
      met.push(...page.documents.map(({ label }) => label))
      cursor = page.next
      await tokens.save([late, 40 + late, 1].map((place) => token({ label: name(place) })))
      late += 2
    } while (cursor !== undefined)
    t.equal(new Set(met).size, met.length, 'nothing twice')
    for (let n = 0; n < 40; n++) t.ok(met.includes(name(2 * n + 1)), `${n} was there all the time`)
  })

  t.test(`${driver}: ten thousand tokens are one call`, async (t) => {
    const { tokens, all } = await prepare(t)
    const entries = Array.from({ length: 10_000 }, (_, place) =>
      token({ scene_element: place % 100, label: `label ${place}`, bbox: [[place, 2, 3, 4]] })
    )
    const ids = await tokens.save(entries)
    t.equal(new Set(ids).size, 10_000)
    t.equal(ids[9999], 'Tokens/305:99:0:label_9999', 'in their order')
    t.strictSame(await tokens.save(entries), ids)
    const found = await all({ limit: 2500 })
    t.equal(found.length, 10_000)
    const boxes = new Map(found.map(({ _id, bbox }) => [_id, (bbox as number[][])[0]?.[0]]))
    t.ok(ids.every((id, place) => boxes.get(id) === place))
    t.equal((await all({ movie_id: '305', scene_element: 7 })).length, 100)
    const same = Array.from({ length: 5000 }, (_, place) =>
      token({ movie_id: '306', bbox: [[place, 0, 1, 1]] })
    )
    t.strictSame(await tokens.save(same), ['Tokens/306:0:0:car'])
    const [joined] = (await all({ movie_id: '306' })) as Array<StoredDocument & { bbox: unknown[] }>
    t.equal(joined?.bbox.length, 5000)
  })

  t.test(
    `${driver}: of a picture nothing is lost, and a second run writes over the first`,
    async (t) => {
      const { tokens, images } = await prepare(t)
      const [a, b] = [
        [10, 20, 30, 40],
        [0.5, 1e-9, -3, 1e21]
      ]
      const entries = [
        image({ bbox: a, score: 0.5 }),
        image({ bbox: b }),
        image({ bbox: null }),
        image({ bbox: a, label: null }),
        image({ bbox: a, label: 'a/b' }),
        image({ bbox: a, expert: 'other' }),
        image({ bbox: a, re_id: 7 }),
        image({ bbox: { 1: a, 2: b } }),
        image({ bbox: [a, b] }),
        image({ id: 'http://host/pic.jpg?a=1', bbox: a }),
        image({ id: 'Movies/308719/1/0', type: 'frame', bbox: a }),
        image({ id: '308719:1:0', bbox: a })
      ]
      const ids = await tokens.saveImages(entries)
      t.equal(ids[0], 'ImageTokens/22094333:detector:traffic_light:10,20,30,40')
      t.equal(ids[10], 'ImageTokens/308719:1:0:detector:traffic_light:10,20,30,40')
      t.equal(new Set(ids).size, entries.length)
      for (const id of ids) t.match(id.slice('ImageTokens/'.length), LEGAL)
      for (const [place, entry] of entries.entries()) {
        t.strictSame(await tokens.saveImages([{ ...entry, score: 0.9 }]), [ids[place]], 'alone too')
      }
      const found = await images()
      t.equal(found.length, entries.length)
      for (const [place, entry] of entries.entries()) {
        const { _id, _key, _rev, ...fields } = found.find(({ _id }) => _id === ids[place]) ?? {}
        t.strictSame(fields, { ...entry, score: 0.9 })
      }
      const twice = [
        image({ id: '2', bbox: a, score: 0.1 }),
        image({ id: '2', bbox: a, score: 0.2 })
      ]
      t.equal((await tokens.saveImages(twice)).length, 1)
      t.match(await images({ image_id: '2' }), [{ score: 0.2, bbox: a }])
    }
  )

  t.test(`${driver}: tokens of pictures are found by picture and by movie`, async (t) => {
    const { tokens, images } = await prepare(t)
    const ids = ['1', 'Movies/5/1/0', 'Movies/5/1/25', 'Movies/5/2/0', 'Movies/55/1/0', `it's "1"`]
    await tokens.saveImages(
      ids.flatMap((id) => ['car', 'dog'].map((label) => image({ id, label })))
    )
    const idsOf = async (query: Partial<TokenQuery>) =>
      (await images({ limit: 2, ...query })).map(({ id }) => id)
    const twice = (...places: number[]) => places.flatMap((place) => [ids[place], ids[place]])
    t.equal((await idsOf({})).length, 12)
    t.strictSame(await idsOf({ image_id: '1' }), twice(0))
    t.strictSame(await idsOf({ image_id: `it's "1"` }), twice(5))
    t.strictSame((await idsOf({ movie_id: '5' })).sort(), twice(1, 2, 3).sort())
    t.strictSame(
      (await idsOf({ movie_id: 'Movies/5', scene_element: 1 })).sort(),
      twice(1, 2).sort()
    )
    t.strictSame(await idsOf({ movie_id: '5', image_id: 'Movies/5/2/0', label: 'dog' }), [ids[3]])
    t.strictSame(await idsOf({ movie_id: '5', image_id: '1' }), [])
    t.equal((await idsOf({ expert: 'detector', label: 'car' })).length, 6)
  })

  t.test(
    `${driver}: a revision changes with each write to its collection, and no read`,
    async (t) => {
      const { tokens, all, images } = await prepare(t)
      const seen = new Set([await tokens.revision('ImageTokens')])
      const writes = [
        () => tokens.saveImages([image({ id: 'a' })]),
        () => tokens.saveImages([image({ id: 'b' }), image({ id: 'c' })]),
        () => tokens.saveImages([image({ id: 'a', score: 0.5 })]),
        () => tokens.saveImages([image({ id: 'a', score: 0.5 })])
      ]
      for (const [place, write] of writes.entries()) {
        await write()
        seen.add(await tokens.revision('ImageTokens'))
        t.equal(seen.size, place + 2)
        await images()
        seen.add(await tokens.revision('ImageTokens'))
      }
      await tokens.save([token()])
      await all()
      t.ok(seen.has(await tokens.revision('ImageTokens')), 'another collection is another matter')
    }
  )
}

/** A token as an expert writes it. */
export function token(more: Partial<TokenRecord> = {}): TokenRecord {
  return {
    movie_id: 'Movies/305',
    scene_element: 0,
    scene: 0,
    expert: 'actions',
    bbox: null,
    label: 'car',
    meta_label: null,
    re_id: 0,
    ...more
  }
}

/** A token of a picture as an expert writes it. */
export function image(more: Partial<ImageToken> = {}): ImageToken {
  return {
    id: '22094333',
    type: 'image',
    expert: 'detector',
    expert_meta: { model: 'blip' },
    bbox: null,
    label: 'traffic light',
    label_meta: null,
    score: null,
    re_id: 0,
    ...more
  }
}
