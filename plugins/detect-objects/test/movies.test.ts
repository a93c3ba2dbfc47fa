import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Box, intersectionOverUnion } from '@nebula-experts/sdk/images'
import { skipWithout, testExpert } from '@nebula-experts/sdk/testing'
import t from 'tap'
import DetectObjectsExpert from '../index.ts'
import { type Actor, makeFilm, truthOf } from './make-film.ts'
import { MovieStore } from './movie-store.ts'

const skip = skipWithout('ffmpeg')
const folder = await mkdtemp(join(tmpdir(), 'movies-'))
t.teardown(() => rm(folder, { recursive: true }))

interface Detection {
  scene_element: number
  label: string
  bbox: { bbox: Box; score: number; frame: number }[]
  meta_label: { class: string; frame: number }
}

const man: Actor = { still: 'camera', height: 200, from: [10, 20], speed: [5, 0] }
const cat: Actor = { still: 'chelsea', height: 200, from: [300, 260], speed: [-4, 0] }
const film = join(folder, 'film.mp4')
if (!skip) await makeFilm(film, 75, [man, cat])

const store = new MovieStore()
const structure = {
  scene_elements: [
    [0, 29],
    [30, 59],
    [60, 74]
  ],
  mdfs: [[20, 5], [45, 31], [70]]
} // prettier-ignore
store.add('plain', { url_path: film })
store.add('scenes', { url_path: film, ...structure })
const tested = await testExpert(t, DetectObjectsExpert, { name: 'detector', ask: store.ask })

async function detect(key: string, extra_params: object = {}, scene_element: number | null = null) {
  const body = { movie_id: `Movies/${key}`, local: false, scene_element, extra_params }
  return ((await tested.predict(body)) as { result: Detection[] }).result
}

/** Which frames of which scene elements records speak of. */
function framesOf(records: Detection[]): string[] {
  return [...new Set(records.map((one) => `${one.scene_element}:${one.meta_label.frame}`))]
}

t.test('each object on each chosen frame is a record, at its place', { skip }, async (t) => {
  const records = await detect('scenes')
  t.same(framesOf(records), ['0:5', '0:20', '1:31', '1:45', '2:70'])
  t.equal(records.length, 10)
  for (const { label, bbox, meta_label } of records) {
    const { frame } = meta_label
    t.equal(bbox.length, 1)
    t.equal(bbox[0]!.frame, frame)
    const truth = truthOf(label === 'cat' ? cat : man, frame)
    t.ok(intersectionOverUnion(bbox[0]!.bbox, truth) > 0.8, `${label} on ${frame}`)
  }
  const { bbox, ...others } = records[0]!
  t.same(others, {
    movie_id: 'Movies/scenes',
    scene_element: 0,
    scene: 0,
    expert: 'detector',
    label: others.label,
    meta_label: { class: 'Object', frame: 5 },
    re_id: 0
  })
  t.ok(bbox[0]!.score >= 0.4)
  t.same(
    tested.progress.map(({ fraction }) => fraction),
    [0, 0.2, 0.4, 0.6, 0.8, 1]
  )
})

t.test('parameters choose the frames', { skip }, async (t) => {
  const one = { labels: ['person'] }
  const frames = async (...[key, params, element]: Parameters<typeof detect>) =>
    framesOf(await detect(key, { ...one, ...params }, element))
  t.same(await frames('scenes', { mdf: 0 }), ['0:20', '1:45', '2:70'])
  t.same(await frames('scenes', {}, 1), ['1:31', '1:45'])
  t.same(await frames('scenes', { mdf: 1 }, 1), ['1:31'])
  t.same(await frames('scenes', { every: 25 }), ['0:0', '0:25', '1:50'])
  t.same(await frames('plain', { every_s: 2 }), ['0:0', '0:50'])
  t.same(await frames('plain'), ['0:0', '0:25', '0:50'], 'without middle frames, one a second')
  t.same(await frames('scenes', { detect_every: 40 }), [
    '0:0',
    '0:29',
    '1:30',
    '1:59',
    '2:60',
    '2:74'
  ])
  // What clients of the seed system send.
  t.same(await frames('scenes', { action: 'detect', detect_every: 50, mdf: 0 }, 0), ['0:20'])
  t.same(await frames('plain', { action: 'detect', detect_every: 50, mdf: 0 }, 0), ['0:0', '0:50'])
})

