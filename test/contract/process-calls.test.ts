import t from 'tap'
import { misfitOf } from '../../host/dist/registry/misfit.js'
import type { CallKind } from '../../host/runtime/messages.ts'
import { expertOf } from '../support/experts.ts'
import { makeLatches } from '../support/latches.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

const SHA256 = 'a1'.repeat(32)

const answers = plugin(
  'answers',
  `processMovie(movieId, context) {
    const { extraParams, pipelineId, task, jobId } = context
    if (movieId === 'context') return { ok: false, error: { extraParams, pipelineId, task, jobId } }
    if (movieId === 'media') throw new ExpertError('EXP_MEDIA_NOT_FOUND', 'no such film')
    if (movieId === 'undefined') return undefined
    return JSON.parse(movieId)
  }
  runBatch() {}
  runPipelineTask({ pipelineId }) { return [pipelineId] }`
)

t.test('what the host asks of an expert beside predictions', async (t) => {
  const { dir } = await makeLatches(t)
  const { url, host } = await startHost(t, {
    plugins: ['pipeline-worker'],
    files: { answers, plain: plugin('plain', '') },
    env: { LATCH_DIR: dir }
  })
  /** A call as the runner of pipelines sends it. */
  const run = async (name: string, kind: CallKind, body: object) => {
    const expert = host.registry.get(name)
    return new Promise<any>((resolve) => {
      const known = { jobId: 'job', priority: 0, timeoutMs: null, reruns: 0, resends: 0 }
      expert?.submit({
        ...known,
        kind,
        body: JSON.stringify(body),
        done: (outcome) => resolve(outcome.ok ? JSON.parse(outcome.text) : outcome.error)
      })
    })
  }
  const process = (movie_id: string, extra_params: object | null = null, name = 'answers') =>
    run(name, 'process', { movie_id, extra_params, pipeline_id: 'p', task: 'x' })

  t.test('success is ok: true without an error, as an object or a pair', async (t) => {
    const good = { ok: true, error: null, expert_version: '1.0.0', model_sha256: null }
    for (const answer of ['{"ok":true}', '{"ok":true,"error":null}', '{"ok":true,"error":""}']) {
      t.strictSame(await process(answer), good, answer)
    }
    for (const answer of ['[true]', '[true,null]', '[true,""]']) {
      t.strictSame(await process(answer), good, answer)
    }
  })

  t.test('all else is a failure that says why', async (t) => {
    for (const [answer, error] of [
      ['{"ok":true,"error":"a warning"}', 'a warning'],
      ['[true,"a warning"]', 'a warning'],
      ['[false,1]', '1'],
      ['[true,0]', '0'],
      ['{"ok":false,"error":{"message":"inner"}}', 'inner'],
      ['{"ok":false,"error":{"a":1}}', '{"a":1}'],
      ['{"ok":false,"error":null}', 'processMovie answered ok: false and no error'],
      ['{"ok":1}', /answered {"ok":1}, which is neither/],
      ['[]', /answered \[\], which/],
      ['[true,null,null]', /answered \[true,null,null\], which/],
      ['"yes"', /answered "yes", which/],
      ['null', /answered null, which/],
      ['undefined', /answered undefined, which/]
    ] as const) {
      t.match(await process(answer), { ok: false, error }, answer)
    }
    t.equal((await process(`{"ok":false,"error":"${'x'.repeat(20_000)}"}`)).error.length, 16_384)
  })

  t.test('a throw is an error, of a picture too', async (t) => {
    t.match(await process('{'), { code: 'HOST_EXPERT_FAILED' })
    t.match(await process('media'), { code: 'EXP_MEDIA_NOT_FOUND', message: 'no such film' })
  })

  t.test('the context says which task and pipeline', async (t) => {
    const { error } = await process('context', { every: 3 })
    const context = { extraParams: { every: 3 }, pipelineId: 'p', task: 'x', jobId: 'job' }
    t.strictSame(JSON.parse(error), context)
  })

  t.test('left as it is, it predicts and saves as output db does', async (t) => {
    const done = await process('Movies/7', { every: 4 }, 'pipeline-worker')
    t.match(done, { ok: true, error: null, expert_version: '1.2.3' })
    const { tokens } = (await call(`${url}/tokens?movie_id=Movies/7`, 'GET')).json
    t.match(tokens, [{ label: 'seen every 4', expert: 'pipeline-worker' }])
    const failed = await process('Movies/odd', null, 'pipeline-worker')
    t.match(failed, { ok: false, error: 'no such film' })
  })

  t.test('a batch and a task answer JSON', async (t) => {
    t.equal(await run('answers', 'batch', {}), null)
    t.strictSame(await run('pipeline-worker', 'batch', {}), { batch: 'pipeline-worker' })
    t.strictSame(await run('answers', 'task', { pipeline_id: 'p' }), ['p'])
  })

  t.test('an expert without a batch says so', async (t) => {
    const refused = await run('plain', 'batch', {})
    t.match(refused, { code: 'EXP_NO_BATCH', message: "Expert 'plain' has no batch" })
  })

  t.test('left as it is, a task handles the pipeline of PIPELINE_ID', async (t) => {
    const missing = await run('pipeline-worker', 'task', { pipeline_id: null })
    t.match(missing, { code: 'EXP_PIPELINE_ID_MISSING', message: /PIPELINE_ID is missing/ })
    t.match(await run('pipeline-worker', 'task', { pipeline_id: 'none' }), {
      status: 'fail',
      error: 'Error: no pipeline for none'
    })
    const made = await call(`${url}/experts/pipeline-worker/call`, 'POST', {
      method: 'createPipeline',
      args: ['p1', ['a', 'b']]
    })
    t.equal(made.json.answer._key, 'p1')
    const done = await run('pipeline-worker', 'task', { pipeline_id: 'p1' })
    t.strictSame(done, { processed: 2, failed: 0, status: 'success', error: null })
  })

  t.test(
    'extra_params of a movie are checked against another version, a batch has none',
    async (t) => {
      const contract = host.registry.get('pipeline-worker')?.contract
      if (contract == null) throw new Error('it has no contract')
      const body = (extra_params: object | null) => JSON.stringify({ movie_id: 'a', extra_params })
      t.equal(misfitOf(contract, 'process', body({ every: 1 })), null)
      t.equal(misfitOf(contract, 'process', body(null)), null)
      t.match(misfitOf(contract, 'process', body({ every: 'often' })), /every/)
      const strict = {
        ...contract,
        checkExtraParams: () => ({ issues: [{ loc: ['a'], msg: 'b', type: 'c' }] })
      }
      t.equal(misfitOf(strict as never, 'batch', 'null'), null)
      t.equal(misfitOf(strict as never, 'task', '{"pipeline_id":null}'), null)
    }
  )

  t.test('the host knows what it depends on, and its model', async (t) => {
    const expert = host.registry.get('pipeline-worker')
    t.equal(expert?.contract?.dependency, 'ClipScene')
    t.equal(expert?.modelSha256, SHA256)
    t.equal(host.registry.get('answers')?.contract?.dependency, null)
    t.equal(host.registry.get('answers')?.modelSha256, null)
  })
})

t.test('a name or a hash that is none is refused', async (t) => {
  const { url } = await startHost(t, {
    files: {
      'bad-dependency': plugin('bad-dependency', `getDependency() { return 'a b' }`),
      'no-dependency': plugin('no-dependency', `getDependency() { return 7 }`),
      'bad-hash': plugin('bad-hash', `getModelSha256() { return 'model.onnx' }`),
      'late-hash': plugin(
        'late-hash',
        `init() { this.addTask('loading'); this.hash = '${SHA256.toUpperCase()}' }
         getModelSha256() { return this.hash.slice() }`
      )
    }
  })
  const reasonOf = async (name: string) => (await expertOf(url, name)).reason
  t.match(await reasonOf('bad-dependency'), /getDependency\(\) answers "a b"/)
  t.match(await reasonOf('no-dependency'), /getDependency\(\) answers 7/)
  t.match(
    await reasonOf('bad-hash'),
    /getModelSha256\(\) must answer 64 hexadecimal digits.*"model.onnx"/
  )
  t.equal((await expertOf(url, 'late-hash')).status, 'ACTIVE', 'asked for when init has ended')
})
