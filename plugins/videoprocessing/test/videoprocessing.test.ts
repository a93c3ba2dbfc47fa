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

/** All files in a folder and in those in it. */
async function filesIn(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
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
  const kept = join(home, 'media', 'movies')
  t.same((await readdir(kept)).sort(), ['good', 'still'])
  t.match(await readdir(join(kept, 'good')), [/^[0-9a-f]{8}\.mp4$/])
  t.match(await readdir(join(kept, 'still')), [/^[0-9a-f]{8}\.jpg$/])
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
  const { mdfs, mdfs_path, url_path } = movieOf('Movies/a')
  t.equal(mdfs_path.length, mdfs.length)
  t.same((await filesIn(join(home, 'media'))).sort(), [...mdfs_path, url_path].sort())
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

for (const save_movies of [true, false]) {
  const promise = `nothing is left of a run that does not get to its end (${save_movies})`
  t.test(promise, needsVideo, async (t) => {
    const home = await makeHome(t)
    const shelf = movieShelf()
    const folder = join(home, 'media')
    const seen: string[][] = []
    let isFull = true
    const { request } = await testExpert(t, VideoProcessing, {
      name: 'videoprocessing',
      ask: async (what: string, given: unknown) => {
        // Asked before a movie is opened, and when all that it holds is found.
        if (what === 'movies.get') seen.push(await filesIn(folder))
        if (what === 'movies.save' && isFull) throw new Error('the store is full')
        return shelf.ask(what, given)
      },
      media: { fileRoots: [home], folder }
    })
    await makeStillMovie(join(home, 'm.mp4'), { stills, seconds: 1, width: 160, height: 90 })
    const url = pathToFileURL(join(home, 'm.mp4')).href
    const body = { movies: [{ url }], save_movies }
    await t.rejects(request('POST', '/process/movies', { body }), { message: 'the store is full' })
    t.strictSame(seen.slice(0, 2), [[], []], 'until a run is done its files lie in its own folder')
    t.strictSame(await filesIn(folder), [])
    isFull = false
    await request('POST', '/process/movies', { body })
    const kept = await filesIn(folder)
    t.equal(kept.length, save_movies ? 10 : 9, 'the frames of three shots, and the movie')
  })
}

t.test(
  'a document names the file of its own movie, also when a save fails',
  needsVideo,
  async (t) => {
    const home = await makeHome(t)
    const shelf = movieShelf()
    const folder = join(home, 'media')
    let save: 'works' | 'fails' | 'is not answered' = 'works'
    const { request } = await testExpert(t, VideoProcessing, {
      name: 'videoprocessing',
      ask: async (what: string, given: unknown) => {
        if (what !== 'movies.save' || save === 'works') return shelf.ask(what, given)
        if (save === 'is not answered') await shelf.ask(what, given)
        throw new Error('the store is away')
      },
      media: { fileRoots: [home], folder }
    })
    const [a, b] = ['a', 'b'].map((name) => join(home, `${name}.mp4`)) as [string, string]
    for (const [index, path] of [a, b].entries()) {
      const still = stills.slice(index, index + 1)
      await makeStillMovie(path, { stills: still, seconds: index + 1, width: 160, height: 90 })
    }
    const keep = (path: string) => {
      const body = { movies: [{ movie_id: '7', url: pathToFileURL(path).href }], overwrite: true }
      return request('POST', '/process/movies', { body })
    }
    const isOf = async (path: string) => {
      const movie = shelf.movies.get('Movies/7') as unknown as Movie
      t.equal(movie.orig_url, pathToFileURL(path).href)
      t.ok((await readFile(movie.url_path)).equals(await readFile(path)), 'its own file')
      for (const frame of movie.mdfs_path) await access(frame)
      return [...movie.mdfs_path, movie.url_path].sort()
    }
    await keep(a)
    const before = await isOf(a)
    save = 'fails'
    await t.rejects(keep(b), { message: 'the store is away' })
    t.same(await isOf(a), before, 'as it was')
    t.same((await filesIn(folder)).sort(), before, 'and nothing else')
    save = 'is not answered'
    await t.rejects(keep(b), { message: 'the store is away' })
    await isOf(b)
    save = 'works'
    await keep(a)
    await isOf(a)
  }
)

t.test(
  'what earlier builds kept is used, and removed when it is replaced',
  needsVideo,
  async (t) => {
    const { home, process, shelf, movieOf } = await start(t)
    const path = join(home, 'a.mp4')
    await makeStillMovie(path, { stills: stills.slice(0, 1), seconds: 1, width: 160, height: 90 })
    const url = pathToFileURL(path).href
    const kept = join(home, 'media', 'movies')
    await mkdir(kept, { recursive: true })
    const [old, other, mine] = ['a.mp4', 'c.mp4', 'd.mp4'].map((name) => join(kept, name))
    for (const file of [old, other, mine]) await copyFile(path, file as string)
    await rm(path)
    await shelf.ask('movies.save', { _key: 'a', url_path: old, orig_url: url })
    t.match(await process({ movies: [{ movie_id: 'a', url }] }), { results: [{ error: null }] })
    t.equal(movieOf('Movies/a').url_path, old, 'its source is gone, and not needed')

    await copyFile(old as string, path)
    await process({ movies: [{ movie_id: 'a', url }], overwrite: true })
    t.match(movieOf('Movies/a').url_path, new RegExp(`^${join(kept, 'a')}/[0-9a-f]{8}\\.mp4$`))
    await t.rejects(access(old as string), { code: 'ENOENT' })

    // A file of another movie, or of another tool, is not its to remove.
    for (const named of [other, path, join(kept, 'b', '..', 'c.mp4'), `${kept}/b/../../../a.mp4`]) {
      await shelf.ask('movies.save', { _key: 'b', url_path: named, orig_url: 'elsewhere' })
      const { results } = await process({ movies: [{ movie_id: 'b', url }], overwrite: true })
      t.match(results, [{ error: null }])
      for (const file of [other, path]) await access(file as string)
    }
    // A kept file that the request itself names stays where it is.
    const named = pathToFileURL(mine as string).href
    await shelf.ask('movies.save', { _key: 'd', url_path: mine })
    for (const save_movies of [true, false]) {
      const body = { movies: [{ movie_id: 'd', url: named }], overwrite: true, save_movies }
      t.match(await process(body), { results: [{ error: null }] })
      t.equal(movieOf('Movies/d').url_path, save_movies ? mine : named)
      await access(mine as string)
    }
  }
)

t.test(
  'a run whose kept file another replaced meanwhile names the new one',
  needsVideo,
  async (t) => {
    const home = await makeHome(t)
    const shelf = movieShelf()
    const folder = join(home, 'media')
    let meanwhile: (() => Promise<unknown>) | undefined
    let gets = 0
    const { request } = await testExpert(t, VideoProcessing, {
      name: 'videoprocessing',
      ask: async (what: string, given: unknown) => {
        // The second time, all that it holds is found.
        if (what === 'movies.get' && ++gets === 2) {
          const between = meanwhile
          meanwhile = undefined
          await between?.()
        }
        return shelf.ask(what, given)
      },
      media: { fileRoots: [home], folder }
    })
    await makeStillMovie(join(home, 'm.mp4'), { stills, seconds: 1, width: 160, height: 90 })
    const movies = [{ movie_id: 'm', url: pathToFileURL(join(home, 'm.mp4')).href }]
    const process = () => request('POST', '/process/movies', { body: { movies } })
    await process()
    const before = shelf.movies.get('Movies/m') as unknown as Movie
    gets = 0
    // As a host that shares the folder does it.
    const path = join(folder, 'movies', 'm', '01234567.mp4')
    meanwhile = async () => {
      await copyFile(before.url_path, path)
      await shelf.ask('movies.save', { _key: 'm', url_path: path })
      await rm(before.url_path)
    }
    await process()
    t.equal(shelf.movies.get('Movies/m')?.url_path, path)
    await access(path)
  }
)

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
