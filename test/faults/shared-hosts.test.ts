import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { itemKey } from '../../host/documents/arango/arango-pipeline-keys.ts'
import { startRedis } from '../../host/test/start-redis.ts'
import { shareDatabase } from '../support/arango.ts'
import { childrenOf, isRunning } from '../support/experts.ts'
import { JobClients } from '../support/job-clients.js'
import { accept } from '../support/jobs.ts'
import { makeLatches } from '../support/latches.ts'
import type { NotedRun } from '../support/noted-host.ts'
import { notedItems } from '../support/noted-items.js'
import { notedRuns } from '../support/noted-runs.js'
import {
  endOf,
  type ItemNote,
  itemsOf,
  movieIds,
  readItemNotes,
  runPipeline,
  viewOf
} from '../support/pipelines.ts'
import { makeHome, spawnHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const skip = skipWithout('redis-server')
const MOVIES = movieIds(200)
const TASKS = ['first', 'second']
const SLOTS = 4
/** More than one host has room for, so that each has one at least. */
const HELD = ['held-1', 'held-2', 'held-3', 'held-4', 'held-5']

t.test(
  'two hosts share jobs and a pipeline, and one is killed: nothing is lost or recorded twice',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const database = await shareDatabase(t)
    const latches = await makeLatches(t)
    const env = { ...database.env, REDIS_URL: redis.url, JOBS_EXPIRATION: '3600' }
    const settings = { env: { LATCH_DIR: latches.dir }, concurrency: SLOTS }
    const options = {
      files: {
        ...{ quick: notedRuns('quick'), slow: notedRuns('slow') },
        ...Object.fromEntries(TASKS.map((name) => [name, notedItems(name)]))
      },
      config: {
        experts: Object.fromEntries(['quick', 'slow', ...TASKS].map((name) => [name, settings]))
      }
    }
    const homes = [await makeHome(t, options), await makeHome(t, options)] as const
    const start = (home: string) => spawnHost(t, { home, env })
    const hosts = await Promise.all(homes.map(start))
    const url = (side: number) => hosts[side]?.url as string
    const clients = new JobClients(() => hosts.map((host) => host.url), { pauseMs: 20 })
    t.teardown(() => clients.close())
    const runs = async () => (await latches.events()) as NotedRun[]
    const items = () => readItemNotes(latches.dir)

    // Of one of them only its first run waits, for a file: one that is lost with its host ends at once in the next.
    for (const [at, name] of HELD.entries()) {
      const id = await accept(`${url(at % 2)}/experts/slow`, name, { url: 'hold 1' })
      clients.answered.set(id, { items: [name], isList: false })
    }
    for (const name of HELD) await latches.started(name)
    clients.start(4)
    const pipeline = await runPipeline(url(0), {
      movies: MOVIES,
      plan: TASKS.map((expert, at) => ({
        expert,
        depends_on: TASKS.slice(0, at),
        extra_params: { how: 'ms 100' }
      }))
    })
    await clients.answeredMore(60)
    await until('ends of the pipeline', async () => {
      const ended = (await items()).filter(
        ({ event, task }) => event === 'end' && task === 'second'
      )
      return ended.length > 20 || undefined
    })
    await clients.look(1)
    const success = await itemsOf(url(0), pipeline, 'state=success')
    const killed = hosts[0] as (typeof hosts)[0]
    const processes = childrenOf(killed.child.pid as number)
    killed.child.kill('SIGKILL')
    await killed.exited
    await until('the end of its experts', () => !processes.some(isRunning) || undefined)
    const wereThere = (await runs()).filter(
      ({ id, pid }) => HELD.includes(id) && processes.includes(pid)
    )
    t.ok(wereThere.length > 0, `${wereThere.length} of the held jobs ran there`)
    const owner = await until('an item that the killed host has', async () => {
      for (const { task, movie, pid } of (await items()).reverse()) {
        if (!processes.includes(pid)) continue
        const item = await database.read('pipeline_items', itemKey({ pipeline, task, movie }))
        if (item?.['state'] === 'running') return item['owner'] as string
      }
      return undefined
    })

    // The other one takes all that comes, while the first comes back.
    await clients.answeredMore(20)
    hosts[0] = await start(homes[0])
    await clients.answeredMore(60)
    await clients.stop()
    await latches.release(...HELD)

    // Its jobs it has taken back. Its items are others' when its leases of 30 s are over, which is now.
    await until('the end of all that runs at the other one', async () => {
      const notes = await runs()
      const ended = new Set(notes.flatMap(({ event, mark }) => (event === 'end' ? mark : [])))
      return notes.every(({ mark, pid }) => ended.has(mark) || !isRunning(pid)) || undefined
    })
    await until('the end of all jobs', async () => (await clients.look(1)) === 0 || undefined)
    for (const { task, movie } of await itemsOf(url(1), pipeline, 'state=running')) {
      const _key = itemKey({ pipeline, task, movie })
      const item = await database.read('pipeline_items', _key)
      if (item?.['owner'] !== owner || item['state'] !== 'running') continue
      await database.patch('pipeline_items', { _key, lease_until: 0 })
    }
    const end = await endOf(url(1), pipeline)
    t.equal(end.status, 'succeeded', 'the pipeline has ended')
    // Also at the host that has not noticed yet.
    t.strictSame(await viewOf(url(0), pipeline), end, 'both hosts say the same of it at once')

    await clients.settle()
    t.equal(await clients.compare(), clients.answered.size, 'both hosts say the same of each job')
    const { lost, wrong, failed, runs: begun } = clients.judge(latches.dir)
    t.strictSame(lost, [], 'each job whose id was answered has an end')
    t.strictSame(wrong, [], 'and one alone, with the answer of a run that came to its end')
    t.equal(failed, 0, 'none was lost three times')
    for (const { id, jobId } of wereThere) {
      t.equal(begun.get(`${jobId}/${id}`), 2, `${id} was begun again`)
    }

    const [here, there] = await Promise.all([0, 1].map((side) => itemsOf(url(side), pipeline)))
    t.strictSame(here, there, 'both hosts say the same of each item')
    t.equal(here?.length, MOVIES.length * TASKS.length, 'each is there once')
    t.ok(
      here?.every(({ state, error }) => state === 'success' && error === null),
      'as success'
    )
    const placeOf = ({ task, movie }: { task: string; movie: string }) => `${task} ${movie}`
    const startsOf = new Map<string, number>()
    const ends = new Set<string>()
    for (const note of await items()) {
      if (note.event === 'start')
        startsOf.set(placeOf(note), (startsOf.get(placeOf(note)) ?? 0) + 1)
      if (note.event === 'end') ends.add(placeOf(note))
    }
    t.ok(
      here?.every((item) => ends.has(placeOf(item as ItemNote))),
      'of a run that came to its end'
    )
    t.ok(success.length > 0, `${success.length} had ended before the kill`)
    t.ok(
      success.every((item) => startsOf.get(placeOf(item as ItemNote)) === 1),
      'what had ended was not begun again'
    )
    const again = [...startsOf.values()].filter((times) => times > 1)
    t.ok(again.length > 0, 'what was under way was')
    t.comment(
      `${clients.answered.size} jobs, ${[...begun.values()].filter((times) => times > 1).length} begun again; ` +
        `${again.length} of ${startsOf.size} items`
    )
  }
)
