// npm run demo: starts the host with the ocr expert, sends it a picture, prints the records, and writes
// the picture with a box around each line it read.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createHost, loadConfig } from '@nebula-experts/host'
import sharp from 'sharp'

const root = fileURLToPath(new URL('..', import.meta.url))
const picture = process.argv[2] ?? join(root, 'plugins/ocr/test/fixtures/receipt.png')
const output = join(root, 'demo-output', 'read.png')

const home = await mkdtemp(join(tmpdir(), 'nebula-demo-'))
await writeFile(join(home, 'experts.config.json'), '{}')
const env = {
  ...process.env,
  EXPERT_PLUGINS: join(root, 'plugins/ocr'),
  HOST: '127.0.0.1',
  PORT: '0'
}
const host = await createHost({ config: loadConfig(env, home) })
try {
  await host.started
  const [expert] = await (await fetch(`${host.url}/experts`)).json()
  if (expert.status !== 'ACTIVE') throw new Error(`ocr is ${expert.status}: ${expert.reason}`)
  console.log(
    `host ${process.pid} serves ${expert.name} ${expert.version} in process ${expert.instances[0].pid}`
  )

  const bytes = await readFile(picture)
  const answer = await fetch(`${host.url}${expert.base}/read`, { method: 'POST', body: bytes })
  const { result, error } = await answer.json()
  if (error !== null || answer.status !== 200)
    throw new Error(`no answer: ${error ?? answer.status}`)
  for (const { label, bbox, score } of result) {
    console.log(`${score.toFixed(2)}  [${bbox.map(Math.round).join(', ')}]  ${label}`)
  }
  await mkdir(join(root, 'demo-output'), { recursive: true })
  await drawBoxes(bytes, result, output)
  console.log(`${result.length} lines of text; drawn in ${relative(process.cwd(), output)}`)
} finally {
  await host.stop()
  await rm(home, { recursive: true, force: true })
}

async function drawBoxes(bytes, records, path) {
  const upright = await sharp(bytes).rotate().png().toBuffer()
  const { width, height } = await sharp(upright).metadata()
  const boxes = records.map(({ bbox: [left, top, right, bottom] }) => {
    const size = `width="${right - left}" height="${bottom - top}"`
    return `<rect x="${left}" y="${top}" ${size} fill="none" stroke="#e4007c" stroke-width="2"/>`
  })
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${boxes.join('')}</svg>`
  await sharp(upright)
    .composite([{ input: Buffer.from(svg) }])
    .png()
    .toFile(path)
}
