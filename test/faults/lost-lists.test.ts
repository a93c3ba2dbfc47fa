import t from 'tap'
import { pidOf } from '../support/experts.ts'
import { ended } from '../support/jobs.ts'
import { acceptRun, type NotedRun, spawnNoted, startNoted } from '../support/noted-host.ts'
import { call } from '../support/start-host.ts'

/** Has a list accepted: one item for each entry, which says what its run does. */
async function acceptList(
  url: string,
  hows: string[],
  more: Record<string, unknown> = {}
): Promise<string> {
  const images = hows.map((how, place) => ({ image_id: `i${place}`, url: how }))
  const { json } = await call(`${url}/predict/images`, 'POST', { images, is_async: true, ...more })
  return json.jobId
}

/** How often each item of a list was begun. */
function startsOfItems(notes: NotedRun[], jobId: string, count: number): number[] {
  const starts = notes.filter((note) => note.event === 'start' && note.jobId === jobId)
  return Array.from({ length: count }, (_, place) => {
    return starts.filter((note) => note.id === `i${place}`).length
  })
}

t.test('of a list only the unfinished items run again', async (t) => {
  const hows = Array.from({ length: 20 }, (_, place) => (place === 12 ? 'hold 1' : '-'))
  const wanted = hows.map((_, place) => ({ result: `i${place}`, error: null }))
  const once = hows.map((_, place) => (place === 12 ? 2 : 1))

  t.test('after kill -9 of the host', async (t) => {
    const { host, again, latches, notes } = await spawnNoted(t)
    const list = await acceptList(host.url, hows)
    await latches.started('i12')
    // What is accepted later is on disk later: then the answers before it are too.
    await acceptRun(host.url, 'later', '-')
    process.kill(host.child.pid as number, 'SIGKILL')
    await host.exited
    const { url } = await again()
    const { results, status, attempts } = await ended(url, list)
    t.match({ status, attempts }, { status: 'succeeded', attempts: 2 })
    t.match(results, wanted, 'in the order of the request')
    t.strictSame(startsOfItems(await notes(), list, 20), once)
  })

  t.test('after the loss of its process', async (t) => {
    const { url, latches, notes } = await startNoted(t)
    const list = await acceptList(url, hows)
    await latches.started('i12')
    process.kill(await pidOf(url, 'noted'), 'SIGKILL')
    const { results, status, attempts } = await ended(url, list)
    t.match({ status, attempts }, { status: 'succeeded', attempts: 2 })
    t.match(results, wanted)
    t.strictSame(startsOfItems(await notes(), list, 20), once)
  })

  t.test('after a drain, which costs no attempt', async (t) => {
    const { url, latches, notes } = await startNoted(t, { settings: { drain_timeout_ms: 300 } })
    const list = await acceptList(url, hows)
    await latches.started('i12')
    t.equal((await call(`${url}/manage/experts/noted/reload`, 'POST')).status, 200)
    const { results, status, attempts } = await ended(url, list)
    t.match({ status, attempts }, { status: 'succeeded', attempts: 1 })
    t.match(results, wanted)
    t.strictSame(startsOfItems(await notes(), list, 20), once)
  })
})

t.test('an item that ends its process fails alone', async (t) => {
  const hows = ['-', '-', '-', 'exit 99', '-', '-']
  for (const concurrency of [1, 4]) {
    await t.test(`${concurrency} at once`, async (t) => {
      const { url, notes } = await startNoted(t, { settings: { concurrency } })
      const list = await acceptList(url, hows)
      const { results, status, attempts } = await ended(url, list)
      t.match({ status, attempts }, { status: 'succeeded', attempts: 3 })
      t.equal(results.length, 6)
      for (const [place, item] of results.entries()) {
        if (place === 3)
          t.match(item, { result: null, error: /exited with code 3/, code: /^HOST_/ })
        else t.match(item, { result: `i${place}`, error: null })
      }
      const runs = startsOfItems(await notes(), list, 6)
      t.equal(runs[3], 3, 'it alone is tried as often as the list may be begun')
      const others = runs.filter((_, place) => place !== 3)
      // With it in one process, the others of that moment are begun once more.
      t.ok(Math.max(...others) <= (concurrency === 1 ? 1 : 2), `the others: ${others}`)
    })
  }
})

t.test('accepted jobs run EXPERT_THREAD_POOL_SIZE × instances at once, never more', async (t) => {
  const { url, notes } = await startNoted(t, {
    settings: { instances: 2 },
    env: { EXPERT_THREAD_POOL_SIZE: '3' }
  })
  const slow = Array.from({ length: 20 }, (_, i) => acceptRun(url, `s${i}`, 'ms 20'))
  const list = await acceptList(url, new Array(20).fill('ms 20'))
  const quick = Array.from({ length: 40 }, (_, i) => acceptRun(url, `q${i}`, '-'))
  for (const id of await Promise.all([...slow, list, ...quick])) {
    t.equal((await ended(url, id)).status, 'succeeded')
  }
  const running = new Map<number, number>()
  let [most, mostOfOne] = [0, 0]
  for (const { event, pid } of await notes()) {
    running.set(pid, (running.get(pid) ?? 0) + (event === 'start' ? 1 : -1))
    mostOfOne = Math.max(mostOfOne, ...running.values())
    most = Math.max(
      most,
      [...running.values()].reduce((sum, one) => sum + one, 0)
    )
  }
  t.strictSame({ most, mostOfOne }, { most: 6, mostOfOne: 3 })
})
