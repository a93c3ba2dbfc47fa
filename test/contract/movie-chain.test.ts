import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { makeStillMovie, skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { call, makeHome, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const plugins = fileURLToPath(new URL('../../plugins/', import.meta.url))
const experts = ['videoprocessing', 'detect-objects', 'ocr', 'voice-activity']
const stills = [
  'detect-objects/test/fixtures/astronaut.jpg',
  'ocr/test/fixtures/large-headline.png',
  'detect-objects/test/fixtures/chelsea.jpg'
].map((still) => join(plugins, still))

interface Token {
  expert: string
  label: string
  scene_element: number
}

t.test('a movie goes through the whole chain', { skip: skipWithout('ffmpeg') }, async (t) => {
  const home = await makeHome(t)
  const path = join(home, 'film.mp4')
  const sound = join(plugins, 'voice-activity/test/fixtures/speech.wav')
  await makeStillMovie(path, { stills, seconds: 3, width: 640, height: 360, sound })
  const { url } = await startHost(t, {
    home,
    env: {
      EXPERT_PLUGINS: experts.map((name) => join(plugins, name)).join(),
      EXPERT_FILE_ROOTS: home
    }
  })
  const inputs = { videoprocessing: { movies: [{ url: pathToFileURL(path).href, type: 'movie' }] } }
  const plan = experts.map((expert, place) => ({
    expert,
    ...(place > 0 && { depends_on: ['videoprocessing'] })
  }))
  const made = await call(`${url}/pipelines`, 'POST', { _key: 'chain', movies: [], inputs, plan })
  t.equal(made.status, 201)
  await call(`${url}/pipelines/chain/run`, 'POST')
  const ended = await until('the end of the pipeline', async () => {
    const { json } = await call(`${url}/pipelines/chain`, 'GET')
    return json.status === 'running' ? undefined : json
  })
  t.match(ended, { status: 'succeeded' })
  const [id] = Object.keys(ended.movies)
  const { json: movie } = await call(`${url}/movies/${id!.split('/')[1]}`, 'GET')
  t.same(movie.scene_elements, [
    [0, 74],
    [75, 149],
    [150, 224]
  ])
  const { json } = await call(`${url}/tokens?movie_id=${encodeURIComponent(id!)}&limit=1000`, 'GET')
  const labels = (expert: string, scene: number) =>
    (json.tokens as Token[])
      .filter((token) => token.expert === expert && token.scene_element === scene)
      .map(({ label }) => label)
      .sort()
  t.same(
    [0, 1, 2].map((scene) => labels('detect-objects', scene)),
    [['person'], [], ['cat']]
  )
  t.same(labels('ocr', 0), [])
  t.same(labels('ocr', 1), [
    'Bread and Roses',
    'Bring your own basket',
    'Old Mill Square, from 8 to 14',
    'Saturday Market'
  ])
  t.same(
    [0, 1, 2].map((scene) => labels('voice-activity', scene)),
    [['speech'], ['speech'], ['speech']]
  )
})
