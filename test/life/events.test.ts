import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type ExpertRow, pidOf, predict, untilTrue, within } from '../support/experts.ts'
import { makeLatches } from '../support/latches.ts'
import { versioned, writeFiles } from '../support/packages.ts'
import { call, plugin, spawnHost, startHost } from '../support/start-host.ts'
import { until } from '../support/until.ts'

interface StreamEvent {
  id: number
  event: string
  data: ExpertRow
}

interface Stream {
  events: StreamEvent[]
  /** Resolves with the first event, old or new, of that expert and status. */
  next(name: string, status: string): Promise<StreamEvent>
  /** True when the host ended it, false when it was cut. */
  ended: Promise<boolean>
  close(): void
}

async function openStream(t: Test, url: string, lastId?: number | string): Promise<Stream> {
  const headers = lastId === undefined ? {} : { 'last-event-id': String(lastId) }
  const sent = request(`${url}/events`, { headers, agent: false })
  sent.end()
  t.teardown(() => sent.destroy())
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  if (response.statusCode !== 200) throw new Error(`/events answered ${response.statusCode}`)
  const events: StreamEvent[] = []
  const ended = once(response, 'end').then(
    () => true,
    () => false
  )
  let rest = ''
  response.setEncoding('utf8').on('data', (text: string) => {
    const blocks = (rest + text).split('\n\n')
    rest = blocks.pop() as string
    for (const block of blocks) {
      const found = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/.exec(block)
      if (found === null) continue
      const [, id, event, data] = found as unknown as [string, string, string, string]
      events.push({ id: Number(id), event, data: JSON.parse(data) })
    }
  })
  return {
    events,
    next: (name, status) =>
      until(`${name} ${status}`, () => {
        return events.find(({ data }) => data.name === name && data.status === status)
      }),
    ended,
    close: () => void sent.destroy()
  }
}

/** What became of one expert, without what was said of its processes alone. */
function pathOf(states: Array<{ status: unknown; reason: unknown }>): string[] {
  const path = states.map(({ status, reason }) => `${status}: ${reason}`)
  return path.filter((state, i) => state !== path[i - 1])
}

