import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { expertOf, pidOf, untilTrue } from '../support/experts.ts'
import { call, makeHome, startHost } from '../support/start-host.ts'

const bundled = fileURLToPath(new URL('../../plugins/', import.meta.url))
const pictures = `${bundled}detect-objects/test/fixtures/`

/** A host that serves one bundled expert, twice. */
async function serve(t: Test, name: string, home?: string) {
  const config = { plugins_dir: [bundled], experts: { [name]: { instances: 2 } } }
  const where = home ?? (await makeHome(t, { config }))
  const env = {
    EXPERT_PLUGINS: name,
    EXPERT_FILE_ROOTS: pictures,
    NEBULA_DATA_DIR: `${where}/data`,
    NEBULA_ONNX_THREADS: '1'
  }
  const { url, host } = await startHost(t, { home: where, env })
  const post = (route: string, body: unknown) =>
    call(`${url}/experts/${name}${route}`, 'POST', body)
  return { url, host, home: where, post }
}

const TEXTS = {
  password: 'How can I reset my password?',
  parcel: 'Where is my parcel?',
  weather: 'It will rain all afternoon.',
  soup: 'The soup needs more salt.',
  train: 'The train to Berlin is late.'
}

t.test('texts that any instance has saved are found by all, also after a restart', async (t) => {
  const { post, host, home, url } = await serve(t, 'embed-text')
  const nearest = async (text: string) => {
    // At once, so that both instances answer.
    const asked = Array.from({ length: 6 }, () => post('/similar', { text, top_k: 1 }))
    const answers = await Promise.all(asked)
    return [...new Set(answers.map(({ json }) => json.result[0]?.id ?? null))]
  }
  t.same(await nearest('I forgot my login.'), [null], 'nothing is saved yet')
  for (const [id, text] of Object.entries(TEXTS)) {
    const { status, json } = await post('/embed', { texts: [{ id, text }], output: 'db' })
    t.equal(status, 200)
    t.match(json.result, [{ id, token: /^ImageTokens\// }])
    t.same(await nearest(text), [id], 'as soon as its saving is answered')
  }
  t.same(await nearest('I forgot my login.'), ['password'])
  t.same(await nearest('This broth tastes bland.'), ['soup'])
  const { tokens } = (await call(`${url}/tokens?image_id=soup`, 'GET')).json
  t.match(tokens, [{ type: 'text', expert: 'embed-text', expert_meta: { text: TEXTS.soup } }])

  const changed = { texts: [{ id: 'soup', text: 'Our puppy chases kittens.' }], output: 'db' }
  await post('/embed', changed)
  t.same(await nearest('My dog runs after cats.'), ['soup'], 'what is saved again is another')
  const all = (await post('/similar', { text: 'salt', top_k: 100 })).json.result
  t.equal(all.length, 5, 'and not one more')

  const killed = await pidOf(url, 'embed-text')
  process.kill(killed, 'SIGKILL')
  await untilTrue('another process in its place', async () => {
    const { instances } = await expertOf(url, 'embed-text')
    return instances.length === 2 && instances.every(({ pid }) => pid !== killed)
  })
  t.same(await nearest('The railway service for Berlin has a delay.'), ['train'])
  await host.stop()
  const next = await serve(t, 'embed-text', home)
  const { json } = await next.post('/similar', { text: 'The forecast says wet weather.', top_k: 2 })
  t.match(json.result[0], { id: 'weather', text: TEXTS.weather })
  const { score } = json.result[0]
  const few = await next.post('/similar', {
    text: 'The forecast says wet weather.',
    min_score: score
  })
  t.same(few.json.result, [json.result[0]])
})

t.test('an answer has all whose saving had ended, while others save on', async (t) => {
  const { post } = await serve(t, 'embed-text')
  const ended = new Set<string>()
  let isSaving = true
  const save = async () => {
    for (let group = 0; group < 8; group += 1) {
      const ids = Array.from({ length: 60 }, (_, i) => `n${group}-${i}`)
      const texts = ids.map((id) => ({ id, text: `note number ${id}` }))
      const { status } = await post('/embed', { texts, output: 'db' })
      t.equal(status, 200)
      for (const id of ids) ended.add(id)
    }
    isSaving = false
  }
  const saving = save()
  let answers = 0
  while (isSaving) {
    const before = [...ended]
    const { json } = await post('/similar', { text: 'note', top_k: 1000 })
    const found = new Set(json.result.map(({ id }: { id: string }) => id))
    const missing = before.filter((id) => !found.has(id))
    if (missing.length > 0) t.same(missing, [])
    answers += 1
  }
  await saving
  t.ok(answers > 1)
  const { json } = await post('/similar', { text: 'note', top_k: 1000 })
  t.equal(json.result.length, 480)
})

t.test('pictures are found however they were saved', async (t) => {
  const { url, post } = await serve(t, 'embed-image')
  const file = (name: string) => `file://${pictures}${name}.jpg`
  const listed = [
    { url: file('coffee'), image_id: 'coffee' },
    { url: file('none'), image_id: 'none' },
    { url: file('chelsea'), image_id: 'cat' }
  ]
  const embedded = await post('/embed', { images: listed, output: 'db' })
  t.match(embedded.json.result, [
    { image_id: 'coffee', token: String },
    { image_id: 'none', embedding: null, code: 'EXP_MEDIA_NOT_FOUND' },
    { image_id: 'cat', token: String }
  ])
  const predicted = { image_id: 'camera', url: file('camera'), output: 'db' }
  t.match((await post('/predict/image', predicted)).json, { result: [/^ImageTokens\//] })
  const both = { images: [{ image_id: 'rocket', url: file('rocket') }], output: 'db+json' }
  t.match((await post('/predict/images', both)).json.results, [
    { result: [{ image_id: 'rocket' }] }
  ])
  const upload = new FormData()
  const astronaut = new Blob([await readFile(`${pictures}astronaut.jpg`)])
  upload.set('file', astronaut, 'astronaut')
  upload.set('output', 'db')
  const base = `${url}/experts/embed-image`
  const form = { method: 'POST', body: upload }
  const uploaded = (await (await fetch(`${base}/embed`, form)).json()) as { result: unknown }
  t.match(uploaded.result, [{ image_id: 'astronaut', token: String }])

  const names = { coffee: 'coffee', chelsea: 'cat', camera: 'camera', rocket: 'rocket' }
  for (const [name, id] of Object.entries({ ...names, astronaut: 'astronaut' })) {
    const { json } = await post('/similar', { image: { url: file(name) } })
    t.match(json.result[0], { id, type: 'image' })
    t.ok(json.result[0].score > 0.9999, `${name} scores ${json.result[0].score} with itself`)
    t.equal(json.result.length, 5)
  }
  upload.delete('output')
  upload.set('top_k', '1')
  const asked = (await (await fetch(`${base}/similar`, form)).json()) as { result: unknown[] }
  t.match(asked.result, [{ id: 'astronaut' }])
  t.equal(asked.result.length, 1)
  const refused = await post('/similar', { image: { url: file('none') } })
  t.match(refused, { status: 400, json: { code: 'EXP_MEDIA_NOT_FOUND' } })
  const tooMany = await post('/embed', { images: new Array(257).fill(listed[0]) })
  t.match(tooMany, { status: 422, json: { detail: [{ loc: ['body', 'images'] }] } })
})
