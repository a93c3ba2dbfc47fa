import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { skipWithout, testExpert } from '@nebula-experts/sdk/testing'
import sharp from 'sharp'
import t from 'tap'
import EmbedImageExpert from '../index.ts'
import { loadAhead } from '../load-ahead.ts'
import { modelInput, SIDE } from '../picture-input.ts'

interface Item {
  image_id?: string
  id?: string
  embedding?: number[] | null
  expert_meta?: { embedding: string; model: string }
  token?: string
  error?: string
  code?: string
}

process.env['NEBULA_ONNX_THREADS'] = '1'
const folder = await mkdtemp(join(tmpdir(), 'embed-image-'))
t.teardown(() => rm(folder, { recursive: true }))
const fixture = (name: string) =>
  new URL(`../../detect-objects/test/fixtures/${name}`, import.meta.url).pathname
const dataUrl = async (name: string) =>
  `data:image/jpeg;base64,${(await readFile(fixture(name))).toString('base64')}`
const [coffee, cat] = [await dataUrl('coffee.jpg'), await dataUrl('chelsea.jpg')]
const broken = `data:image/jpeg;base64,${(await readFile(fixture('coffee.jpg'))).subarray(0, 3000).toString('base64')}`

let kept: Array<{ id: string; type: string; expert: string; expert_meta: Item['expert_meta'] }> = []
const movies = new Map<string, Record<string, unknown>>()
const expert = await testExpert(t, EmbedImageExpert, {
  name: 'embed-image',
  ask: async (what, given) => {
    if (what === 'movies.get') return movies.get(given as string) ?? null
    if (what !== 'tokens.saveImages') throw new Error(`it does not ask for ${what}`)
    kept.push(...(given as typeof kept))
    return (given as typeof kept).map(({ id }) => `ImageTokens/${id}`)
  }
})
t.beforeEach(() => {
  kept = []
})
const embed = async (body: object, files?: Record<string, string | Uint8Array>) => {
  const { value } = await expert.request('POST', '/embed', { body, files })
  return (value as { result: Item[] }).result
}
const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)

t.test(
  'pictures are answered in order, one that is broken with an error in its place',
  async (t) => {
    const urls = [coffee, broken, cat, 'data:text/plain,no', 'http://127.0.0.1:9/x.jpg', coffee]
    const result = await embed({ images: urls.map((url) => ({ url })) })
    t.same(
      result.map(({ embedding }) => embedding?.length ?? null),
      [1792, null, 1792, null, null, 1792]
    )
    for (const place of [1, 3, 4]) t.match(result[place], { code: /^EXP_MEDIA_/, error: String })
    const vectors = result.flatMap(({ embedding }) => (embedding ? [embedding] : []))
    t.same(vectors[0], vectors[2], 'the same again')
    t.ok(dot(vectors[0]!, vectors[1]!) < 0.7, 'another is another')
    for (const vector of vectors) t.ok(Math.abs(Math.sqrt(dot(vector, vector)) - 1) < 1e-5)
    t.same(await embed({ images: [] }), [])
    t.same(kept, [])
  }
)

t.test(
  'an uploaded picture has the vector of a fetched one, whatever its shape and colours',
  async (t) => {
    const [fetched] = await embed({ images: [{ url: coffee }] })
    const [uploaded] = await embed({}, { file: fixture('coffee.jpg') })
    t.equal(uploaded!.image_id, 'coffee.jpg')
    t.same(uploaded!.embedding, fetched!.embedding)
    const odd = [
      sharp({ create: { width: 1, height: 900, channels: 4, background: '#0000' } }).png(),
      sharp(fixture('coffee.jpg')).greyscale().webp(),
      sharp(fixture('coffee.jpg')).gif()
    ]
    for (const picture of odd) {
      const [item] = await embed({}, { file: await picture.toBuffer() })
      t.equal(item!.embedding?.length, 1792)
    }
  }
)

t.test('output says where the vectors go', async (t) => {
  const images = [
    { url: coffee, image_id: 'a' },
    { url: broken, image_id: 'b' },
    { url: cat, image_id: 'c' }
  ]
  const saved = await embed({ images, output: 'db' })
  t.match(saved, [{ token: 'ImageTokens/a' }, { error: String }, { token: 'ImageTokens/c' }])
  t.equal(saved[0]!.embedding, undefined)
  t.match(kept, [
    { id: 'a', type: 'image', expert: 'embed-image' },
    { id: 'c', type: 'image', expert: 'embed-image' }
  ])
  const both = await embed({ images: images.slice(0, 1), output: 'db+json' })
  t.match(both, [{ token: 'ImageTokens/a' }])
  t.equal(both[0]!.embedding!.length, 1792)
  const byName = await embed({ output: 'db' }, { file: fixture('rocket.jpg') })
  t.match(byName, [{ image_id: 'rocket.jpg', token: 'ImageTokens/rocket.jpg' }])
})