t.test('what cannot be is refused by name', { skip }, async (t) => {
  const refused = (message: RegExp, ...asked: Parameters<typeof detect>) =>
    t.rejects(detect(...asked), { code: 'EXP_BAD_INPUT', message })
  await refused(/'mdf' is 2/, 'scenes', { mdf: 2 })
  await refused(/'mdf' is 1.*element 2/, 'scenes', { mdf: 1 })
  await refused(/'mdf' is 0/, 'plain', { mdf: 0 })
  await refused(/'scene_element' is 3/, 'scenes', {}, 3)
  await refused(/'scene_element' is -1/, 'scenes', { detect_every: 5 }, -1)
  await refused(/'every' and 'every_s'/, 'plain', { every: 1, every_s: 1 })
  await refused(/'detect_every' and 'every_s'/, 'plain', { detect_every: 1, every_s: 1 })
  await refused(/'catt'/, 'plain', { labels: ['catt'] })
  store.add('endless', { url_path: film, scene_elements: [[0, 1e15]] })
  await refused(/'detect_every'/, 'endless', { detect_every: 1 })
  store.add('nowhere', {})
  await refused(/'url_path'/, 'nowhere')
  t.same(tested.expert.getTasks(), [])
})

t.test('a movie that cannot be had is an error in words', { skip }, async (t) => {
  const body = { movie_id: 'Movies/none', local: false }
  const missing = { result: null, error: /no movie 'Movies\/none'/ }
  t.match(await tested.predict(body), missing)
  for (const path of ['/detect', '/track']) {
    const { status, value } = await tested.request('POST', path, { body })
    t.equal(status, 200)
    t.match(value, missing)
  }
  const sound = join(folder, 'sound.wav')
  await promisify(execFile)('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'sine=d=1', sound])
  store.add('sound', { url_path: sound })
  t.match(await tested.predict({ ...body, movie_id: 'sound' }), { result: null, error: String })
  store.add('gone', { url_path: join(folder, 'gone.mp4') })
  t.match(await tested.predict({ ...body, movie_id: 'gone' }), { result: null, error: String })
})

t.test('the routes of the tracker take its ten fields', { skip }, async (t) => {
  const body = {
    movie_id: 'Movies/plain',
    scene_element: '0',
    mdf: 0,
    action: 'track',
    detect_every: 25,
    merge_iou_threshold: 0.95,
    refresh_on_detect: 'true',
    tracker_type: 'CSRT',
    batch_size: 8,
    output: 'json'
  }
  const detected = await tested.request('POST', '/detect', { body })
  t.same(framesOf((detected.value as { result: Detection[] }).result), ['0:0', '0:25', '0:50'])
  const tracked = await tested.request('POST', '/track', { body })
  t.match(tracked.value, {
    error: null,
    result: [
      { movie_id: 'Movies/plain', expert: 'detector', label: /^(person|cat)0$/, re_id: 0 },
      { label: /^(person|cat)1$/, meta_label: { class: 'Object' }, re_id: 1 }
    ]
  })
  // All but the movie have defaults; its scene elements have middle frames, of which it takes the first.
  const least = await tested.request('POST', '/detect', { body: { movie_id: 'scenes' } })
  t.same(framesOf((least.value as { result: Detection[] }).result), ['0:20'])
  await t.rejects(tested.request('POST', '/detect', { body: {} }), { message: /movie_id/ })
})

t.test('records are saved when output says so', { skip }, async (t) => {
  const body = { movie_id: 'Movies/scenes', output: 'db' }
  const saved = await tested.request('POST', '/detect', { body })
  t.same(saved.value, { result: ['Tokens/0', 'Tokens/1'], error: null })
  t.match(store.saved, [{ movie_id: 'Movies/scenes', expert: 'detector' }, { scene_element: 0 }])
  const both = await tested.request('POST', '/track', { body: { ...body, output: 'db+json' } })
  t.same((both.value as { result: object[] }).result, store.saved.slice(2))
  t.equal(store.saved.length, 4)
})

t.test('an item of a pipeline saves its tokens', { skip }, async (t) => {
  store.saved.length = 0
  t.match(await tested.processMovie('Movies/scenes', { labels: ['cat'] }), { ok: true })
  t.equal(store.saved.length, 5)
  t.match(store.saved[0], { movie_id: 'Movies/scenes', label: 'cat', bbox: [{ frame: 5 }] })
  t.match(await tested.processMovie('Movies/scenes', { mdf: 9 }), {
    ok: false,
    error: /'mdf' is 9/
  })
  t.match(await tested.processMovie('Movies/none'), { ok: false, error: String })
})
