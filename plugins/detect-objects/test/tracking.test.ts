import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Box, intersectionOverUnion } from '@nebula-experts/sdk/images'
import { skipWithout, testExpert } from '@nebula-experts/sdk/testing'
import t from 'tap'
import DetectObjectsExpert from '../index.ts'
import { type Actor, labelOf, makeFilm, truthOf } from './make-film.ts'
import { MovieStore } from './movie-store.ts'

const folder = await mkdtemp(join(tmpdir(), 'tracking-'))
t.teardown(() => rm(folder, { recursive: true }))

interface Track {
  scene_element: number
  label: string
  re_id: number
  bbox: Record<string, { score: number; bbox: Box }>
}

const store = new MovieStore()
const tested = await testExpert(t, DetectObjectsExpert, { ask: store.ask })

async function track(frames: number, actors: Actor[], wishes: object = {}): Promise<Track[]> {
  const path = join(folder, 'film.mp4')
  await makeFilm(path, frames, actors)
  store.add('1', { url_path: path })
  const extra_params = { action: 'track', detect_every: 10, ...wishes }
  const answer = await tested.predict({ movie_id: 'Movies/1', local: false, extra_params })
  return (answer as { result: Track[] }).result
}

/** The overlap of a track with where its object really was: over all of its frames, the least and the mean. */
function overlaps({ bbox }: Track, actor: Actor) {
  const all = Object.entries(bbox).map(([frame, placed]) =>
    intersectionOverUnion(placed.bbox, truthOf(actor, Number(frame)))
  )
  return { least: Math.min(...all), mean: all.reduce((sum, one) => sum + one, 0) / all.length }
}

const skip = skipWithout('ffmpeg')
const man: Actor = { still: 'camera', height: 200, from: [10, 20], speed: [4, 0] }
const cat: Actor = { still: 'chelsea', height: 200, from: [330, 260], speed: [-3, 0] }

t.test('two objects are followed, on every frame at their place', { skip }, async (t) => {
  const actors = [man, cat]
  const tracks = await track(101, actors)
  t.same(
    tracks.map(({ label, re_id }) => [label, re_id]),
    [
      ['person0', 0],
      ['cat1', 1]
    ]
  )
  for (const [index, actor] of actors.entries()) {
    const one = tracks[index]!
    t.equal(one.label, `${labelOf(actor)}${index}`)
    t.equal(Object.keys(one.bbox).length, 101)
    const { least, mean } = overlaps(one, actor)
    t.ok(mean > 0.85 && least > 0.7, `${one.label}: ${mean}, at least ${least}`)
  }
})

t.test('who is gone for a while comes back under his number', { skip }, async (t) => {
  const hidden: Actor = { ...man, hidden: [41, 64] }
  const tracks = await track(101, [hidden, cat])
  t.same(
    tracks.map(({ label }) => label),
    ['person0', 'cat1']
  )
  const frames = Object.keys(tracks[0]!.bbox).map(Number)
  t.same(
    frames.filter((frame) => frame > 40 && frame < 70),
    [],
    'there is no box where he is not'
  )
  t.equal(frames.length, 101 - 29)
  t.ok(overlaps(tracks[0]!, hidden).least > 0.7)
})

t.test('two of one class that cross keep their numbers', { skip }, async (t) => {
  const right: Actor = { still: 'camera', height: 240, from: [-20, 90], speed: [5, 0] }
  const left: Actor = { still: 'astronaut', height: 240, from: [470, 140], speed: [-5, 0] }
  const all = await track(101, [left, right], { detect_every: 5, labels: ['person'] })
  // While one covers the other, a piece of him may pass for a third for the moment of a look.
  const tracks = all.filter(({ bbox }) => Object.keys(bbox).length > 1)
  t.same(tracks.map(({ label }) => label).sort(), ['person0', 'person1'])
  for (const actor of [right, left]) {
    const isOwn = (one: Track) =>
      intersectionOverUnion(one.bbox['0']!.bbox, truthOf(actor, 0)) > 0.7
    const own = tracks.find(isOwn)!
    t.ok(intersectionOverUnion(own.bbox['100']!.bbox, truthOf(actor, 100)) > 0.7, actor.still)
  }
})

t.test('objects are followed within a scene element, numbers go on', { skip }, async (t) => {
  const film = {
    scene_elements: [
      [0, 32],
      [33, 37],
      [38, 999]
    ]
  } // prettier-ignore
  const path = join(folder, 'elements.mp4')
  await makeFilm(path, 60, [man])
  store.add('elements', { url_path: path, ...film })
  const ask = async (scene_element: number | null, extra_params: object = {}) => {
    const body = { movie_id: 'elements', local: false, scene_element }
    const answer = await tested.predict({
      ...body,
      extra_params: { action: 'track', ...extra_params }
    })
    return (answer as { result: Track[] }).result
  }
  const spans = (tracks: Track[]) =>
    tracks.map(({ scene_element, label, re_id, bbox }) => {
      const frames = Object.keys(bbox).map(Number)
      return [scene_element, label, re_id, Math.min(...frames), Math.max(...frames), frames.length]
    })
  const all = [
    [0, 'person0', 0, 0, 32, 33],
    [1, 'person1', 1, 33, 37, 5],
    [2, 'person2', 2, 38, 58, 21]
  ]
  t.same(spans(await ask(null)), all, 'each from its first frame to its last')
  t.same(spans(await ask(1, { detect_every: 50 })), [[1, 'person0', 0, 33, 37, 5]])
  t.same(spans(await ask(0, { every_s: 0.4, mdf: 7 })), [[0, 'person0', 0, 0, 30, 31]])
  t.same(await ask(0, { labels: ['cat'] }), [])
  await t.rejects(ask(3), { code: 'EXP_BAD_INPUT', message: /'scene_element' is 3/ })
  await t.rejects(ask(0, { every: 3, detect_every: 5 }), {
    code: 'EXP_BAD_INPUT',
    message: "Of 'detect_every' and 'every' only one can be given"
  })
})
