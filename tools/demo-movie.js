// npm run demo:movie: makes a movie of free stills and a voice, takes it through the pipeline videoprocessing →
// (detect-objects, ocr, voice-activity), prints what each scene shows and says, and writes a sheet of its scenes.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { createHost, loadConfig } from '@nebula-experts/host'
import { makeStillMovie } from '@nebula-experts/sdk/testing'
import sharp from 'sharp'

const root = fileURLToPath(new URL('..', import.meta.url))
const output = join(root, 'demo-output')

// What is in the movie, so that anybody can check what was found.
const stills = [
  'plugins/detect-objects/test/fixtures/astronaut.jpg',
  'plugins/ocr/test/fixtures/large-headline.png',
  'plugins/detect-objects/test/fixtures/chelsea.jpg',
  'plugins/detect-objects/test/fixtures/coffee.jpg'
]
const voice = 'plugins/voice-activity/test/fixtures/speech.wav'
const SECONDS = 3
const SIZE = { width: 640, height: 360 }
const experts = ['videoprocessing', 'detect-objects', 'ocr', 'voice-activity']
const [first, ...others] = experts
const plan = [{ expert: first }, ...others.map((expert) => ({ expert, depends_on: [first] }))]

const home = await mkdtemp(join(tmpdir(), 'nebula-demo-'))
try {
  const movie = join(home, 'demo.mp4')
  const files = stills.map((still) => join(root, still))
  await makeStillMovie(movie, {
    stills: files,
    seconds: SECONDS,
    ...SIZE,
    sound: join(root, voice)
  })
  console.log(`made a movie of ${stills.length} stills, ${stills.length * SECONDS} s, with a voice`)
  await writeFile(join(home, 'experts.config.json'), '{}')
  const env = {
    ...process.env,
    EXPERT_PLUGINS: experts.map((name) => join(root, 'plugins', name)).join(),
    EXPERT_FILE_ROOTS: home,
    HOST: '127.0.0.1',
    PORT: '0'
  }
  const host = await createHost({ config: loadConfig(env, home) })
  try {
    await host.started
    for (const { name, status, reason } of await get(host, '/experts')) {
      if (status !== 'ACTIVE') throw new Error(`${name} is ${status}: ${reason}`)
    }
    await take(host, movie)
  } finally {
    await host.stop()
  }
} finally {
  await rm(home, { recursive: true, force: true })
}

async function take(host, path) {
  const inputs = { [first]: { movies: [{ url: pathToFileURL(path).href, type: 'movie' }] } }
  await post(host, '/pipelines', { _key: 'demo', movies: [], inputs, plan })
  await post(host, '/pipelines/demo/run')
  const events = await fetch(`${host.url}/pipelines/demo/events`)
  for await (const _ of events.body) process.stdout.write('.')
  process.stdout.write('\n')
  const { items } = await get(host, '/pipelines/demo/items')
  for (const { task, state, error } of items) {
    console.log(
      `${task.padEnd(16)} ${state}${error === null || error === undefined ? '' : `: ${error}`}`
    )
  }
  const { movies } = await get(host, '/pipelines/demo')
  const id = Object.keys(movies)[0]
  const movie = await get(host, `/movies/${id.split('/')[1]}`)
  const { tokens } = await get(host, `/tokens?movie_id=${encodeURIComponent(id)}&limit=1000`)
  const scenes = movie.scene_elements.map(([from, to], number) => {
    const here = tokens.filter((token) => token.scene_element === number)
    const of = (expert) => here.filter((token) => token.expert === expert)
    return {
      number,
      from,
      to,
      objects: of('detect-objects'),
      text: of('ocr'),
      speech: of('voice-activity')
    }
  })
  console.log('\nscene  seconds       objects              text                  speech')
  for (const { number, from, to, objects, text, speech } of scenes) {
    const seconds = [from, to + 1].map((frame) => (frame / movie.meta.fps).toFixed(2)).join(' – ')
    const labels = (list) => list.map(({ label }) => label).join(', ') || '–'
    const spoken = speech
      .flatMap(({ meta_label }) => meta_label.segments)
      .map(({ start_s, end_s }) => `${start_s.toFixed(1)}–${end_s.toFixed(1)}`)
    const row = [
      String(number).padEnd(5),
      seconds.padEnd(12),
      labels(objects).padEnd(19),
      labels(text).padEnd(20)
    ]
    console.log(`${row.join('  ')}  ${spoken.join(', ') || '–'}`)
  }
  await mkdir(output, { recursive: true })
  const sheet = join(output, 'movie.png')
  await drawSheet(movie, scenes, sheet)
  console.log(`\nthe scenes with what was found in them: ${relative(process.cwd(), sheet)}`)
}

/** The middle frame of each scene with a box around each object and line of text, two in a row. */
async function drawSheet(movie, scenes, path) {
  const { width, height } = SIZE
  const gap = 8
  const cells = await Promise.all(
    scenes.map(async ({ number, objects, text }) => {
      const frames = movie.mdfs[number]
      const frame = frames[frames.length >> 1]
      const file = movie.mdfs_path.find(
        (one) => Number(/frame(\d+)\.jpg$/.exec(one)?.[1]) === frame
      )
      const boxes = [
        ...objects.map((token) => [token, '#e4007c']),
        ...text.map((token) => [token, '#0090d0'])
      ].flatMap(([token, colour]) =>
        [token.bbox]
          .flat()
          .filter((box) => box.frame === frame)
          .map((box) => drawBox(token.label, box.bbox, colour))
      )
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${boxes.join('')}</svg>`
      const picture = sharp(file).composite([{ input: Buffer.from(svg) }])
      return {
        input: await picture.png().toBuffer(),
        left: gap + (number % 2) * (width + gap),
        top: gap + (number >> 1) * (height + gap)
      }
    })
  )
  const rows = Math.ceil(cells.length / 2)
  const sheet = {
    width: 2 * (width + gap) + gap,
    height: rows * (height + gap) + gap,
    channels: 3,
    background: '#202020'
  }
  await sharp({ create: sheet }).composite(cells).png().toFile(path)
}

function drawBox(label, [left, top, right, bottom], colour) {
  const place = `x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"`
  const name = label.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)
  const caption = `<text x="${left + 4}" y="${Math.max(16, top - 5)}" fill="${colour}" font-family="sans-serif" font-size="16">${name}</text>`
  return `<rect ${place} fill="none" stroke="${colour}" stroke-width="2"/>${caption}`
}

async function get(host, path) {
  return answerOf(await fetch(`${host.url}${path}`), path)
}

async function post(host, path, body = {}) {
  const headers = { 'content-type': 'application/json' }
  const answer = fetch(`${host.url}${path}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body)
  })
  return answerOf(await answer, path)
}

async function answerOf(answer, path) {
  const body = await answer.json()
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${JSON.stringify(body.detail)}`)
  return body
}
