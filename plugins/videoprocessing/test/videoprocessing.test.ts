import {
  access,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { makeStillMovie, skipWithout, testExpert } from '@nebula-experts/sdk/testing'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import VideoProcessing from '../index.ts'
import { movieShelf } from './movie-shelf.ts'

const pages = fileURLToPath(new URL('../../ocr/test/fixtures/', import.meta.url))
const stills = ['large-headline.png', 'light-on-dark.png', 'coloured-panels.png'].map(
  (name) => `${pages}${name}`
)
const needsVideo = { skip: skipWithout('ffmpeg') }

interface Movie {
  [field: string]: unknown
  scene_elements: [number, number][]
  mdfs: number[][]
  mdfs_path: string[]
  url_path: string
}

async function makeHome(t: Test): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'nebula-movies-'))
  t.teardown(() => rm(home, { recursive: true, force: true }))
  return home
}

async function start(t: Test, config: Record<string, unknown> = {}) {
  const home = await makeHome(t)
  const shelf = movieShelf()
  const media = { fileRoots: [home], folder: join(home, 'media') }
  const tested = await testExpert(t, VideoProcessing, {
    name: 'videoprocessing',
    config,
    ask: shelf.ask,
    media
  })
  const process = async (body: object) => {
    const { status, value } = await tested.request('POST', '/process/movies', { body })
    t.equal(status, 200)
    return value as { results: { result: { _id: string } | null; error: string | null }[] }
  }
  const movieOf = (id: string) => shelf.movies.get(id) as unknown as Movie
  return { ...tested, home, shelf, process, movieOf }
}

const secondsOf = 2
const cutsAt = [0, 50, 100]

t.test('a movie is divided at its cuts, and its document says how', needsVideo, async (t) => {
  const { home, process, movieOf, progress } = await start(t)
  const path = join(home, 'three shots.mp4')
  await makeStillMovie(path, { stills, seconds: secondsOf, width: 320, height: 180 })
  const url = pathToFileURL(path).href
  const { results } = await process({ movies: [{ movie_id: '', url, type: 'file' }] })
  t.match(results, [
    { result: { _id: /^Movies\/-?\d+$/, _key: String, _rev: '1', context: '' }, error: null }
  ])
  const movie = movieOf(results[0]!.result!._id)
  t.match(movie, {
    name: 'three%20shots',
    orig_url: url,
    type: 'movie',
    status: 'created',
    source: 'external',
    updates: 1,
    last_frame: 149,
    meta: { fps: 25, width: 320, height: 180, duration: 6, codec: 'h264', audio: null }
  })
  t.equal(movie.scene_elements.length, 3)
  for (const [index, [first, last]] of movie.scene_elements.entries()) {
    t.ok(Math.abs(first - cutsAt[index]!) <= 1, `shot ${index} begins at ${first}`)
    const middles = movie.mdfs[index]!
    t.ok(middles.length === 3 && middles.every((frame) => frame > first && frame < last))
  }
  t.strictSame(movie.scenes, movie.scene_elements)
  const frames = movie.mdfs.flat()
  t.strictSame(
    movie.mdfs_path.map((file) => Number(/frame(\d{4})\.jpg$/.exec(file)![1])),
    frames,
    'each picture is of its frame'
  )
  for (const file of movie.mdfs_path)
    t.match(await sharp(file).metadata(), { width: 320, height: 180 })
  t.strictSame(await readFile(movie.url_path), await readFile(path), 'the movie is kept')
  t.not(movie.url_path, path)
  t.ok(progress.length > 0 && progress.every(({ note }) => note === 'movie 1 of 1'))

  // Once more, in parts of equal length: what an earlier run chose is not left lying about.
  await process({
    movies: [{ url }],
    video_processing: 'every_n_seconds',
    video_processing_interval: 1
  })
  const again = movieOf(results[0]!.result!._id)
  t.strictSame(
    again.scene_elements,
    [0, 1, 2, 3, 4, 5].map((at) => [at * 25, at * 25 + 24])
  )
  t.strictSame(again.mdfs, [[12], [37], [62], [87], [112], [137]])
  t.strictSame(again.scenes, movie.scenes)
  t.equal(again.updates, 2)
  const [run, ...others] = await readdir(join(home, 'media', 'frames', String(again._key)))
  t.same(others, [], 'the frames of the run before are gone')
  t.equal((await readdir(join(home, 'media', 'frames', String(again._key), run!))).length, 6)
})

