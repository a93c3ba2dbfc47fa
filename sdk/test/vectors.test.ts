import t from 'tap'
import { type Ask, type StoredDocument, Tokens } from '../documents.ts'
import { checkIds } from '../vectors/check-ids.ts'
import { SavedVectors } from '../vectors/saved-vectors.ts'
import { roundedNumbers, unitLength } from '../vectors/unit-length.ts'
import { decodeVector, encodeVector } from '../vectors/vector-code.ts'
import { VectorIndex } from '../vectors/vector-index.ts'

// A generator with a seed, so that a failure can be had again.
let state = 1
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 2 ** 32 - 0.5
}
const randomVector = (dimensions: number) =>
  unitLength(Float32Array.from({ length: dimensions }, random))
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((sum, value, i) => sum + value * b[i]!, 0)
const entry = (id: string, revision = '1') => ({ key: id, revision, id, type: 'image', text: null })

t.test('a saved vector scores within a thousandth of what it was', async (t) => {
  for (const dimensions of [512, 1792]) {
    let worst = 0
    for (let i = 0; i < 50; i += 1) {
      const [a, b] = [randomVector(dimensions), randomVector(dimensions)]
      const near = unitLength(a.map((value, at) => value + b[at]! * 0.2))
      const index = new VectorIndex(dimensions)
      index.put(entry('a'), decodeVector(encodeVector(a), dimensions)!)
      for (const other of [a, b, near]) {
        const [found] = index.nearest(other, { topK: 1 })
        worst = Math.max(worst, Math.abs(found!.score - dot(a, other)))
      }
    }
    t.ok(worst < 1e-4, `off by ${worst} at most with ${dimensions} numbers`)
  }
})

t.test('what is no coded vector is not taken for one', async (t) => {
  const good = encodeVector(randomVector(8))
  t.ok(decodeVector(good, 8))
  for (const bad of [
    undefined,
    null,
    5,
    '',
    'AAAA',
    good.slice(4),
    encodeVector(new Float32Array(8))
  ]) {
    t.equal(decodeVector(bad, 8), undefined, String(bad))
  }
})

t.test('the nearest are those that a search one by one finds', async (t) => {
  const dimensions = 37
  const vectors = new Map<string, Float32Array>()
  const index = new VectorIndex(dimensions)
  const put = (id: string) => {
    const vector = randomVector(dimensions)
    vectors.set(id, vector)
    index.put(entry(id), decodeVector(encodeVector(vector), dimensions)!)
  }
  for (let i = 0; i < 1000; i += 1) put(`v${i}`)
  for (let i = 0; i < 1000; i += 3) {
    index.remove(`v${i}`)
    vectors.delete(`v${i}`)
  }
  for (let i = 1; i < 1000; i += 7) put(`v${i}`)
  index.keepOnly(new Set([...vectors.keys()].filter((id) => !id.endsWith('8'))))
  for (const id of [...vectors.keys()]) if (id.endsWith('8')) vectors.delete(id)
  t.equal(index.size, vectors.size)
  for (let i = 0; i < 20; i += 1) {
    const query = randomVector(dimensions)
    const order = [...vectors]
      .map(([id, vector]) => ({ id, score: dot(vector, query) }))
      .sort((a, b) => b.score - a.score)
    for (const topK of [1, 10, 5000]) {
      const found = index.nearest(query, { topK })
      t.equal(found.length, Math.min(topK, order.length))
      // By their scores: what is as good as equal may stand in another order.
      const off = found.map(({ entry, score }, at) =>
        Math.max(
          Math.abs(score - order[at]!.score),
          Math.abs(score - dot(vectors.get(entry.id)!, query))
        )
      )
      t.ok(Math.max(...off) < 1e-4)
    }
    const some = index.nearest(query, { topK: 5000, minScore: 0.2 })
    t.equal(some.length, order.filter(({ score }) => score >= 0.2).length, 'those above the bar')
  }
})

t.test('of equals the first ids are answered, and no more than are asked for', async (t) => {
  const index = new VectorIndex(2)
  const numbers = new Int16Array([32767, 0])
  for (const id of ['d', 'a', 'c', 'b']) index.put(entry(id), numbers)
  const found = index.nearest(new Float32Array([1, 0]), { topK: 2 })
  t.same(
    found.map(({ entry: { id }, score }) => [id, score]),
    [
      ['a', 1],
      ['b', 1]
    ]
  )
  t.same(new VectorIndex(2).nearest(new Float32Array([1, 0]), { topK: 9 }), [])
})

