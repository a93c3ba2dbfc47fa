import t from 'tap'
import type { ItemCounts } from '../documents/pipeline-store.ts'
import { conclude } from '../pipelines/conclude.ts'

const counts = (given: Partial<ItemCounts>): ItemCounts => ({
  blocked: 0,
  ready: 0,
  running: 0,
  success: 0,
  fail: 0,
  skipped: 0,
  ...given
})
const step = (task: string, ...dependsOn: string[]) => ({
  task,
  expert: task,
  dependsOn,
  extraParams: null,
  attempts: 3,
  timeoutMs: null
})
const look = (
  of: Record<string, Partial<ItemCounts>>,
  more: { tasks?: unknown; expected?: string[]; isStopping?: boolean; steps?: object[] } = {}
) =>
  conclude({
    document: { _id: 'pipelines/p', _key: 'p', _rev: '1', tasks: more.tasks ?? {} },
    tasks: (more.steps as ReturnType<typeof step>[]) ?? [step('a'), step('b', 'a')],
    expected: more.expected ?? ['a', 'b'],
    counts: Object.fromEntries(Object.entries(of).map(([task, given]) => [task, counts(given)])),
    isStopping: more.isStopping ?? false
  })

t.test('a task that has begun is active, one that has not is not there', async (t) => {
  t.strictSame(look({ a: { ready: 2 }, b: { blocked: 2 } }), { taskStatus: {}, end: null })
  const begun = look({ a: { running: 1, ready: 1 }, b: { blocked: 2 } })
  t.strictSame(begun, { taskStatus: { a: 'active' }, end: null })
})

t.test('a task ends when its items have, and the pipeline with its tasks', async (t) => {
  const half = look({ a: { success: 2 }, b: { ready: 2 } })
  t.strictSame(half, { taskStatus: { a: 'success' }, end: null })
  const whole = look({ a: { success: 2 }, b: { success: 2 } })
  t.strictSame(whole, { taskStatus: { a: 'success', b: 'success' }, end: 'succeeded' })
})

t.test('a failed or skipped item fails its task', async (t) => {
  const ended = look({ a: { success: 1, fail: 1 }, b: { success: 1, skipped: 1 } })
  t.strictSame(ended, { taskStatus: { a: 'fail', b: 'fail' }, end: 'failed' })
})

t.test('with nothing to do all has succeeded', async (t) => {
  t.equal(look({ a: {}, b: {} }).end, 'succeeded')
})

t.test('a task does not end before those it depends on, of other tools too', async (t) => {
  const steps = [step('b', 'theirs')]
  const waits = look({ b: {} }, { steps, expected: ['b', 'theirs'] })
  t.strictSame(waits, { taskStatus: {}, end: null })
  const tasks = { theirs: 'fail' }
  const given = look({ b: { success: 1, blocked: 1 } }, { steps, tasks, expected: ['b'] })
  t.strictSame(given, { taskStatus: { theirs: 'fail', b: 'fail' }, end: 'failed' })
})

t.test('tasks of other tools are waited for and left as they are', async (t) => {
  const steps = [step('a')]
  const expected = ['a', 'theirs']
  t.equal(look({ a: { success: 1 } }, { steps, expected }).end, null)
  const ended = look({ a: { success: 1 } }, { steps, expected, tasks: { theirs: 'success' } })
  t.equal(ended.end, 'succeeded')
})

t.test('a pipeline that stops ends when nothing of it runs, and leaves the rest', async (t) => {
  const isStopping = true
  const runs = look({ a: { fail: 1, running: 1, ready: 5 }, b: { blocked: 7 } }, { isStopping })
  t.strictSame(runs, { taskStatus: { a: 'active' }, end: null })
  const stopped = look({ a: { fail: 1, ready: 5 }, b: { blocked: 6, skipped: 1 } }, { isStopping })
  t.strictSame(stopped, { taskStatus: { a: 'fail' }, end: 'failed' })
})

t.test('what an earlier run said does not count while there is more to do', async (t) => {
  const again = look(
    { a: { ready: 1, success: 1 }, b: { blocked: 1 } },
    { tasks: { a: 'fail', b: 'fail' } }
  )
  t.strictSame(again.taskStatus, { a: 'active', b: 'active' })
})