t.test('one movie that cannot be had leaves the others be', needsVideo, async (t) => {
  const { home, process, movieOf, shelf } = await start(t)
  const path = join(home, 'good.mp4')
  await makeStillMovie(path, { stills: stills.slice(0, 1), seconds: 1, width: 160, height: 90 })
  const url = (name: string) => pathToFileURL(join(home, name)).href
  await copyFile(path, join(home, 'cut.mp4'))
  await truncate(join(home, 'cut.mp4'), 3000)
  await writeFile(join(home, 'text.mp4'), 'no movie at all')
  const picture = await sharp(stills[0]).jpeg().toBuffer()
  await writeFile(join(home, 'still.jpg'), picture)
  await writeFile(join(home, 'half.jpg'), picture.subarray(0, picture.length / 2))
  const { results } = await process({
    movies: [
      { url: url('nowhere.mp4') },
      { url: url('cut.mp4') },
      { url: url('text.mp4') },
      { url: 'file:///etc/passwd' },
      { url: 'no address' },
      { url: url('good.mp4'), type: 'clip' },
      { url: url('good.mp4'), movie_id: 'not/legal' },
      { url: url('half.jpg') },
      { url: url('good.mp4'), movie_id: 'Movies/good' },
      { url: url('still.jpg'), movie_id: 'still' }
    ]
  })
  const errors = results.map(({ error }) => error)
  t.match(errors, [
    /nowhere\.mp4/,
    /cut\.mp4/,
    /text\.mp4/,
    /\/etc\/passwd.*refused/,
    /no address/,
    /'type' is 'clip', wanted 'movie', 'image' or 'file'/,
    /'movie_id' is 'not\/legal'/,
    /half/,
    null,
    null
  ])
  t.same([...shelf.movies.keys()], ['Movies/good', 'Movies/still'])
  t.match(movieOf('Movies/still'), {
    type: 'image',
    meta: { mode: 'RGB', fps: undefined },
    mdfs: [[0]],
    scene_elements: [],
    mdfs_path: [movieOf('Movies/still').url_path]
  })
  t.same((await readdir(join(home, 'media', 'movies'))).sort(), ['good.mp4', 'still.jpg'])
})

t.test('no key leads to the frames of another movie', needsVideo, async (t) => {
  const { home, process, processMovie, movieOf, shelf } = await start(t)
  const path = join(home, 'a.mp4')
  await makeStillMovie(path, { stills: stills.slice(0, 1), seconds: 1, width: 160, height: 90 })
  const url = pathToFileURL(path).href
  await process({ movies: [{ movie_id: 'a', url }] })
  for (const key of ['.', '..', '...']) {
    const { results } = await process({ movies: [{ movie_id: key, url }] })
    t.match(results, [{ result: null, error: /'movie_id' is '\.+', wanted .* not points alone/ }])
    await shelf.ask('movies.save', { _key: key, url_path: url })
    t.match(await processMovie(`Movies/${key}`), { ok: false, error: /'movie_id'/ })
  }
  await shelf.ask('movies.save', {
    _key: 'b',
    url_path: url,
    mdfs_path: [movieOf('Movies/a').url_path, '/etc/passwd']
  })
  t.match(await processMovie('Movies/b'), { ok: true })
  for (const file of [...movieOf('Movies/a').mdfs_path, movieOf('Movies/a').url_path])
    await access(file)
})

t.test('runs over one movie at once leave one whole document', needsVideo, async (t) => {
  const { home, process, movieOf } = await start(t)
  const path = join(home, 'a.mp4')
  await makeStillMovie(path, { stills, seconds: 1, width: 160, height: 90 })
  const movies = [{ movie_id: 'a', url: pathToFileURL(path).href }]
  const runs = [1, 2, 3, 4].map((seconds) =>
    process({
      movies,
      overwrite: true,
      video_processing: 'every_n_seconds',
      video_processing_interval: seconds / 4
    })
  )
  for (const { results } of await Promise.all(runs)) t.match(results, [{ error: null }])
  const { mdfs, mdfs_path } = movieOf('Movies/a')
  t.equal(mdfs_path.length, mdfs.length)
  for (const file of mdfs_path) await access(file)
})

t.test('what is kept is used again until it is to be overwritten', needsVideo, async (t) => {
  const { home, process, movieOf } = await start(t)
  const path = join(home, 'a.mp4')
  await makeStillMovie(path, { stills: stills.slice(0, 1), seconds: 1, width: 160, height: 90 })
  const url = pathToFileURL(path).href
  const movies = [{ movie_id: 'a', url }]
  await process({ movies })
  const kept = movieOf('Movies/a').url_path
  await rm(path)
  const again = await process({ movies })
  t.match(again.results, [{ error: null }], 'its source is gone, and not needed')
  const over = await process({ movies, overwrite: 'true' })
  t.match(over.results, [{ result: null, error: /a\.mp4/ }])
  t.equal(movieOf('Movies/a').url_path, kept, 'a failed overwrite leaves the movie as it was')

  await makeStillMovie(path, { stills: stills.slice(1, 2), seconds: 2, width: 160, height: 90 })
  await rm(kept)
  await process({ movies })
  t.equal(movieOf('Movies/a').last_frame, 49, 'what somebody removed is fetched again')

  await process({ movies: [{ movie_id: 'b', url }], save_movies: false })
  t.equal(movieOf('Movies/b').url_path, url)
})

