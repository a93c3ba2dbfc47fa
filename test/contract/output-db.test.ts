import { join } from 'node:path'
import t from 'tap'
import { ended } from '../support/jobs.ts'
import { call, makeHome, plugin, startHost } from '../support/start-host.ts'

const seer = plugin(
  'seer',
  `async predict({ movie_id, extra_params }) {
    const { answer } = extra_params ?? {}
    if (answer !== undefined) return answer
    const record = { movie_id, label: 'traffic light', meta_label: { '7': { probability: 0.5 } } }
    return { result: [{ ...record, bbox: [[1, 2, 3, 4]] }, { ...record, bbox: [[5, 6, 7, 8]] }], error: null }
  }
  async predictImage({ id, img_url }) {
    if (img_url === 'nothing') return { result: [], error: null }
    return { result: [{ image_id: id, label: 'cat', bbox: [1, 2, 3, 4], meta_label: { a: 1 } }], error: null }
  }`
)

t.test('output "db" saves the records of an answer', async (t) => {
  const { url } = await startHost(t, { files: { seer } })
  const predict = async (output: string, answer?: unknown) => {
    const extra_params = answer === undefined ? null : { answer }
    const body = { movie_id: 'Movies/1', local: false, output, extra_params }
    return (await call(`${url}/predict`, 'POST', body)).json
  }
  const tokens = async (query: string) => (await call(`${url}/tokens?${query}`, 'GET')).json.tokens

  t.test('of a movie: the ids take their place', async (t) => {
    t.strictSame(await tokens('movie_id=1'), [], 'without it nothing was saved')
    t.strictSame(await predict('db'), { result: ['Tokens/1:0:0:traffic_light'], error: null })
    const [token, ...others] = await tokens('movie_id=Movies/1')
    t.strictSame(others, [])
    t.match(token, {
      movie_id: 'Movies/1',
      expert: 'seer',
      label: 'traffic light',
      bbox: [
        [1, 2, 3, 4],
        [5, 6, 7, 8]
      ],
      meta_label: { '7': { probability: 0.5 } }
    })
    await predict('db')
    t.equal((await tokens('movie_id=1')).length, 1, 'a second time it is the same document')
  })

  t.test('"db+json" saves them and leaves them in the answer', async (t) => {
    const record = { movie_id: 'Movies/2', label: 'dog', scene_element: 3 }
    t.strictSame(await predict('db+json', { result: [record], error: null }), {
      result: [record],
      error: null
    })
    t.match(await tokens('movie_id=2'), [{ label: 'dog', scene_element: 3, expert: 'seer' }])
  })

  t.test('what is no list of records saves nothing and is no error', async (t) => {
    const one = { result: { movie_id: '3', label: 'one' }, error: null }
    const before = (await tokens('limit=1000')).length
    for (const answer of [
      null,
      'text',
      [1],
      { result: 5 },
      { result: [] },
      { result: [{ a: 1 }] }
    ]) {
      t.strictSame(await predict('db', answer), answer)
    }
    t.equal((await tokens('limit=1000')).length, before)
    const list = { result: [one.result], error: null }
    t.strictSame(await predict('DB', list), list, 'another word is for the expert')
  })

  t.test('what cannot be saved is told beside the answer', async (t) => {
    const bad = { result: [{ movie_id: '', label: 'x' }], error: null }
    t.match(await predict('db', bad), { result: null, error: /movie_id/ })
    t.match(await predict('db+json', bad), { result: bad.result, error: /movie_id/ })
  })

  t.test('of pictures, alone and in lists, now and later', async (t) => {
    const image = { image_id: 'i1', url: 'x', output: 'db' }
    const { json } = await call(`${url}/predict/image`, 'POST', image)
    t.match(json, { result: [/^ImageTokens\//], error: null })
    t.match(await tokens('image_id=i1'), [
      {
        id: 'i1',
        type: 'image',
        label: 'cat',
        expert: 'seer',
        label_meta: { a: 1 },
        bbox: [1, 2, 3, 4]
      }
    ])
    const images = ['a', 'b', 'c'].map((id) => ({
      image_id: id,
      url: id === 'b' ? 'nothing' : 'x'
    }))
    const later = { images, output: 'db', is_async: true }
    const { jobId } = (await call(`${url}/predict/images`, 'POST', later)).json
    const { results } = await ended(url, jobId)
    t.match(results, [
      { result: [/^ImageTokens\//] },
      { result: [] },
      { result: [/^ImageTokens\//] }
    ])
    t.equal((await tokens('image_id=a')).length, 1)
    t.equal((await tokens('image_id=b')).length, 0)
    t.equal((await tokens('image_id=c')).length, 1)
  })
})

t.test('a prediction that answers bytes fails alone, wherever its answer shall go', async (t) => {
  const bytes = `async predictImage() {
    return { isExpertReply: true, value: Buffer.from('bytes'), status: 200 }
  }
  async predict() { return 'here' }`
  const home = await makeHome(t, { files: { bytes: plugin('bytes', bytes) } })
  const { url } = await startHost(t, { home, env: { EXPERT_OUTPUT_ROOT: home } })
  for (const output of ['json', 'db', 'file']) {
    // A folder is in the way of the file.
    const sent = { image_id: '1', url: 'x', output, output_file: 'plugins' }
    t.match(await call(`${url}/predict/image`, 'POST', sent), { status: 500 }, output)
    const { jobId } = (await call(`${url}/predict/image`, 'POST', { ...sent, is_async: true })).json
    t.match(await ended(url, jobId), { status: 'failed', error: /has to be JSON/ }, output)
  }
  const list = { images: ['1', '2'].map((id) => ({ image_id: id, url: 'x' })), output: 'db' }
  const { status, json } = await call(`${url}/predict/images`, 'POST', list)
  t.equal(status, 200)
  t.match(json.results, [{ error: /has to be JSON/ }, { error: /has to be JSON/ }])
  const here = { movie_id: '1', local: false }
  t.equal((await call(`${url}/predict`, 'POST', here)).json, 'here', 'the host serves on')
})

t.test('an accepted job saves its records also when it runs on the next host', async (t) => {
  const first = await startHost(t, { files: { seer } })
  await call(`${first.url}/manage/experts/seer/unload`, 'POST')
  await call(`${first.url}/manage/experts/seer/load`, 'POST')
  const body = { movie_id: 'Movies/9', local: false, output: 'db', is_async: true }
  const { jobId } = (await call(`${first.url}/predict`, 'POST', body)).json
  await first.host.stop()
  const { url } = await startHost(t, {
    home: first.home,
    env: { NEBULA_DATA_DIR: join(first.home, 'data') }
  })
  t.match(await ended(url, jobId), { status: 'succeeded', result: ['Tokens/9:0:0:traffic_light'] })
  t.equal((await call(`${url}/tokens?movie_id=9`, 'GET')).json.tokens.length, 1)
})