t.test('every change is one event and one line of the log', async (t) => {
  const latches = await makeLatches(t)
  const host = await spawnHost(t, {
    plugins: ['held-runs'],
    files: { steady: versioned('steady', '1') },
    env: { LATCH_DIR: latches.dir }
  })
  const { url, home } = host
  const stream = await openStream(t, url)
  await until('the state of all', () => stream.events[1])
  t.match(
    stream.events.map(({ event, data }) => [event, data.name, data.status]),
    [
      ['expert', 'held-runs', 'ACTIVE'],
      ['expert', 'steady', 'ACTIVE']
    ]
  )
  const linesBefore = host.lines.length

  const manage = (name: string, action: string) => {
    return call(`${url}/manage/experts/${name}/${action}`, 'POST')
  }
  const pid = await pidOf(url, 'held-runs')
  process.kill(pid, 'SIGKILL')
  t.match((await stream.next('held-runs', 'RESTARTING')).data.reason, /SIGKILL/)
  await untilTrue('the restart', async () => (await predict(url, 'steady', 'x')).status === 200)
  await until('active again', () =>
    stream.events.find(({ data }) => data.restarts === 1 && data.status === 'ACTIVE')
  )
  const running = predict(url, 'held-runs', 'held')
  await latches.started('held')
  const unloading = manage('held-runs', 'unload')
  t.equal((await stream.next('held-runs', 'DRAINING')).data.reason, 'it was unloaded by hand')
  await latches.release('held')
  t.equal((await running).status, 200)
  await unloading
  await stream.next('held-runs', 'STOPPED')
  await manage('held-runs', 'load')
  await stream.next('held-runs', 'STARTING')
  await writeFiles(join(home, 'plugins', 'dropped'), versioned('dropped', '1'))
  await stream.next('dropped', 'STARTING')
  await stream.next('dropped', 'ACTIVE')
  await writeFiles(
    join(home, 'plugins', 'failing'),
    plugin('failing', 'async predict( { return 1 }')
  )
  t.match((await stream.next('failing', 'FAILED')).data.reason, /index\.js:4/)

  const ids = stream.events.slice(2).map(({ id }) => id)
  t.strictSame(
    ids,
    ids.map((_, i) => (ids[0] as number) + i),
    'no id is left out'
  )
  for (const name of ['held-runs', 'dropped', 'failing']) {
    const told = stream.events.slice(2).filter(({ data }) => data.name === name)
    const path = pathOf(told.map(({ data }) => data))
    const logged = () => {
      const lines = host.lines.slice(linesBefore).filter((line) => {
        return line.expert === name && line.status !== undefined
      })
      return lines.map(({ status, reason }) => `${status}: ${reason}`)
    }
    await untilTrue('the log', () => logged().length >= path.length)
    t.strictSame(logged(), path, `${name}: ${path.join(' | ')}`)
  }

  // One that comes back with the last id it saw is told the rest, once, in order.
  const seen = stream.events[4] as StreamEvent
  const resumed = await openStream(t, url, seen.id)
  await until('the rest', () => resumed.events.at(-1)?.id === stream.events.at(-1)?.id || undefined)
  t.strictSame(resumed.events, stream.events.slice(5))
  // An id of a host that ran before, or one no longer kept, says nothing: all is told anew.
  for (const unknown of [3, seen.id + 1_000_000]) {
    const anew = await openStream(t, url, unknown)
    await until('the state of all', () => anew.events[3])
    t.strictSame(
      anew.events.map(({ data }) => data.name).sort(),
      ['dropped', 'failing', 'held-runs', 'steady'],
      `after ${unknown}`
    )
    anew.close()
  }

  host.child.kill('SIGTERM')
  t.ok(await within(stream.ended, 10_000, 'the end of the stream'))
  t.match((await stream.next('dropped', 'STOPPED')).data.reason, /host is stopping/)
  t.ok(await within(resumed.ended, 10_000, 'the end of the other stream'))
  t.strictSame(await host.exited, { code: 0, signal: null })
})

t.test('ready can be asked for one expert', async (t) => {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    files: { failing: plugin('failing', 'async predict( { return 1 }') },
    config: { experts: { 'held-runs': { required: true }, absent: {} } },
    env: { LATCH_DIR: latches.dir }
  })
  const ready = (query = '') => call(`${url}/health/ready${query}`, 'GET')
  t.match(await ready(), { status: 200, json: { ready: true, reasons: [] } })
  t.match(await ready('?expert=held-runs'), { status: 200, json: { ready: true } })
  t.match(await ready('?expert=HELD-runs'), { status: 200, json: { ready: true } })
  t.match(await ready('?expert=failing'), {
    status: 503,
    json: { ready: false, reasons: [/^failing is FAILED: .*index\.js:4/] }
  })
  t.match(await ready('?expert=absent'), { status: 503, json: { reasons: [/^absent is WAITING/] } })
  t.match(await ready('?expert=nobody'), { status: 404, json: { code: 'HOST_EXPERT_UNKNOWN' } })
  const running = predict(url, 'held-runs', 'held')
  await latches.started('held')
  t.equal((await ready('?expert=held-runs')).status, 200, 'busy is ready')
  const unloading = call(`${url}/manage/experts/held-runs/unload`, 'POST')
  await untilTrue('the drain', async () => (await ready('?expert=held-runs')).status === 503)
  t.match(await ready(), { status: 503, json: { reasons: [/^held-runs is DRAINING: .*by hand/] } })
  await latches.release('held')
  t.equal((await running).status, 200)
  await unloading
  t.match(await ready(), { status: 503, json: { reasons: [/^held-runs is STOPPED/] } })
})
