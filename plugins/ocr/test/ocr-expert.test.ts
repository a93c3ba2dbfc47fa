import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RunContext } from '@nebula-experts/sdk'
import {
  type Ask,
  attachServices,
  collectRoutes,
  createMedia,
  defaultMediaPolicy,
  type ExpertServices,
  Movies,
  Pipelines,
  Tokens
} from '@nebula-experts/sdk/hosting'
import t from 'tap'
import OcrExpert from '../index.ts'
import { fixtures } from './read-pages.ts'

const tmp = await mkdtemp(join(tmpdir(), 'ocr-'))
const log = { debug() {}, info() {}, warn() {}, error() {} }
const mirror: string[] = []

const ask: Ask = async (what) => {
  throw new Error(`it keeps nothing, but asks for ${what}`)
}
const expert = new OcrExpert()
const services: ExpertServices = {
  name: 'ocr',
  config: { OCR_MIN_SCORE: 0.5, OCR_MAX_SIDE: 960 },
  log,
  media: createMedia({ ...defaultMediaPolicy, fileRoots: [fixtures] }),
  movies: new Movies(ask),
  tokens: new Tokens(ask),
  pipelines: new Pipelines(ask, {
    makeContext: () => ({ context: context(), close: async () => {} }),
    mark: () => ({ expert_version: null, model_sha256: null })
  }),
  changed: () =>
    mirror.push(
      expert
        .getTasks()
        .map((task) => task.id)
        .join()
    )
}
attachServices(expert, services)

const context = (): RunContext => ({
  jobId: 'job',
  signal: new AbortController().signal,
  log,
  progress() {},
  tmp,
  cache: tmp
})
const image = (file: string) => ({
  id: 'Images/7',
  movie_id: 'Images/7',
  img_url: `file://${fixtures}${file}`,
  scene_element: null,
  local: false,
  extra_params: null,
  output: 'json',
  type: 'image',
  output_file: null
})

process.env['NEBULA_ONNX_THREADS'] = '1'
const hashBefore = expert.getModelSha256()
await expert.init()
t.teardown(async () => {
  await expert.handleExit()
  await rm(tmp, { recursive: true })
})

t.test('what recognises the text is named by its hash, once it is loaded', async (t) => {
  t.equal(hashBefore, null)
  t.match(expert.getModelSha256(), /^[0-9a-f]{64}$/)
})

t.test('a picture is answered with one record per line', async (t) => {
  mirror.length = 0
  const answer = await expert.predictImage(image('large-headline.png'), context())
  t.equal(answer.error, null)
  t.equal(answer.result.length, 4)
  const [first] = answer.result
  t.match(first, { image_id: 'Images/7', expert: 'ocr', label: 'Bread and Roses', re_id: 0 })
  t.ok(first!.score > 0.9)
  t.same(first!.meta_label, { class: 'Text', score: first!.score })
  t.ok((first!.bbox as number[]).every(Number.isInteger))
  t.same(mirror, ['Images/7', ''], 'it is shown as a task while it is read')
})

t.test('min_score of a request leaves doubtful lines out', async (t) => {
  const params = { ...image('large-headline.png'), extra_params: { min_score: 1 } }
  const answer = await expert.predictImage(params, context())
  t.ok(answer.result.length < 4)
  t.ok(answer.result.every((record) => record.score >= 1))
})

t.test('a picture that cannot be had fails with the code of the media layer', async (t) => {
  const reading = expert.predictImage(image('no-such.png'), context())
  await t.rejects(reading, { name: 'ExpertError', code: /^EXP_MEDIA_/ })
  t.same(expert.getTasks(), [])
})

t.test('/read answers an uploaded picture under its file name', async (t) => {
  const [route] = collectRoutes((api) => expert.addExpertApis(api))
  t.match(route, { method: 'POST', path: '/read', options: { files: true, summary: String } })
  const file = {
    field: 'file',
    filename: 'menu.jpg',
    type: 'image/jpeg',
    path: join(fixtures, 'photo-sign-composite.jpg'),
    bytes: 1
  }
  const request = { body: undefined, params: {}, querystring: {}, files: [file] }
  const named = (await route!.handler(request, context())) as {
    result: { image_id: string; label: string }[]
  }
  t.equal(named.result[0]?.image_id, 'menu.jpg')
  t.equal(named.result[0]?.label, 'FRESH COFFEE')
  const raw = { ...request, files: [{ ...file, filename: null }] }
  const unnamed = (await route!.handler(raw, context())) as typeof named
  t.equal(unnamed.result[0]?.image_id, 'upload')
  const none = route!.handler({ ...request, files: [] }, context()) as Promise<unknown>
  await t.rejects(none, { code: 'EXP_BAD_INPUT', message: /'file'/ })
})
