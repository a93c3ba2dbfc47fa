import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testExpert } from '@nebula-experts/sdk/testing'
import t from 'tap'
import DetectObjectsExpert from '../index.ts'
import { MovieStore } from './movie-store.ts'

const fixtures = new URL('fixtures/', import.meta.url).pathname
const folder = await mkdtemp(join(tmpdir(), 'detect-'))
t.teardown(() => rm(folder, { recursive: true }))

const store = new MovieStore()
const media = { fileRoots: [fixtures, folder] }
const tested = await testExpert(t, DetectObjectsExpert, {
  name: 'detect-objects',
  ask: store.ask,
  media
})

interface ObjectRecord {
  bbox: number[]
  label: string
  score: number
}

async function ask(still: string, extra_params: object | null = null) {
  const body = { image_id: 'Images/7', url: `file://${fixtures}${still}.jpg`, extra_params }
  return (await tested.predictImage(body)) as { result: ObjectRecord[]; error: null }
}

t.test('a picture is answered with a record for each object', async (t) => {
  const { result, error } = await ask('chelsea')
  t.equal(error, null)
  t.equal(result.length, 1)
  const [{ score, bbox }] = result as [ObjectRecord]
  t.same(result[0], {
    image_id: 'Images/7',
    expert: 'detect-objects',
    bbox,
    label: 'cat',
    meta_label: { class: 'Object', score },
    re_id: 0,
    score
  })
  t.ok(score > 0.45 && score < 0.65)
  t.ok(bbox.every((side) => Math.round(side * 10) / 10 === side))
  t.same(
    bbox.map((side) => Math.round(side / 10)),
    [0, 0, 44, 30]
  )
  t.same(tested.expert.getTasks(), [])
})

t.test('a picture without objects is answered with an empty list', async (t) => {
  t.same(await ask('rocket'), { result: [], error: null })
})

t.test('parameters choose among the objects', async (t) => {
  const many = await ask('camera', { min_score: 0.2 })
  t.ok(many.result.length > 2)
  t.same(many.result[0], (await ask('camera')).result[0])
  t.same((await ask('camera', { min_score: 0.2, limit: 2 })).result, many.result.slice(0, 2))
  t.same((await ask('camera', { labels: ['cat', 'dog'] })).result, [])
  t.ok((await ask('camera', { iou: 1 })).result.length > 3)
})

t.test('the operator sets the least score, a request another', async (t) => {
  const config = { DETECT_MIN_SCORE: 0.95 }
  const strict = await testExpert(t, DetectObjectsExpert, { config, media })
  const body = { image_id: '1', url: `file://${fixtures}camera.jpg` }
  t.same(await strict.predictImage(body), { result: [], error: null })
  const extra_params = { min_score: 0.5 }
  t.match(await strict.predictImage({ ...body, extra_params }), { result: [{ label: 'person' }] })
})

t.test('what cannot be is refused by name', async (t) => {
  const refused = (extra_params: object, message: RegExp) =>
    t.rejects(ask('rocket', extra_params), { code: 'EXP_BAD_INPUT', message })
  await refused({ labels: ['cat', 'catt'] }, /'labels' has 'catt', the model knows: person, /)
  await refused({ labels: [] }, /labels/)
  await refused({ min_score: 1.5 }, /min_score/)
  await refused({ iou: 'x' }, /iou/)
  await refused({ limit: 0 }, /limit/)
  await refused({ limit: 501 }, /limit/)
  await refused({ action: 'depth' }, /action/)
  await refused({ detect_every: 0 }, /detect_every/)
})

t.test('a picture that cannot be had or read is an error, and the next is answered', async (t) => {
  await writeFile(join(folder, 'broken.jpg'), 'no picture')
  const broken = { image_id: '1', url: `file://${folder}/broken.jpg` }
  t.match(await tested.predictImage(broken), { result: null, error: String })
  t.match(await ask('no-such-still'), { result: null, error: String })
  t.equal((await ask('camera')).result[0]?.label, 'person')
  t.same(tested.expert.getTasks(), [])
})

t.test('the same picture gets the same answer, among others too', async (t) => {
  const stills = ['astronaut', 'camera', 'chelsea', 'coffee', 'rocket']
  const alone = []
  for (const still of stills) alone.push(await ask(still))
  const together = await Promise.all(stills.map((still) => ask(still)))
  t.same(together, alone)
  t.same(
    alone.map(({ result }) => result[0]?.label),
    ['person', 'person', 'cat', 'dining table', undefined]
  )
})

t.test('the model is named by its hash', async (t) => {
  t.match(tested.expert.getModelSha256(), /^[0-9a-f]{64}$/)
  t.equal(new DetectObjectsExpert().getModelSha256(), null)
})

t.test('a movie that is one picture is frame 0 of it', async (t) => {
  store.add('cat', {
    url_path: `file://${fixtures}chelsea.jpg`,
    meta: { mode: 'RGB' },
    mdfs: [[0]]
  })
  const { result: found } = await ask('chelsea')
  const { bbox, score } = found[0]!
  const body = { movie_id: 'Movies/cat', local: false }
  t.same(await tested.predict(body), {
    result: [
      {
        movie_id: 'Movies/cat',
        scene_element: 0,
        scene: 0,
        expert: 'detect-objects',
        bbox: [{ bbox, score, frame: 0 }],
        label: 'cat',
        meta_label: { class: 'Object', frame: 0 },
        re_id: 0
      }
    ],
    error: null
  })
  const track = await tested.predict({ ...body, extra_params: { action: 'track' } })
  t.match(track, { result: [{ label: 'cat0', bbox: { 0: { bbox, score } }, re_id: 0 }] })
  t.match(await tested.request('POST', '/detect', { body: { movie_id: 'cat' } }), {
    value: { result: [{ label: 'cat' }], error: null }
  })
  await t.rejects(tested.predict({ ...body, extra_params: { mdf: 1 } }), {
    code: 'EXP_BAD_INPUT',
    message: /'mdf' is 1/
  })
})