/** Keeps tokens as the host does: pages by key, each write another revision. */
function store() {
  const kept = new Map<string, StoredDocument>()
  let revision = 0
  let pages = 0
  let onPage: (() => Promise<unknown>) | undefined
  const ask: Ask = async (what, given) => {
    if (what === 'tokens.saveImages') {
      return (given as Array<{ id: string; expert: string }>).map((token) => {
        const _key = `${token.id}:${token.expert}`
        const _id = `ImageTokens/${_key}`
        kept.set(_key, { ...token, _id, _key, _rev: String(++revision) })
        return _id
      })
    }
    if (what === 'tokens.revision') return String(revision)
    const {
      expert,
      limit,
      cursor = ''
    } = given as { expert: string; limit: number; cursor?: string }
    const keys = [...kept.keys()].sort()
    const found = keys.filter((key) => key > cursor && kept.get(key)!.expert === expert)
    const documents = found.slice(0, limit).map((key) => kept.get(key)!)
    pages += 1
    await onPage?.()
    return found.length > limit ? { documents, next: documents.at(-1)!._key } : { documents }
  }
  return {
    kept,
    lose: (key: string) => {
      kept.delete(key)
      revision += 1
    },
    tokens: new Tokens(ask),
    pages: () => pages,
    duringPage: (work?: () => Promise<unknown>) => {
      onPage = work
    }
  }
}
const owner = { expert: 'e', model: 'm1', dimensions: 16 }
const named = (id: string, vector = randomVector(16)) => ({ id, type: 'image' as const, vector })

t.test('what one instance saves, changes and loses, the other answers', async (t) => {
  const { tokens, lose } = store()
  const [one, two] = [new SavedVectors(tokens, owner), new SavedVectors(tokens, owner)]
  const vectors = Array.from({ length: 450 }, (_, i) => named(`p${i}`))
  const saved = await one.save(vectors)
  t.equal(saved.get('p7'), 'ImageTokens/p7:e')
  const nearest = async (vector: Float32Array) =>
    (await two.similar(vector, { topK: 1 }))[0]?.entry.id
  for (const { id, vector } of vectors.slice(-3)) t.equal(await nearest(vector), id)
  const changed = named('p3')
  await one.save([changed])
  t.equal(await nearest(changed.vector), 'p3')
  t.not(await nearest(vectors[3]!.vector), 'p3')
  lose('p3:e')
  t.not(await nearest(changed.vector), 'p3')
  t.equal((await two.similar(changed.vector, { topK: 1000 })).length, 449)
})

t.test('while nothing is saved nothing is listed again', async (t) => {
  const { tokens, pages } = store()
  const saved = new SavedVectors(tokens, owner)
  const first = named('first')
  await saved.save([first])
  for (let i = 0; i < 5; i += 1) {
    t.equal((await saved.similar(first.vector, { topK: 1 }))[0]?.entry.id, 'first')
  }
  t.equal(pages(), 1)
  const second = named('second')
  await saved.save([second])
  t.equal((await saved.similar(second.vector, { topK: 1 }))[0]?.entry.id, 'second')
  t.equal(pages(), 2)
})

t.test('vectors of another expert or model, and what is none, are passed over', async (t) => {
  const { tokens, kept } = store()
  const mine = new SavedVectors(tokens, owner)
  const { vector } = named('x')
  await new SavedVectors(tokens, { ...owner, expert: 'f' }).save([named('theirs', vector)])
  await new SavedVectors(tokens, { ...owner, model: 'm0' }).save([named('older', vector)])
  await tokens.saveImages({ id: 'odd', type: 'image', expert: 'e', expert_meta: { model: 'm1' } })
  await tokens.saveImages({ id: 'none', type: 'image', expert: 'e' })
  t.equal(kept.size, 4)
  t.same(await mine.similar(vector, { topK: 10 }), [])
})

t.test(
  'what was saved before an answer was asked for is in it, though others ask meanwhile',
  async (t) => {
    const { tokens, pages, duringPage } = store()
    const saved = new SavedVectors(tokens, owner)
    await saved.save([named('first')])
    const late = named('late')
    let asked: Promise<string | undefined>[] = []
    const nearest = async () => (await saved.similar(late.vector, { topK: 1 }))[0]?.entry.id
    duringPage(async () => {
      duringPage()
      // The reading under way has its page already, without this one.
      await saved.save([late])
      asked = [nearest(), nearest(), nearest()]
    })
    await nearest()
    t.same(await Promise.all(asked), ['late', 'late', 'late'])
    t.equal(pages(), 2, 'they shared a reading of their own')
  }
)

t.test('a store that fails fails the answer, and not the next', async (t) => {
  const { tokens, duringPage } = store()
  const saved = new SavedVectors(tokens, owner)
  const { vector, ...about } = named('a')
  await saved.save([{ ...about, vector }])
  duringPage(async () => {
    throw new Error('no disk')
  })
  await t.rejects(saved.similar(vector, { topK: 1 }), { message: 'no disk' })
  duringPage()
  t.equal((await saved.similar(vector, { topK: 1 }))[0]?.entry.id, 'a')
})

t.test('what is to be saved has a name of its own', async (t) => {
  const field = (place: number) => `images[${place}].image_id`
  t.doesNotThrow(() => checkIds(['a', 'b'], field))
  const code = 'EXP_BAD_INPUT'
  t.throws(() => checkIds(['a', null], field), {
    code,
    message: /'images\[1\].image_id' is missing/
  })
  t.throws(() => checkIds(['a', 'b', 'a'], field), { code, message: /images\[2\].*images\[0\]/ })
})

t.test('numbers of an answer are short, and the vector as good as before', async (t) => {
  const vector = randomVector(1792)
  const rounded = roundedNumbers(vector)
  t.ok(Math.abs(Math.sqrt(dot(rounded, rounded)) - 1) < 1e-5)
  t.ok(JSON.stringify(rounded).length < 1792 * 12)
})
