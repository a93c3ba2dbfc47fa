import t from 'tap'
import { untilTrue } from '../support/experts.ts'
import {
  endOf,
  type ItemNote,
  itemsOf,
  movieIds,
  order,
  runPipeline,
  startItems,
  statesOf,
  statusOf
} from '../support/pipelines.ts'

const DIAMOND = [
  { expert: 'top' },
  { expert: 'left', depends_on: ['top'] },
  { expert: 'right', depends_on: ['top'] },
  { expert: 'join', depends_on: ['left', 'right'] },
  { expert: 'last', depends_on: ['join', 'top'] }
]
const TASKS = DIAMOND.map(({ expert }) => expert)

/** The plan with `extra_params` for some of its tasks. */
function diamond(extra: Record<string, Record<string, unknown>> = {}) {
  return DIAMOND.map((step) => ({ ...step, extra_params: extra[step.expert] ?? null }))
}

t.test('branches and joins', async (t) => {
  const host = await startItems(t, { experts: TASKS, settings: { concurrency: 4 } })
  const { url, latches, notes, starts } = host
  const ofPipeline = async (key: string) =>
    (await notes()).filter(({ pipeline }) => pipeline === key)

  t.test('nothing begins before what it depends on has ended', async (t) => {
    const movies = movieIds(60, 'order')
    const key = await runPipeline(url, { movies, plan: diamond({ left: { how: 'ms 3' } }) })
    const end = await endOf(url, key)
    t.equal(end.status, 'succeeded')
    t.strictSame(end.tasks, Object.fromEntries(TASKS.map((task) => [task, 'success'])))
    const lines = await ofPipeline(key)
    const at = new Map<string, number>(
      lines.map(({ event, task, movie }, place) => [`${event} ${task} ${movie}`, place])
    )
    let wrong = 0
    for (const { expert, depends_on = [] } of DIAMOND) {
      for (const movie of movies) {
        const begun = at.get(`start ${expert} ${movie}`) as number
        for (const task of depends_on) {
          if (!((at.get(`end ${task} ${movie}`) as number) < begun)) wrong += 1
        }
      }
    }
    t.equal(wrong, 0)
    t.equal(lines.length, 2 * 5 * 60, 'each item ran once')
  })

  t.test('a movie does not wait for the others', async (t) => {
    const movies = movieIds(3, 'own')
    const of = { 'Movies/own1': 'hold own' }
    const key = await runPipeline(url, { movies, plan: diamond({ top: { of } }) })
    await untilTrue('the others have passed', async () => {
      const states = await statesOf(url, key)
      return states['last Movies/own2'] === 'success' && states['last Movies/own3'] === 'success'
    })
    t.equal((await statesOf(url, key))['top Movies/own1'], 'running')
    await latches.release('own')
    t.equal((await endOf(url, key)).status, 'succeeded')
  })

  t.test('a failure skips what depends on it, and nothing else', async (t) => {
    const movies = movieIds(12, 'fail')
    const key = await runPipeline(url, {
      movies,
      plan: diamond({
        top: { of: { 'Movies/fail2': 'fail no light' } },
        left: { of: { 'Movies/fail4': 'throw out of paint', 'Movies/fail5': 'silent' } },
        right: { of: { 'Movies/fail5': 'fail too' } },
        last: { of: { 'Movies/fail7': `fail ${'é'.repeat(3000)}` } }
      })
    })
    const end = await endOf(url, key)
    t.equal(end.status, 'failed')
    t.strictSame(end.tasks, Object.fromEntries(TASKS.map((task) => [task, 'fail'])))
    const bad: Record<string, Record<string, string>> = {
      'Movies/fail2': {
        top: 'fail',
        left: 'skipped',
        right: 'skipped',
        join: 'skipped',
        last: 'skipped'
      },
      'Movies/fail4': { left: 'fail', join: 'skipped', last: 'skipped' },
      'Movies/fail5': { left: 'fail', right: 'fail', join: 'skipped', last: 'skipped' },
      'Movies/fail7': { last: 'fail' }
    }
    const expected = movies.map((movie) =>
      Object.fromEntries(TASKS.map((task) => [task, bad[movie]?.[task] ?? 'success']))
    )
    t.strictSame(
      TASKS.map((task) => statusOf(end, task)),
      TASKS.map((task) => expected.map((one) => one[task]))
    )
    const errors = new Map(
      (await itemsOf(url, key, 'state=fail')).map(({ task, movie, error }) => [
        `${task} ${movie}`,
        error
      ])
    )
    t.equal(errors.get('top Movies/fail2'), 'no light')
    t.equal(errors.get('left Movies/fail4'), 'out of paint')
    t.match(errors.get('left Movies/fail5'), /no error|not why/)
    t.match(
      errors.get('last Movies/fail7'),
      /^é{1000,3000}/,
      'a long one is kept as far as it goes'
    )
    const began = (await ofPipeline(key)).filter(({ event }) => event === 'start')
    t.notOk(
      began.some(({ task, movie }) => bad[movie]?.[task] === 'skipped'),
      'what is skipped never ran'
    )
  })

  t.test('a task ends as failed while others go on', async (t) => {
    const movies = movieIds(8, 'on')
    const key = await runPipeline(url, {
      movies,
      plan: [
        { expert: 'top', extra_params: { of: { 'Movies/on1': 'fail' } } },
        { expert: 'right', extra_params: { how: 'hold on' } }
      ]
    })
    await untilTrue('the first task has ended', async () => {
      return (
        (await notes()).filter(
          ({ event, movie }) => event === 'end' && movie.startsWith('Movies/on')
        ).length === 8
      )
    })
    await latches.release('on')
    t.match(await endOf(url, key), { status: 'failed', tasks: { top: 'fail', right: 'success' } })
  })

  t.test('movies that have passed are not run again; what failed before is', async (t) => {
    const key = await runPipeline(url, {
      movies: {
        'Movies/had1': { status: { top: 'success', left: 'fail', right: 'active' } },
        'Movies/had2': { _key: 'had2', context: 'x' },
        'Movies/had3': { status: Object.fromEntries(TASKS.map((task) => [task, 'success'])) }
      },
      plan: diamond()
    })
    const end = await endOf(url, key)
    t.equal(end.status, 'succeeded')
    const began = (await ofPipeline(key)).filter(({ event }) => event === 'start')
    const of = (movie: string) =>
      began.flatMap((note) => (note.movie === movie ? note.task : [])).sort()
    t.strictSame(of('Movies/had1'), ['join', 'last', 'left', 'right'])
    t.strictSame(of('Movies/had2'), [...TASKS].sort())
    t.strictSame(of('Movies/had3'), [])
    t.equal(end.movies['Movies/had2'].context, 'x')
  })

  t.test('several pipelines at once end each as it should', async (t) => {
    const keys = await Promise.all(
      Array.from({ length: 8 }, (_, at) =>
        runPipeline(url, {
          _key: `many-${at}`,
          movies: movieIds(15, `many${at}-`),
          plan: diamond()
        })
      )
    )
    for (const key of keys) {
      t.equal((await endOf(url, key)).status, 'succeeded')
      t.equal((await ofPipeline(key)).length, 2 * 5 * 15, 'each item once')
    }
  })

  t.test('stop_on_failure', async (t) => {
    const movies = movieIds(40, 'stop')
    const started = (notes: ItemNote[]) => notes.filter(({ event }) => event === 'start').length

    t.test('leaves later movies as they are', async (t) => {
      const body = {
        movies,
        stop_on_failure: true,
        plan: diamond({ top: { how: 'ms 5', of: { 'Movies/stop3': 'fail the third' } } })
      }
      const key = await runPipeline(url, body)
      const end = await endOf(url, key)
      t.equal(end.status, 'failed')
      t.equal(end.tasks.top, 'fail')
      t.equal(end.movies['Movies/stop3'].status.top, 'fail')
      const statuses = statusOf(end, 'top')
      const untouched = statuses.filter((status) => status === undefined).length
      t.ok(untouched >= 25, `${untouched} of 40 untouched`)
      t.strictSame(statuses.slice(-25), Array(25).fill(undefined))
      t.notOk(Object.values(await statesOf(url, key)).includes('running'))
      const before = started(await ofPipeline(key))
      const all = await itemsOf(url, key, 'task=top')
      t.equal(all.filter(({ state }) => state === 'ready').length, untouched)
      t.equal(before, started(await ofPipeline(key)), 'and nothing runs any more')

      const again = await order(url, key, 'retry')
      t.equal(again.status, 200)
      t.equal((await endOf(url, key)).status, 'failed')
      const thirds = (await ofPipeline(key)).filter(
        ({ event, movie }) => event === 'start' && movie === 'Movies/stop3'
      )
      t.equal(thirds.length, 2)
    })

    t.test('lets what runs end, and what it gave is kept', async (t) => {
      const key = await runPipeline(url, {
        movies: movieIds(10, 'let'),
        stop_on_failure: true,
        plan: [
          {
            expert: 'left',
            extra_params: {
              of: { 'Movies/let1': 'hold let', 'Movies/let2': 'fail' },
              how: 'hold nothing'
            }
          }
        ]
      })
      await untilTrue(
        'the failure is known',
        async () => (await statesOf(url, key))['left Movies/let2'] === 'fail'
      )
      await latches.release('let', 'nothing')
      const end = await endOf(url, key)
      t.equal(end.status, 'failed')
      t.equal(end.movies['Movies/let1'].status.left, 'success')
      t.ok((await starts('left')).filter((movie) => movie.startsWith('Movies/let')).length <= 5)
    })
  })
})