t.test('a request that cannot be is refused, naming the field', async (t) => {
  const code = 'EXP_BAD_INPUT'
  const refused = (route: string, body: object, message: RegExp, files?: object) =>
    t.rejects(expert.request('POST', route, { body, files: files as Record<string, Uint8Array> }), {
      code,
      message
    })
  await refused('/embed', {}, /'images'/)
  await refused('/embed', { images: new Array(257).fill({ url: coffee }) }, /images: .*256/)
  await refused('/embed', { images: [{}] }, /images\.0\.url/)
  await refused('/embed', { images: [{ url: coffee }], output: 'db' }, /images\[0\]\.image_id/)
  await refused('/embed', { output: 'db' }, /files\[0\]\.filename/, { file: new Uint8Array(9) })
  await refused('/similar', {}, /'image'/)
  await refused('/similar', { image: { url: coffee }, top_k: 0 }, /top_k/)
  const two = { a: new Uint8Array(1), b: new Uint8Array(1) }
  await refused('/similar', {}, /One picture/, two)
  const media = { code: /^EXP_MEDIA_/ }
  await t.rejects(expert.request('POST', '/similar', { body: { image: { url: broken } } }), media)
  t.same(kept, [])
})

t.test('a prediction is a record, and with output db one that /similar finds', async (t) => {
  const body = { image_id: 'i1', url: coffee }
  const { result } = (await expert.predictImage(body)) as { result: Item[] }
  const [same] = await embed({ images: [{ url: coffee, image_id: 'i1' }], output: 'db+json' })
  t.match(result, [{ image_id: 'i1', expert: 'embed-image', bbox: null, label: null }])
  t.same(result[0]!.embedding, same!.embedding)
  const saved = (await expert.predictImage({ ...body, output: 'db' })) as { result: Item[] }
  t.same(saved.result[0]!.expert_meta, kept[0]!.expert_meta, 'as /embed saves it')
  t.equal(saved.result[0]!.embedding, undefined, 'numbers would be saved beside it')
  t.match(await expert.predictImage({ ...body, url: broken }), { result: null, error: String })
})

t.test(
  'a movie gives a vector for each middle frame',
  { skip: skipWithout('ffmpeg') },
  async (t) => {
    const path = join(folder, 'film.mp4')
    const inputs = ['coffee.jpg', 'chelsea.jpg'].flatMap((name) => [
      ...['-loop', '1', '-t', '1', '-r', '10', '-i'],
      fixture(name)
    ])
    const scale = 'scale=320:240,setsar=1,format=yuv420p'
    const graph = `[0]${scale}[a];[1]${scale}[b];[a][b]concat`
    const output = ['-filter_complex', graph, '-y', path]
    await promisify(execFile)('ffmpeg', ['-v', 'error', ...inputs, ...output])
    const movie = {
      ...{ _id: 'Movies/1', _key: '1', _rev: '1', url_path: `file://${path}` },
      ...{
        scene_elements: [
          [0, 9],
          [10, 19]
        ],
        mdfs: [[2, 5], [15]]
      }
    }
    movies.set('Movies/1', movie)
    t.match(await expert.processMovie('Movies/1'), { ok: true })
    t.same(
      kept.map(({ id, type }) => [id, type]),
      [
        ['Movies/1/0/2', 'frame'],
        ['Movies/1/0/5', 'frame'],
        ['Movies/1/1/15', 'frame']
      ]
    )
    const [first, second] = await embed({ images: [{ url: coffee }, { url: cat }] })
    const asked = { movie_id: 'Movies/1', local: false }
    const { result } = (await expert.predict(asked)) as { result: Item[] }
    t.same(
      result.map(({ id }) => id),
      kept.map(({ id }) => id)
    )
    t.ok(dot(result[0]!.embedding!, first!.embedding!) > 0.85, 'what its picture gives')
    t.ok(dot(result[2]!.embedding!, second!.embedding!) > 0.85)
    const saved = (await expert.predict({ ...asked, output: 'db' })) as { result: Item[] }
    t.same(saved.result[1]!.expert_meta, kept[1]!.expert_meta)
    kept = []
    t.match(await expert.processMovie('Movies/1', { every: 10 }), { ok: true })
    t.equal(kept.length, 2)
    t.match(await expert.processMovie('Movies/2'), { ok: false, error: /no movie/ })
    movies.set('Movies/3', {
      ...movie,
      _id: 'Movies/3',
      url_path: `file://${fixture('coffee.jpg')}`
    })
  }
)

t.test(
  'a darker copy becomes the same input; a picture of night does not become day',
  async (t) => {
    const bright = Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, i) => 55 + (i % 201))
    const half = bright.map((value) => value / 2)
    const input = modelInput(bright)
    const off = modelInput(half).map((value, i) => Math.abs(value - input[i]!))
    t.ok(Math.max(...off.slice(0, 10_000)) < 0.02)
    const night = new Uint8Array(SIDE * SIDE * 3).fill(20)
    t.equal(modelInput(night)[0], Math.fround(40 / 255))
    t.equal(modelInput(new Uint8Array(SIDE * SIDE * 3))[0], 0)
  }
)

t.test('what is loaded ahead comes in order, and no more than asked for is begun', async (t) => {
  let begun = 0
  const ends: Array<() => void> = []
  const load = (place: number) =>
    new Promise<number>((resolve, reject) => {
      begun += 1
      ends[place] = () => (place === 1 ? reject(new Error('none')) : resolve(place))
    })
  const loading = loadAhead(4, 1, load)
  const first = loading.next()
  t.equal(begun, 2)
  ends[1]!()
  ends[0]!()
  t.match(await first, { value: { ok: true, value: 0 } })
  const second = loading.next()
  t.equal(begun, 3)
  t.match(await second, { value: { ok: false, error: { message: 'none' } } })
  ends[2]!()
  t.match(await loading.next(), { value: { ok: true, value: 2 } })
  ends[3]!()
  t.match(await loading.next(), { value: { ok: true, value: 3 } })
  t.match(await loading.next(), { done: true })
})
