import t from 'tap'
import { makeLatches } from '../support/latches.ts'
import { call, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

t.test('what waits is bounded, and what was taken is answered', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    config: { experts: { 'held-runs': { max_queue_size: 3, concurrency: 1 } } },
    env: { LATCH_DIR: latches.dir }
  })
  const queue = async () => (await call(`${url}/experts`, 'GET')).json[0].queue
  const first = call(`${url}/predict`, 'POST', { movie_id: 'first', local: false })
  await latches.started('first')
  // Some are sent ahead of their turn to a process whose runs are short; the queue holds the others.
  const ids = Array.from({ length: 80 }, (_, i) => `call-${i}`)
  const bodies = {
    '/predict': (id: string) => ({ movie_id: id, local: false }),
    '/predict/image': (id: string) => ({ image_id: id, url: 'u' }),
    '/hold': (id: string) => ({ id })
  }
  const paths = Object.keys(bodies) as Array<keyof typeof bodies>
  let refusedSoFar = 0
  const calls = ids.map(async (id, i) => {
    const path = paths[i % paths.length] as keyof typeof bodies
    const answer = await call(`${url}${path}`, 'POST', bodies[path](id))
    if (answer.status === 503) refusedSoFar += 1
    return { id, answer }
  })
  const full = await until('all are taken or refused', async () => {
    const found = await queue()
    const [{ instances }] = (await call(`${url}/experts`, 'GET')).json
    const taken = found.waiting + instances[0].in_flight - 1
    return taken + refusedSoFar === ids.length ? { ...found, taken } : undefined
  })
  t.same({ waiting: full.waiting, max: full.max }, { waiting: 3, max: 3 })
  t.ok(refusedSoFar > 0, `${refusedSoFar} were refused at once`)

  t.equal((await call(`${url}/status`, 'GET')).text, '{"status":"ACTIVE"}')
  const late = await call(`${url}/predict`, 'POST', { movie_id: 'late', local: false })
  t.equal(late.status, 503, 'one more is refused at once')
  t.match(late.json, { code: 'HOST_QUEUE_FULL', detail: /held-runs/ })
  const seconds = Number(late.headers.get('retry-after'))
  t.ok(seconds >= 1 && seconds <= 60, `Retry-After: ${seconds}`)

  await latches.release('first', ...ids)
  t.equal((await first).status, 200)
  const answers = await Promise.all(calls)
  const refused = answers.filter(({ answer }) => answer.status !== 200)
  for (const { id, answer } of refused) {
    t.equal(answer.status, 503, id)
    t.match(answer.headers.get('retry-after'), /^[1-9]\d*$/)
  }
  const served = answers.filter(({ answer }) => answer.status === 200)
  t.equal(served.length, full.taken)
  for (const { id, answer } of served) t.equal(answer.json.result, `released ${id}`)
  const again = await call(`${url}/predict`, 'POST', { movie_id: 'first', local: false })
  t.equal(again.status, 200, 'and afterwards there is room again')
})

t.test('a queue of none takes what can start at once', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    config: { experts: { 'held-runs': { max_queue_size: 0, concurrency: 2 } } },
    env: { LATCH_DIR: latches.dir }
  })
  const hold = (id: string) => call(`${url}/hold`, 'POST', { id })
  const held = [hold('a'), hold('b')]
  await latches.started('a')
  await latches.started('b')
  await latches.release('a', 'b')
  for (const answer of await Promise.all(held)) t.equal(answer.status, 200)
})

t.test('the bound is of synchronous calls: jobs wait outside of it', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    config: { experts: { 'held-runs': { max_queue_size: 1, concurrency: 1 } } },
    env: { LATCH_DIR: latches.dir }
  })
  const names = Array.from({ length: 50 }, (_, i) => `job-${i}`)
  const ids: string[] = []
  for (const image_id of names) {
    const body = { image_id, url: 'u', is_async: true }
    const { status, json } = await call(`${url}/predict/image`, 'POST', body)
    t.equal(status, 200)
    ids.push(json.jobId)
  }
  await latches.release(...names)
  for (const [i, id] of ids.entries()) {
    const record = await until(`end of ${id}`, async () => {
      const { json } = await call(`${url}/jobs/${id}`, 'GET')
      return json[id].state === 'finish' ? json[id] : undefined
    })
    t.match(record, { status: 'succeeded', result: `released job-${i}` })
  }
})
