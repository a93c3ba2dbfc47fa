/**
 * The files of a new expert: plain JavaScript that needs no install step, its test, and its README.
 * @returns texts by path
 */
export function expertTemplate(name: string): Record<string, string> {
  const manifest = {
    name,
    version: '0.1.0',
    private: true,
    type: 'module',
    keywords: ['nebula-expert'],
    exports: './index.js',
    scripts: { test: 'node --test' }
  }
  return {
    'package.json': `${JSON.stringify(manifest, null, 2)}\n`,
    'index.js': SOURCE,
    'test/expert.test.js': TEST,
    'README.md': README.replaceAll('NAME', name)
  }
}

const SOURCE = `import { BaseExpert, Type } from '@nebula-experts/sdk'

export default class extends BaseExpert {
  // Environment variables that it reads; their values are on this.config.
  static config = Type.Object({
    GREETING: Type.String({ default: 'Hello', description: 'The word before the name' })
  })

  // The schema of extra_params: requests that do not fit are answered 422.
  static params = Type.Object({
    times: Type.Integer({ default: 1, minimum: 1, maximum: 10, description: 'How often' })
  })

  // Loads the model. The expert is ready when this resolves.
  async init(context) {
    context.progress(1, 'nothing to load')
  }

  // Routes beside the inherited ones, validated and documented by the host.
  addExpertApis(api) {
    const body = Type.Object({ name: Type.String({ minLength: 1, examples: ['Ada'] }) })
    api.post('/greet', { body, summary: 'Greets by name' }, ({ body }) => ({
      result: this.greet(body.name, 1),
      error: null
    }))
  }

  // Answers POST /predict: a movie.
  async predict({ movie_id, extra_params }) {
    return { result: this.greet(movie_id, extra_params.times), error: null }
  }

  // Takes one movie of a pipeline.
  async processMovie(movieId, context) {
    context.log.info(this.greet(movieId, context.extraParams.times))
    return { ok: true }
  }

  greet(name, times) {
    return Array(times).fill(\`\${this.config.GREETING}, \${name}!\`).join(' ')
  }
}
`

const TEST = `import assert from 'node:assert/strict'
import test from 'node:test'
import { testExpert } from '@nebula-experts/sdk/testing'
import Expert from '../index.js'

const start = (t, config = {}) => testExpert({ teardown: (undo) => t.after(undo) }, Expert, { config })

test('greets a movie with the configured word', async (t) => {
  const expert = await start(t, { GREETING: 'Salut' })
  const answer = await expert.predict({ movie_id: 'Movies/1', local: false, extra_params: { times: 2 } })
  assert.deepEqual(answer, { result: 'Salut, Movies/1! Salut, Movies/1!', error: null })
})

test('greets by name on its own route', async (t) => {
  const expert = await start(t)
  const { value } = await expert.request('POST', '/greet', { body: { name: 'Ada' } })
  assert.deepEqual(value, { result: 'Hello, Ada!', error: null })
})

test('takes a movie of a pipeline', async (t) => {
  const expert = await start(t)
  assert.deepEqual(await expert.processMovie('Movies/1'), { ok: true, error: null })
})

test('wants times of at most 10', async (t) => {
  const expert = await start(t)
  const body = { movie_id: 'Movies/1', local: false, extra_params: { times: 11 } }
  await assert.rejects(expert.predict(body), { code: 'EXP_BAD_INPUT' })
})
`

const README = `# NAME

An expert of Nebula Experts. A host serves this folder when it lies in one of its plugin folders, or alone:

\`\`\`sh
npx nebula-experts serve .
\`\`\`

\`\`\`sh
curl --json '{"name": "Ada"}' localhost:8000/experts/NAME/greet
curl --json '{"movie_id": "Movies/1", "local": false, "extra_params": {"times": 2}}' localhost:8000/experts/NAME/predict
\`\`\`

Its routes are documented at \`/experts/NAME/docs\`. \`npm test\` runs its tests.
`
