import t from 'tap'
import { expertOf, isRunning, pidOf, untilTrue } from '../support/experts.ts'
import { ended, recordOf } from '../support/jobs.ts'
import { acceptRun, startNoted } from '../support/noted-host.ts'
import { call } from '../support/start-host.ts'

const TIMES = 6
const GONE_MS = 5000

t.test('a job that spins is canceled at once, and what waits is untouched', async (t) => {
  // Fewer failures than cancels: one that counted would park the expert.
  const { url, latches, notes } = await startNoted(t, { settings: { quarantine: { failures: 2 } } })
  let spinning = await acceptRun(url, 'spin 0', 'spin 9')
  const names = ['a', 'b', 'c', 'd', 'e']
  const waiting: string[] = []
  for (const name of names) waiting.push(await acceptRun(url, name, 'ms 5'))
  for (let i = 0; i < TIMES; i++) {
    await latches.started(`spin ${i}`)
    const pid = await pidOf(url, 'noted')
    const next =
      i + 1 < TIMES ? await acceptRun(url, `spin ${i + 1}`, 'spin 9', { priority: 1000 }) : null
    const { status, json } = await call(`${url}/jobs/${spinning}/cancel`, 'POST')
    t.equal(status, 200)
    t.match(json[spinning], { status: 'canceled', state: 'finish', attempts: 1 }, 'at once')
    t.ok(isRunning(pid), 'though it still spins')
    for (const id of waiting) t.match(await recordOf(url, id), { status: 'queued', attempts: 0 })
    const end = await recordOf(url, spinning)
    await untilTrue('the end of its process', () => !isRunning(pid), GONE_MS)
    t.strictSame(await recordOf(url, spinning), end, 'its end stays as it was')
    if (next !== null) spinning = next
  }
  for (const id of waiting) t.match(await ended(url, id), { status: 'succeeded', attempts: 1 })
  t.strictSame(
    (await notes()).map(({ event, id }) => `${event} ${id}`),
    [
      ...Array.from({ length: TIMES }, (_, i) => `start spin ${i}`),
      ...names.flatMap((name) => [`start ${name}`, `end ${name}`])
    ],
    'each was begun once, those that waited afterwards and in order'
  )
  t.match(await expertOf(url, 'noted'), { status: 'ACTIVE', restarts: TIMES })
})

t.test('a job beside one that spins loses nothing by its cancel', async (t) => {
  const { url, latches, starts } = await startNoted(t, { settings: { concurrency: 2 } })
  const beside = await acceptRun(url, 'beside', 'hold 1', { attempts: 1 })
  await latches.started('beside')
  const spinning = await acceptRun(url, 'spinning', 'spin 9')
  await latches.started('spinning')
  t.equal((await call(`${url}/jobs/${spinning}`, 'DELETE')).status, 200)
  t.match(await ended(url, beside), { status: 'succeeded', attempts: 1 })
  t.equal((await starts('beside')).length, 2, 'its run was no attempt: it was begun again')
  t.match(await recordOf(url, spinning), { status: 'canceled' })
})
