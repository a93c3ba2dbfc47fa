import t from 'tap'
import { endOf, itemsOf } from '../support/pipelines.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

/** Makes the pipeline, and asks for another task when its last movie is under way. */
const FIRST = `
  addExpertApis(api) {
    api.post('/make', {}, async () => {
      const movies = Object.fromEntries(['1', '2', '3'].map((key) => ['Movies/' + key, {}]))
      await this.pipelines.createPipeline('growing', movies)
      return this.pipelines.updatePipeline('first', 'growing', {}, {}, { first: { a: 1 } })
    })
  }
  async processMovie(movie, { pipelineId }) {
    if (movie === 'Movies/3') {
      await this.pipelines.updatePipeline('first', pipelineId, {}, {}, { second: { b: 2 } })
    }
    return { ok: true }
  }`
const SECOND = `
  async processMovie(movie, { extraParams }) {
    return { ok: extraParams.b === 2, error: null }
  }`

t.test('a task that inputs ask for while the pipeline runs is run before it ends', async (t) => {
  const { url } = await startHost(t, {
    files: { first: plugin('first', FIRST), second: plugin('second', SECOND) },
    env: { EXPERT_RUN_PIPELINE: 'true' }
  })
  t.equal((await call(`${url}/experts/first/make`, 'POST', {})).status, 200)
  const end = await endOf(url, 'growing')
  t.match(end, { status: 'succeeded', tasks: { first: 'success', second: 'success' } })
  const states = (await itemsOf(url, 'growing')).map(({ task, state }) => `${task} ${state}`)
  t.strictSame(states.sort(), [
    ...Array(3).fill('first success'),
    ...Array(3).fill('second success')
  ])
})
