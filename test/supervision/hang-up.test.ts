import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { expertOf, isRunning, pidOf, predict, untilTrue, within } from '../support/experts.ts'
import { makeLatches } from '../support/latches.ts'
import { call, plugin, startHost } from '../support/start-host.ts'

/** Sends a prediction whose caller can be made to hang up. */
async function caller(t: Test, url: string, name: string, id: string, extra: object = {}) {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  const body = JSON.stringify({ movie_id: id, local: false, extra_params: extra })
  socket.write(
    `POST /experts/${name}/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  )
  return socket
}

async function hangUp(...sockets: Socket[]): Promise<void> {
  for (const socket of sockets) socket.destroy()
  await Promise.all(sockets.map((socket) => socket.closed || once(socket, 'close')))
}

const inFlight = (url: string, name: string, count: number) =>
  untilTrue(`${count} runs of ${name}`, async () => {
    return (await expertOf(url, name)).instances[0]?.in_flight === count
  })

const waiting = (url: string, name: string, count: number) =>
  untilTrue(`${count} waiting calls of ${name}`, async () => {
    return (await expertOf(url, name)).queue.waiting === count
  })

/** Notes what it begins in `started`, which another call reads. */
const noting = `
  started = []
  async predict(params, context) {
    const { how } = params.extra_params ?? {}
    if (how === 'read') return { started: this.started, pid: process.pid }
    this.started.push(params.movie_id)
    if (how === 'deaf') await new Promise(() => {})
    if (how === 'wait') await new Promise((resolve) => setTimeout(resolve, params.extra_params.ms))
    if (how === 'polite') {
      await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
      this.started.push('aborted')
    }
    if (how === 'slow to end') {
      await new Promise((resolve) => context.signal.addEventListener('abort', resolve))
      await new Promise((resolve) => setTimeout(resolve, 800))
    }
    return { result: params.movie_id, error: null, pid: process.pid }
  }`

t.test('a caller who hangs up cancels a run that honours its signal', async (t) => {
  const { url } = await startHost(t, { files: { polite: plugin('polite', noting) } })
  const pid = await pidOf(url, 'polite')
  const gone = await caller(t, url, 'polite', 'Movies/1', { how: 'polite' })
  await inFlight(url, 'polite', 1)
  await hangUp(gone)
  const next = await within(predict(url, 'polite', 'r', { how: 'read' }), 1000, 'a free slot')
  t.strictSame(next.json, { started: ['Movies/1', 'aborted'], pid }, 'in the same process')
  await inFlight(url, 'polite', 0)

  // Its slot is free when the work has ended, not when the caller has gone.
  const slow = await caller(t, url, 'polite', 'Movies/2', { how: 'slow to end' })
  await inFlight(url, 'polite', 1)
  const before = performance.now()
  await hangUp(slow)
  t.match(await predict(url, 'polite', 'Movies/3'), { status: 200, json: { pid } })
  const waited = performance.now() - before
  t.ok(waited >= 750, `the next began after ${waited.toFixed(0)} ms`)
  await untilTrue('the grace', () => performance.now() - before > 2500)
  t.equal(await pidOf(url, 'polite'), pid, 'and it was not killed')
})

t.test('a run that ignores its signal is killed after its grace', async (t) => {
  const { url } = await startHost(t, {
    files: { deaf: plugin('deaf', noting) },
    config: { experts: { deaf: { quarantine: { failures: 1 } } } }
  })
  const pid = await pidOf(url, 'deaf')
  const gone = await caller(t, url, 'deaf', 'Movies/1', { how: 'deaf' })
  await inFlight(url, 'deaf', 1)
  const before = performance.now()
  await hangUp(gone)
  const behind = predict(url, 'deaf', 'Movies/2')
  await untilTrue('most of the grace', () => performance.now() - before > 1700)
  t.ok(isRunning(pid), 'within its grace it lives')
  t.match(await expertOf(url, 'deaf'), { queue: { waiting: 1 }, instances: [{ in_flight: 1 }] })
  const answer = await within(behind, 3000, 'the kill')
  const took = performance.now() - before
  t.ok(took > 1900 && took < 4000, `killed after ${took.toFixed(0)} ms`)
  t.match(answer, { status: 200, json: { result: 'Movies/2' } }, 'what waited behind it runs')
  t.not(answer.json.pid, pid)
  t.notOk(isRunning(pid))
  t.match(await expertOf(url, 'deaf'), { status: 'ACTIVE', last_exit: /within 2000 ms of its/ })
})

t.test('calls that share the killed process', async (t) => {
  const settings = { concurrency: 2, quarantine: { failures: 1 } }
  const { url } = await startHost(t, {
    files: { again: plugin('again', noting), once: plugin('once', noting) },
    config: { experts: { again: settings, once: { ...settings, rerun: false } } }
  })
  const share = async (name: string) => {
    const pid = await pidOf(url, name)
    const gone = await caller(t, url, name, 'Movies/1', { how: 'deaf' })
    await inFlight(url, name, 1)
    const sharing = predict(url, name, 'Movies/2', { how: 'wait', ms: 2600 })
    await inFlight(url, name, 2)
    await hangUp(gone)
    return { pid, ...(await sharing) }
  }
  const [again, once] = await Promise.all([share('again'), share('once')])
  t.match(again, { status: 200, json: { result: 'Movies/2' } }, 'run again and answered')
  t.not(again.json.pid, again.pid)
  const { started } = (await predict(url, 'again', 'r', { how: 'read' })).json
  t.strictSame(started, ['Movies/2'], 'once')
  t.match(once, {
    status: 502,
    json: { code: 'HOST_EXPERT_EXITED', detail: /2000 ms of its signal/ }
  })
  t.match((await predict(url, 'once', 'r', { how: 'read' })).json, { started: [] })
})

t.test('queued calls of callers who hung up are never run', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    env: { LATCH_DIR: latches.dir }
  })
  const name = 'held-runs'
  const held = predict(url, name, 'held')
  await latches.started('held')
  const gone = await Promise.all(['g1', 'g2', 'g3'].map((id) => caller(t, url, name, id)))
  await waiting(url, name, 3)
  const stays = predict(url, name, 'stays')
  await waiting(url, name, 4)
  await hangUp(...gone)
  await waiting(url, name, 1)
  await latches.release('held', 'stays', 'g1', 'g2', 'g3')
  t.equal((await held).status, 200)
  t.equal((await stays).status, 200)
  const ran = (await latches.events()).map(({ event, id }) => `${event} ${id}`)
  t.strictSame(ran, ['start held', 'end held', 'start stays', 'end stays'])
})

t.test('nor are calls that were sent ahead of their turn', async (t) => {
  const { url } = await startHost(t, {
    files: {
      quick: plugin(
        'quick',
        `started = []
        predict(params) {
          const { ms = 0 } = params.extra_params ?? {}
          if (params.movie_id === 'read') return this.started
          if (params.movie_id !== 'warm') this.started.push(params.movie_id)
          for (const end = Date.now() + ms; Date.now() < end;);
          return params.movie_id
        }`
      )
    }
  })
  // Only short calls are sent ahead.
  for (let i = 0; i < 40; i++) await predict(url, 'quick', 'warm')
  const blocking = predict(url, 'quick', 'blocking', { ms: 700 })
  await inFlight(url, 'quick', 1)
  const gone = await Promise.all(['g1', 'g2'].map((id) => caller(t, url, 'quick', id)))
  await waiting(url, 'quick', 2)
  await hangUp(...gone)
  t.equal((await blocking).status, 200)
  t.strictSame((await predict(url, 'quick', 'read')).json, ['blocking'])
  await inFlight(url, 'quick', 0)
})

t.test('a call sent ahead and canceled, begun all the same, gives its slot back', async (t) => {
  const { url } = await startHost(t, {
    files: { deaf: plugin('deaf', noting) },
    config: { experts: { deaf: { quarantine: { failures: 1 } } } }
  })
  for (let i = 0; i < 40; i++) await predict(url, 'deaf', 'warm', { how: 'read' })
  const pid = await pidOf(url, 'deaf')
  const first = predict(url, 'deaf', 'Movies/1', { how: 'wait', ms: 300 })
  await inFlight(url, 'deaf', 1)
  const gone = await caller(t, url, 'deaf', 'Movies/2', { how: 'deaf' })
  await waiting(url, 'deaf', 1)
  // Both its cancel and the end of the first are read by a process that was stopped meanwhile.
  process.kill(pid, 'SIGSTOP')
  await hangUp(gone)
  process.kill(pid, 'SIGCONT')
  t.equal((await first).status, 200)
  const after = await within(predict(url, 'deaf', 'Movies/3'), 5000, 'a free slot')
  t.match(after, { status: 200, json: { result: 'Movies/3' } })
  await inFlight(url, 'deaf', 0)
})

t.test('a caller who was sent away with the job id cancels nothing', async (t) => {
  const { url } = await startHost(t, {
    files: { slow: plugin('slow', noting) },
    env: { MAX_WAIT_PREDICT_TIME: '1' }
  })
  const pid = await pidOf(url, 'slow')
  const gone = await caller(t, url, 'slow', 'Movies/1', { how: 'wait', ms: 1600 })
  const [answer] = (await once(gone, 'data')) as [Buffer]
  t.match(String(answer), /^HTTP\/1\.1 504 /)
  const [, id] = /"jobId":"([^"]+)"/.exec(String(answer)) ?? []
  await hangUp(gone)
  const job = async () => (await call(`${url}/jobs/${id}`, 'GET')).json[id as string]
  await untilTrue('the end', async () => (await job()).state === 'finish')
  t.match(await job(), { status: 'succeeded', result: 'Movies/1', pid })
})
