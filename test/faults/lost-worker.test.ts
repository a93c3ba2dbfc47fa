import t from 'tap'
import { untilTrue } from '../support/experts.ts'
import { startPipelineWorkers } from '../support/pipeline-workers.ts'

t.test('what a killed worker had is given to another, and nothing that was done', async (t) => {
  const { handle, make, statusesOf, runsOf, latches, send } = await startPipelineWorkers(t)
  const id = await make(['a', 'held-1', 'b'])
  const killers = await make(['kills', 'c'])
  const body = { task: 'fusion', id, stopOnFailure: false }
  const lost = send('other', '/handle', body).catch((error: Error) => error)
  const { pid } = (await latches.started('Movies/held-1')) as unknown as { pid: number }
  process.kill(pid, 'SIGKILL')
  t.match(await lost, /502|exited|killed/)
  await t.rejects(send('other', '/handle', { task: 'fusion', id: killers }))
  const began = performance.now()
  const handling = handle(id)
  await untilTrue('the others', async () => {
    const [, movies] = await statusesOf(id)
    return (movies as Record<string, unknown>)['Movies/b'] === 'success'
  })
  t.strictSame((await statusesOf(id))[1], {
    'Movies/a': 'success',
    'Movies/held-1': 'active',
    'Movies/b': 'success'
  })
  await latches.release('held-1')
  t.match(await handling, { processed: 2, failed: 0, status: 'success' })
  t.ok(performance.now() - began > 20_000, 'not before its lease is over')
  const runs = (await runsOf()).map((run) => run.id)
  t.equal(runs.filter((run) => run === 'Movies/held-1').length, 2)
  t.equal(runs.filter((run) => run === 'Movies/a').length, 1, 'what was done is not done again')
  t.equal((await statusesOf(killers))[0], 'active')
})
