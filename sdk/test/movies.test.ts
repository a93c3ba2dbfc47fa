import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import t from 'tap'
import { Movies } from '../documents.ts'
import { createMedia, defaultMediaPolicy } from '../media/create-media.ts'
import type { ChooseOptions } from '../movies/movie-file.ts'
import { movieKeyOf, movieNameOf, namesPicture } from '../movies/movie-key.ts'
import { openMovie } from '../movies/open-movie.ts'
import { makeStillMovie, skipWithout } from '../testing.ts'

const home = await mkdtemp(join(tmpdir(), 'nebula-movie-file-'))
t.teardown(() => rm(home, { recursive: true, force: true }))
const media = createMedia({ ...defaultMediaPolicy, fileRoots: [home] })
const context = { tmp: home, signal: new AbortController().signal }
const still = join(home, 'still.png')
await sharp({ create: { width: 80, height: 60, channels: 3, background: '#808080' } })
  .png()
  .toFile(still)
const needsVideo = { skip: skipWithout('ffmpeg') }

function open(fields: Record<string, unknown>) {
  const movies = new Movies(async (what, id) => {
    t.equal(what, 'movies.get')
    return id === 'Movies/1' ? { _id: 'Movies/1', _key: '1', _rev: '1', ...fields } : null
  })
  return openMovie('Movies/1', { movies, media }, context)
}

/** Frame and scene element of all that is chosen. */
async function chosen(fields: Record<string, unknown>, options: ChooseOptions = {}) {
  const frames: [frame: number, sceneElement: number][] = []
  const file = await open(fields)
  let before = -1
  for await (const { number, sceneElement, fraction, data, width, height } of file.chosenFrames(
    options
  )) {
    t.equal(data.length, width * height * 3)
    t.ok(fraction > before && fraction <= 1, 'it goes on')
    before = fraction
    frames.push([number, sceneElement])
  }
  return frames
}

t.test('the frames by which a movie is judged', needsVideo, async (t) => {
  const path = join(home, 'movie.mp4')
  await makeStillMovie(path, { stills: [still], seconds: 2, width: 64, height: 48 })
  const url_path = pathToFileURL(path).href
  const whole = { url_path }
  const divided = {
    url_path,
    scene_elements: [
      [0, 19],
      [20, 49]
    ],
    mdfs: [[12, 4], [30]]
  }
  t.same(
    await chosen(divided),
    [
      [4, 0],
      [12, 0],
      [30, 1]
    ],
    'middle frames, ascending'
  )
  t.same(await chosen(divided, { sceneElement: 0 }), [
    [4, 0],
    [12, 0]
  ])
  t.same(await chosen(divided, { choice: { mdf: 0 } }), [
    [12, 0],
    [30, 1]
  ])
  t.same(await chosen(divided, { sceneElement: 1, choice: { mdf: 0 } }), [[30, 1]])
  t.same(await chosen(divided, { choice: { every: 10 } }), [
    [0, 0],
    [10, 0],
    [20, 1],
    [30, 1],
    [40, 1]
  ])
  t.same(await chosen(divided, { sceneElement: 1, choice: { every: 15 } }), [
    [30, 1],
    [45, 1]
  ])
  t.same(await chosen(divided, { choice: { every_s: 1 } }), [
    [0, 0],
    [25, 1]
  ])
  t.same(
    await chosen(whole),
    [
      [0, 0],
      [25, 0]
    ],
    'a frame a second where nothing is said'
  )
  t.same(await chosen(whole, { sceneElement: 0, choice: { every: 40 } }), [
    [0, 0],
    [40, 0]
  ])

  const rows: [Record<string, unknown>, ChooseOptions, RegExp][] = [
    [divided, { sceneElement: 2 }, /'scene_element' is 2, Movies\/1 has 0 to 1/],
    [whole, { sceneElement: 1 }, /'scene_element' is 1, .* only 0/],
    [
      divided,
      { choice: { mdf: 1 } },
      /'mdf' is 1, scene element 1 of Movies\/1 has middle frames 0 to 0/
    ],
    [whole, { choice: { mdf: 0 } }, /'mdf' is 0, Movies\/1 has no middle frames/],
    [whole, { choice: { every: 1, every_s: 1 } }, /'every' and 'every_s' only one/],
    [{ ...divided, mdfs: [[4], [1000]] }, {}, /1000/]
  ]
  for (const [fields, options, message] of rows) {
    await t.rejects(chosen(fields, options), { code: 'EXP_BAD_INPUT', message })
  }
})

