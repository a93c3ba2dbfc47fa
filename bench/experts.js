// What the bundled experts do a second through the host, beside what they are made of alone; and their memory.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { openSession } from '@nebula-experts/sdk/onnx'
import { makeStillMovie } from '@nebula-experts/sdk/testing'
import sharp from 'sharp'
import { startHost } from './servers.js'

const plugin = (name) => fileURLToPath(new URL(`../plugins/${name}`, import.meta.url))
const still = (name) => join(plugin('detect-objects'), 'test/fixtures', name)
const EXPERTS = ['detect-objects', 'embed-image', 'embed-text', 'ocr', 'voice-activity']
const MOVIE_SECONDS = 60
const EVERY = 5
const PREDICTIONS = 1000
const PAGES = 20

/** Speed. */
export default async function experts() {
  return withHost(async (home, post) => [
    await detection(home, post),
    await embeddings('embed-image', post, await pictures()),
    await embeddings('embed-text', post, sentences()),
    await reading(post)
  ])
}

/** Memory, some minutes. */
export async function expertMemory() {
  return withHost((_home, post, host) => memories(host, post))
}

async function withHost(measure) {
  const home = await mkdtemp(join(tmpdir(), 'nebula-bench-'))
  const env = { EXPERT_FILE_ROOTS: home }
  const host = await startHost(EXPERTS.map(plugin), {}, env)
  try {
    const post = async (path, body, type = 'application/json') => {
      const sent = type === 'application/json' ? JSON.stringify(body) : body
      const headers = { 'content-type': type }
      const answer = await fetch(`${host.url}${path}`, { method: 'POST', headers, body: sent })
      const value = await answer.json()
      if (!answer.ok || value.error)
        throw new Error(`${path}: ${answer.status} ${JSON.stringify(value)}`)
      return value
    }
    return await measure(home, post, host)
  } finally {
    await host.stop()
    await rm(home, { recursive: true, force: true })
  }
}

/** Frames a second over a movie, against decoding it and running the model, one after the other. */
async function detection(home, post) {
  const path = join(home, 'movie.mp4')
  const stills = ['astronaut.jpg', 'chelsea.jpg', 'coffee.jpg'].map(still)
  const seconds = MOVIE_SECONDS / stills.length
  await makeStillMovie(path, { stills, seconds, width: 640, height: 360 })
  await post('/movies', { _key: 'bench', url_path: pathToFileURL(path).href, meta: { fps: 25 } })
  const frames = (MOVIE_SECONDS * 25) / EVERY
  const decode = await timed(() =>
    promisify(execFile)('ffmpeg', ['-v', 'error', '-i', path, '-f', 'null', '-'])
  )
  const session = await openSession(join(plugin('detect-objects'), 'model/nanodet.onnx'))
  const input = { data: new Float32Array(3 * 416 * 416).fill(0.5), shape: [1, 3, 416, 416] }
  await session.warmUp({ input })
  const model = await timed(async () => {
    for (let i = 0; i < frames; i += 1) await session.run({ input })
  })
  await session.release()
  const body = { movie_id: 'Movies/bench', local: false, extra_params: { every: EVERY } }
  const whole = await timed(() => post('/experts/detect-objects/predict', body))
  return {
    what: `detect-objects: decode and model alone over the whole way, ${MOVIE_SECONDS} s of video, ${frames} frames`,
    value: `${(frames / whole).toFixed(1)} frames/s; decode ${decode.toFixed(2)} s, model ${model.toFixed(2)} s, expert ${whole.toFixed(2)} s`,
    ratio: (decode + model) / whole,
    atLeast: 0.7
  }
}