t.test('a dataset is the files of a folder, its words their context', needsVideo, async (t) => {
  const { home, process, movieOf } = await start(t)
  const folder = join(home, 'set')
  await makeStillMovie(join(home, 'm.mp4'), {
    stills: stills.slice(0, 1),
    seconds: 1,
    width: 160,
    height: 90
  })
  await mkdir(folder)
  await copyFile(join(home, 'm.mp4'), join(folder, 'two_men_talk.mp4'))
  await copyFile(join(home, 'm.mp4'), join(folder, 'rain_falls.mp4'))
  const dataset = { path: folder, type: 'movie', id: 'x' }
  const { results } = await process({
    input: 'dataset',
    dataset,
    context: { delimeter: '_' },
    benchmark: { benchmark_name: 'msrvtt' }
  })
  t.match(results, [{ result: { context: 'rain falls' } }, { result: { context: 'two men talk' } }])
  t.match(movieOf(results[0]!.result!._id), {
    misc: { benchmark_name: 'msrvtt', benchmark_tag: '' }
  })
  for (const path of ['/etc', '/nowhere', `${folder}/../..`]) {
    await t.rejects(process({ input: 'dataset', dataset: { path } }), {
      code: 'EXP_MEDIA_ADDRESS',
      message: /is refused: it does not lie under/
    })
  }
  await t.rejects(process({ input: 'dataset', dataset: { path: `${folder}/none` } }), {
    code: 'EXP_MEDIA_NOT_FOUND'
  })
  t.match(await process({ input: 'dataset', dataset: { path: '' } }), {
    result: null,
    error: 'no dataset path'
  })
})

t.test('nothing is left of a run that does not get to its end', needsVideo, async (t) => {
  const home = await makeHome(t)
  const shelf = movieShelf()
  const folder = join(home, 'media')
  const lying = async () => {
    const found = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
    return found.filter((entry) => entry.isFile()).map(({ name }) => name)
  }
  const seen: string[][] = []
  let isFull = true
  const { request } = await testExpert(t, VideoProcessing, {
    name: 'videoprocessing',
    ask: async (what: string, given: unknown) => {
      // Asked before a movie is opened, and when all that it holds is found.
      if (what === 'movies.get') seen.push(await lying())
      if (what === 'movies.save' && isFull) throw new Error('the store is full')
      return shelf.ask(what, given)
    },
    media: { fileRoots: [home], folder }
  })
  await makeStillMovie(join(home, 'm.mp4'), { stills, seconds: 1, width: 160, height: 90 })
  const url = pathToFileURL(join(home, 'm.mp4')).href
  const body = { movies: [{ url }], save_movies: false }
  await t.rejects(request('POST', '/process/movies', { body }), { message: 'the store is full' })
  t.strictSame(seen, [[], []], 'until a run is done its files lie in its own folder')
  t.strictSame(await lying(), [])
  isFull = false
  await request('POST', '/process/movies', { body })
  t.equal((await lying()).length, 9, 'the frames of three shots')
})

t.test('requests that name no movie are answered as the older system did', async (t) => {
  const { process, predict, predictImage } = await start(t)
  t.same(await process({}), { result: null, error: 'No movies in the list' })
  t.same(await process({ movies: [] }), { result: null, error: 'No movies in the list' })
  t.same(await process({ movies: null }), { result: null, error: 'No movies in the list' })
  t.same(await predict({ movie_id: 'Movies/1', local: false }), { error: 'not implemented' })
  t.same(await predictImage({ image_id: '1', url: 'x' }), { error: 'not implemented' })
})

t.test('in a pipeline it divides the movie that a document names', needsVideo, async (t) => {
  const { home, processMovie, shelf, movieOf } = await start(t)
  const path = join(home, 'p.mp4')
  await makeStillMovie(path, { stills: stills.slice(0, 2), seconds: 1, width: 160, height: 90 })
  const url = pathToFileURL(path).href
  await shelf.ask('movies.save', {
    _key: 'p',
    name: 'p',
    url_path: url,
    type: 'movie',
    context: 'kept'
  })
  t.match(await processMovie('Movies/p'), { ok: true })
  t.match(movieOf('Movies/p'), { context: 'kept', orig_url: url, scene_elements: { length: 2 } })
  t.match(await processMovie('Movies/q'), { ok: false, error: /no movie 'Movies\/q'/ })
  await shelf.ask('movies.save', { _key: 'r' })
  t.match(await processMovie('Movies/r'), { ok: false, error: /'url_path' of Movies\/r/ })
})
