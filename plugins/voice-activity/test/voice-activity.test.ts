import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { makeStillMovie, skipWithout, testExpert } from '@nebula-experts/sdk/testing'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import VoiceActivity from '../index.ts'
import type { SpeechSegment } from '../speech-segments.ts'

const fixtures = new URL('fixtures/', import.meta.url)
const speech = fileURLToPath(new URL('speech.wav', fixtures))
const truth: SpeechSegment[] = JSON.parse(String(await readFile(new URL('speech.json', fixtures))))
const options = { skip: skipWithout('ffmpeg') }

const home = await mkdtemp(join(tmpdir(), 'nebula-voice-'))
t.teardown(() => rm(home, { recursive: true, force: true }))
const still = join(home, 'still.png')
await sharp({ create: { width: 64, height: 48, channels: 3, background: '#333' } })
  .png()
  .toFile(still)
const movieFile = join(home, 'talk.mp4')
const silentFile = join(home, 'silent.mp4')

t.before(async () => {
  if (options.skip !== false) return
  const size = { width: 64, height: 48 }
  await makeStillMovie(movieFile, {
    stills: [still, still, still],
    seconds: 4,
    ...size,
    sound: speech
  })
  await makeStillMovie(silentFile, { stills: [still], seconds: 1, ...size })
})

/** An expert, and the tokens that it has saved. */
async function start(t: Test, movies: Record<string, Record<string, unknown>> = {}) {
  const saved: Record<string, unknown>[] = []
  const tested = await testExpert(t, VoiceActivity, {
    name: 'voice-activity',
    media: { fileRoots: [home] },
    ask: async (what, given) => {
      if (what === 'movies.get') {
        const movie = movies[String(given)]
        return movie === undefined ? null : { _id: given, _key: given, _rev: '1', ...movie }
      }
      t.equal(what, 'tokens.save')
      saved.push(...(given as Record<string, unknown>[]))
      return []
    }
  })
  return { ...tested, saved }
}

function near(t: Test, found: SpeechSegment[], wanted: { start_s: number; end_s: number }[]) {
  t.equal(found.length, wanted.length)
  for (const [index, { start_s, end_s }] of wanted.entries()) {
    t.ok(Math.abs(found[index]!.start_s - start_s) <= 0.15, `begins at ${found[index]!.start_s}`)
    t.ok(Math.abs(found[index]!.end_s - end_s) <= 0.15, `ends at ${found[index]!.end_s}`)
  }
}

t.test('an uploaded sound', options, async (t) => {
  const { request } = await start(t)
  const answer = await request('POST', '/speech', { body: {}, files: { file: speech } })
  t.match(answer, { status: 200, value: { error: null } })
  near(t, (answer.value as { result: SpeechSegment[] }).result, truth)
  const strict = await request('POST', '/speech', {
    body: { min_speech_ms: '2300' },
    files: { file: speech }
  })
  near(t, (strict.value as { result: SpeechSegment[] }).result, truth.slice(0, 1))
})

t.test('a movie, whole and by scene element', options, async (t) => {
  const scene_elements = [
    [0, 92],
    [93, 162],
    [163, 299]
  ]
  const url_path = pathToFileURL(movieFile).href
  const { predict, processMovie, saved } = await start(t, {
    'Movies/1': { url_path, scene_elements }
  })
  const whole = (await predict({ movie_id: 'Movies/1', local: false })) as {
    result: SpeechSegment[]
  }
  near(t, whole.result, truth)
  const part = (await predict({
    movie_id: 'Movies/1',
    local: false,
    scene_element: 1
  })) as typeof whole
  near(t, part.result, truth.slice(1, 2))
  t.match(await processMovie('Movies/1'), { ok: true })
  t.match(saved, [
    { scene_element: 0, label: 'speech', meta_label: { segments: { length: 1 } } },
    { scene_element: 1, label: 'speech', meta_label: { segments: { length: 1 } } },
    { scene_element: 2, label: 'speech', meta_label: { segments: { length: 2 } } }
  ])
  await t.rejects(predict({ movie_id: 'Movies/1', local: false, scene_element: 3 }), {
    code: 'EXP_BAD_INPUT',
    message: /'scene_element' is 3/
  })
})

t.test('what has no sound, and what is none', options, async (t) => {
  const url_path = pathToFileURL(silentFile).href
  const { predict, processMovie, saved, request } = await start(t, { 'Movies/1': { url_path } })
  t.match(await processMovie('Movies/1'), { ok: true }, 'nobody speaks in a silent film')
  t.same(saved, [])
  t.match(await predict({ movie_id: 'Movies/1', local: false }), { result: null, error: /sound/ })
  t.match(await predict({ movie_id: 'Movies/2', local: false }), { error: /no movie 'Movies\/2'/ })
  t.match(await processMovie('Movies/2'), { ok: false, error: /no movie 'Movies\/2'/ })
  const text = join(home, 'text.mp3')
  await writeFile(text, 'no sound at all')
  await t.rejects(request('POST', '/speech', { body: {}, files: { file: text } }), {
    code: 'EXP_MEDIA_UNREADABLE',
    message: /^text\.mp3 cannot be read/
  })
  await t.rejects(request('POST', '/speech', { body: {} }), {
    code: 'EXP_BAD_INPUT',
    message: /'file'.*'url'/
  })
  await t.rejects(request('POST', '/speech', { body: { url: 'http://127.0.0.1/a.mp3' } }), {
    code: 'EXP_MEDIA_ADDRESS'
  })
  await t.rejects(request('POST', '/speech', { body: { threshold: 2 }, files: { file: speech } }), {
    message: /threshold/
  })
})