/** Pages a second, against reading them in this process. */
async function reading(post) {
  const { openOcrModels } = await import('../plugins/ocr/dist/ocr-models.js')
  const { readLines } = await import('../plugins/ocr/dist/read-lines.js')
  const page = join(plugin('ocr'), 'test/fixtures/sans-paragraph.png')
  const { data, info } = await sharp(page).removeAlpha().raw().toBuffer({ resolveWithObject: true })
  const image = { data, width: info.width, height: info.height, channels: 3 }
  const models = await openOcrModels()
  const alone = async () => readLines(models, image, { maxSide: 960, minScore: 0.5 })
  const bytes = await readFile(page)
  const hosted = () => post('/experts/ocr/read', bytes, 'image/png')
  const times = []
  for (const read of [alone, hosted]) {
    await read()
    times.push(
      await timed(async () => {
        for (let i = 0; i < PAGES; i += 1) await read()
      })
    )
  }
  await models.release()
  const [direct, through] = times.map((seconds) => PAGES / seconds)
  return {
    what: 'ocr: pages a second through the host over those read in one process',
    value: `${through.toFixed(1)}/s through the host, ${direct.toFixed(1)}/s without`,
    ratio: through / direct,
    atLeast: 0.7
  }
}

/** Embeddings a second in lists of 64, against one at a time. */
async function embeddings(name, post, { one, many }) {
  const path = `/experts/${name}/embed`
  await post(path, one)
  const alone =
    64 /
    (await timed(async () => {
      for (let i = 0; i < 64; i += 1) await post(path, one)
    }))
  const listed = 64 / (await timed(() => post(path, many)))
  return {
    what: `${name}: embeddings a second in lists of 64 over one at a time`,
    value: `${listed.toFixed(1)}/s in lists, ${alone.toFixed(1)}/s alone`,
    ratio: listed / alone
  }
}

async function pictures() {
  const image = { url: await dataUrl(still('coffee.jpg')) }
  return { one: { images: [image] }, many: { images: Array(64).fill(image) } }
}

function sentences() {
  const texts = Array.from({ length: 64 }, (_, index) => {
    return `The ${index}th train leaves the station before the rain has ended.`
  })
  return { one: { texts: texts.slice(0, 1) }, many: { texts } }
}

/** Resident memory of each expert's process when it is loaded and after a thousand predictions. */
async function memories(host, post) {
  const wav = await readFile(join(plugin('voice-activity'), 'test/fixtures/speech.wav'))
  const url = await dataUrl(still('camera.jpg'), 320)
  const image = { image_id: '1', url }
  const calls = {
    'detect-objects': () => post('/experts/detect-objects/predict/image', image),
    'embed-image': () => post('/experts/embed-image/embed', { images: [{ url }] }),
    'embed-text': () => post('/experts/embed-text/embed', { texts: ['one sentence'] }),
    ocr: () => post('/experts/ocr/predict/image', image),
    'voice-activity': () =>
      post('/experts/voice-activity/speech', wav.subarray(0, 64_000), 'audio/wav')
  }
  const rows = []
  for (const [name, call] of Object.entries(calls)) {
    const loaded = await memoryOf(host, name)
    for (let i = 0; i < 20; i += 1) await call()
    const before = await memoryOf(host, name)
    const seconds = await timed(async () => {
      for (let i = 0; i < PREDICTIONS; i += 1) await call()
    })
    const after = await memoryOf(host, name)
    rows.push({
      what: `${name}: memory after ${PREDICTIONS} predictions over that after 20`,
      value: `${after} MB, ${before} MB, loaded ${loaded} MB; ${(PREDICTIONS / seconds).toFixed(1)} predictions/s`,
      ratio: after / before,
      atMost: 1.3
    })
  }
  return rows
}

async function memoryOf(host, name) {
  const experts = await (await fetch(`${host.url}/experts`)).json()
  const [{ pid }] = experts.find((expert) => expert.name === name).instances
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024)
}

async function dataUrl(path, width = 640) {
  const bytes = await sharp(path).resize(width).jpeg().toBuffer()
  return `data:image/jpeg;base64,${bytes.toString('base64')}`
}

/** Seconds. */
async function timed(work) {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1000
}