t.test('a picture is a movie of one frame', async (t) => {
  const url_path = pathToFileURL(still).href
  t.same(await chosen({ url_path }), [[0, 0]])
  t.same(await chosen({ url_path, type: 'image' }, { sceneElement: 0, choice: { mdf: 0 } }), [
    [0, 0]
  ])
  await t.rejects(chosen({ url_path }, { choice: { mdf: 1 } }), {
    message: /a picture has middle frames 0 to 0/
  })
  const named = await open({ url_path, type: 'image' })
  t.equal(named.isPicture, true)
  t.equal((await open({ url_path, meta: { mode: 'RGB' } })).isPicture, true)
})

t.test('what another host keeps is fetched from where it came', needsVideo, async (t) => {
  const path = join(home, 'came from.mp4')
  await makeStillMovie(path, { stills: [still], seconds: 1, width: 64, height: 48 })
  const origin = pathToFileURL(path).href
  const elsewhere = join(home, 'kept by another host.mp4')
  const movie = { url_path: elsewhere, orig_url: origin, scene_elements: [[0, 24]], mdfs: [[3]] }
  t.same(await chosen(movie), [[3, 0]])
  t.same(await chosen({ ...movie, url_path: '/another/data/media/movies/1.mp4' }), [[3, 0]])
  t.match(await open({ url_path: `${still}.gone.png`, orig_url: pathToFileURL(still).href }), {
    isPicture: true
  })
  const gone = { code: 'EXP_MEDIA_NOT_FOUND' }
  for (const orig_url of [undefined, null, '', 5, elsewhere, `${origin}.gone`]) {
    await t.rejects(open({ ...movie, orig_url }), gone, String(orig_url))
  }
  for (const [orig_url, code] of [
    [`${origin}.gone`, 'EXP_MEDIA_NOT_FOUND'],
    ['https://127.0.0.1/a.mp4', 'EXP_MEDIA_ADDRESS'],
    [pathToFileURL(still).href, 'EXP_MEDIA_UNREADABLE']
  ] as const) {
    const named = orig_url.split('/').at(-1)!.replaceAll(' ', '%20')
    const error = await open({ ...movie, type: 'movie', orig_url }).catch((error) => error)
    t.match(error, { code, message: /kept%20by%20another%20host\.mp4.*; and where it came from: / })
    t.match(error.message.split('; and where it came from: ')[1], named)
  }
  // What is there and cannot be read is not another file's business.
  await t.rejects(
    open({ url_path: still, type: 'movie', orig_url: origin }).then((file) => file.probe()),
    {
      code: /EXP_MEDIA/
    }
  )
})

t.test('documents that say nothing, or what cannot be', async (t) => {
  const url_path = pathToFileURL(still).href
  const rows: [Record<string, unknown>, string, RegExp][] = [
    [{}, 'EXP_BAD_INPUT', /'url_path' of Movies\/1 is missing/],
    [{ url_path: 7 }, 'EXP_BAD_INPUT', /'url_path' of Movies\/1 is 7/],
    [{ url_path: `${url_path}.jpg` }, 'EXP_MEDIA_NOT_FOUND', /still\.png\.jpg/],
    [
      { url_path, scene_elements: 'none' },
      'EXP_BAD_INPUT',
      /'scene_elements' .* "none", wanted a list/
    ],
    [{ url_path, scene_elements: [[5, 4]] }, 'EXP_BAD_INPUT', /'scene_elements\[0\]'.*\[5,4\]/],
    [{ url_path, scene_elements: [[0, 1]], mdfs: [['x']] }, 'EXP_BAD_INPUT', /'mdfs\[0\]'/]
  ]
  for (const [fields, code, message] of rows) await t.rejects(open(fields), { code, message })
  const none = new Movies(async () => null)
  await t.rejects(openMovie('Movies/2', { movies: none, media }, context), {
    code: 'EXP_MEDIA_NOT_FOUND',
    message: "There is no movie 'Movies/2'"
  })
})

t.test('keys and names come from addresses', async (t) => {
  t.match(movieKeyOf('https://example.org/a.mp4'), /^-?\d{1,19}$/)
  t.equal(movieKeyOf('a'), movieKeyOf('a'))
  t.not(movieKeyOf('a'), movieKeyOf('b'))
  t.equal(movieNameOf('https://example.org/x/video8059.mp4?a=b.c#d'), 'video8059')
  t.ok(namesPicture('https://example.org/a.JPG?x=1') && namesPicture('data:image/png;base64,AA=='))
  t.notOk(namesPicture('https://example.org/a.mp4?x=b.jpg'))
})
