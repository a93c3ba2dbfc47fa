import { BaseExpert, type ItemContext } from '@nebula-experts/sdk'
import { testExpert } from '@nebula-experts/sdk/testing'
import t from 'tap'

class Labeler extends BaseExpert {
  static override params = {
    type: 'object',
    properties: { every: { type: 'integer', default: 10 } }
  }

  override async predict({ movie_id, extra_params }: { movie_id: string; extra_params: unknown }) {
    if (movie_id === 'Movies/none') return { result: null, error: 'no such film' }
    const seen = { at: new Set([1]), many: 2n, extra: extra_params }
    return { result: [{ movie_id, label: 'cat', meta_label: seen }], error: null }
  }
}

class Chooser extends BaseExpert {
  override async processMovie(movieId: string, { task, pipelineId, tmp, signal }: ItemContext) {
    if (movieId === 'throws') throw new Error('out of film')
    const isHere = [task, pipelineId, typeof tmp, signal.aborted].join()
    return movieId === 'pair' ? ([true, null] as const) : { ok: false, error: isHere }
  }
}

t.test('an author tests how a movie is taken', async (t) => {
  const asked: unknown[] = []
  const ask = async (...question: unknown[]) => {
    asked.push(question)
    return ['Tokens/1']
  }
  const { processMovie } = await testExpert(t, Labeler, { name: 'cats', ask })
  t.strictSame(await processMovie('Movies/1', { every: 3 }), { ok: true, error: null })
  const meta_label = { at: [1], many: 2, extra: { every: 3 } }
  const answer = { result: [{ movie_id: 'Movies/1', label: 'cat', meta_label }], error: null }
  t.strictSame(asked, [['tokens.saveAnswer', answer]], 'as it goes to the host')
  await processMovie('Movies/1')
  t.match(asked[1], ['tokens.saveAnswer', { result: [{ meta_label: { extra: { every: 10 } } }] }])
  t.strictSame(await processMovie('Movies/none'), { ok: false, error: 'no such film' })
  await t.rejects(processMovie('Movies/1', { every: 'x' }), { code: 'EXP_BAD_INPUT' })

  const chooser = await testExpert(t, Chooser)
  t.strictSame(await chooser.processMovie('pair'), { ok: true, error: null })
  t.strictSame(await chooser.processMovie('a'), { ok: false, error: 'expert,,string,false' })
  t.strictSame(await chooser.processMovie('throws'), { ok: false, error: 'out of film' })
})

t.test('a pipeline is handled with the answers that the test gives', async (t) => {
  const claims = [
    { movie: 'Movies/1', attempts: 1 },
    { movie: 'Movies/2', attempts: 4 }
  ]
  const recorded: object[] = []
  const answers: Record<string, (...args: never[]) => unknown> = {
    'pipelines.get': () => ({ _key: 'p', plan: [{ task: 'cats', extra_params: { every: 7 } }] }),
    'pipelines.reconcile': () => {
      const ready = claims.length
      return { blocked: 0, ready, running: 0, success: 1, fail: 1 - Math.min(1, ready), skipped: 0 }
    },
    'pipelines.begin': () => null,
    'pipelines.claim': () => claims.splice(0, 1),
    'pipelines.isRunning': () => false,
    'pipelines.record': (_task: never, changes: never[]) => {
      recorded.push(...changes)
      return [true]
    },
    'pipelines.end': (_id: never, _task: never, status: never) => recorded.push({ end: status }),
    'tokens.saveAnswer': () => []
  }
  const ask = async (what: string, ...args: unknown[]) => answers[what]?.(...(args as never[]))
  const { expert } = await testExpert(t, Labeler, { name: 'cats', ask })
  const handled = await expert.pipelines.handlePipelineTask(expert, 'p')
  t.match(handled, { processed: 2, failed: 1, status: 'fail' })
  t.match(recorded, [
    { claim: { movie: 'Movies/1' }, state: 'success', ran: { extra_params: { every: 7 } } },
    {
      claim: { movie: 'Movies/2' },
      state: 'fail',
      error: /begun 3 times, and its worker was lost/
    },
    { end: 'fail' }
  ])
  const canceled = AbortSignal.abort()
  await t.rejects(expert.pipelines.handlePipelineTask(expert, 'p', { signal: canceled }), {
    code: 'EXP_CANCELED'
  })
})
