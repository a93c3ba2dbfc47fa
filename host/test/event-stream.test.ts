import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { EventStream } from '../http/event-stream.ts'

const event = { id: 1, type: 'expert', data: 'x'.repeat(64 * 1024) }

t.test('a reader slower than the events is let go before it costs memory', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = connect(port, '127.0.0.1').on('error', () => {})
  t.teardown(() => client.destroy())
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse]
  client.pause()
  let closed = 0
  const stream = new EventStream(response, () => {
    closed += 1
  })
  let most = 0
  let sent = 0
  // Until what the system buffers for both ends is full, and then some.
  while (closed === 0 && sent < 2000) {
    stream.send(event)
    sent += 1
    most = Math.max(most, response.writableLength)
    await turn()
  }
  t.equal(closed, 1, `let go after ${sent} events`)
  t.ok(most < 1.5 * 1024 * 1024, `at most ${most} bytes waited`)
  stream.send(event)
  stream.end()
  t.equal(response.writableLength < 1024, true, 'nothing is kept for it any more')
})

t.test('a reader that keeps up gets every event', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const answer = fetch(`http://127.0.0.1:${port}/`)
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse]
  let closed = 0
  const stream = new EventStream(response, () => {
    closed += 1
  })
  const text = answer.then((found) => found.text())
  for (let id = 1; id <= 500; id++) {
    stream.send({ ...event, id })
    if (response.writableNeedDrain) await once(response, 'drain')
  }
  t.equal(closed, 0)
  stream.end()
  const ids = [...(await text).matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
  t.strictSame(
    ids,
    Array.from({ length: 500 }, (_, i) => i + 1)
  )
})
