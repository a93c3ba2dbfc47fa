import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type AddressInfo, connect, createServer } from 'node:net'
import { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { FramedPort } from '../runtime/framed-port.ts'
import { MAX_MESSAGE_BYTES } from '../runtime/messages.ts'

type Message = [unknown[], string]

/** A port on a stream that the test writes to as it likes. */
function portOn() {
  const stream = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
  const port = new FramedPort<unknown[], unknown[]>(stream as Socket)
  const got: Message[] = []
  const closed: Array<Error | null> = []
  port.onMessage = (head, body) => got.push([head, body])
  port.onClose = (fault) => closed.push(fault)
  return { stream, port, got, closed }
}

async function feed(stream: Duplex, chunks: Buffer[]): Promise<void> {
  for (const chunk of chunks) stream.push(chunk)
  await new Promise((resolve) => setImmediate(resolve))
}

/** Two ports with a real socket between them. */
async function connected(t: Test) {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [far] = (await once(server, 'connection')) as [Socket]
  t.teardown(() => {
    near.destroy()
    far.destroy()
  })
  return { near, far }
}

const messages: Message[] = [
  [['ready'], ''],
  [['result', 1], '{"text":"größer 😀 漢字","tab":"\\t","line":"\\n"}'],
  [['log', 'info', 'tab\tand\nline 😀', { a: ['é'] }, null], ''],
  [['result', 2], '""'],
  [['result', 3], 'null']
]
const wire = Buffer.from(
  `${messages
    .map(([head, body]) => JSON.stringify(head) + (body === '' ? '' : `\t${body}`))
    .join('\n')}\n`
)

t.test('messages are whole wherever the bytes are cut', async (t) => {
  const wrong: number[] = []
  for (let cut = 1; cut < wire.length; cut++) {
    const { stream, got } = portOn()
    await feed(stream, [wire.subarray(0, cut), wire.subarray(cut)])
    if (JSON.stringify(got) !== JSON.stringify(messages)) wrong.push(cut)
  }
  t.strictSame(wrong, [])
  const { stream, got } = portOn()
  await feed(
    stream,
    Array.from(wire, (byte) => Buffer.from([byte]))
  )
  t.strictSame(got, messages, 'byte by byte')
})

t.test('what is sent arrives, in order, over a real socket', async (t) => {
  const { near, far } = await connected(t)
  const sender = new FramedPort<unknown[], unknown[]>(near)
  const receiver = new FramedPort<unknown[], unknown[]>(far)
  const big = `"${'ü'.repeat(3_000_000)}"`
  const many: Message[] = Array.from({ length: 5000 }, (_, i) => [['result', i], `{"n":${i}}`])
  const sent: Message[] = [...messages, [['result', 9], big], ...many]
  const got: Message[] = []
  const all = new Promise<void>((resolve) => {
    receiver.onMessage = (head, body) => {
      got.push([head, body])
      if (got.length === sent.length) resolve()
    }
  })
  for (const [head, body] of sent) {
    if (body === '') sender.send(head)
    else sender.send(head, body)
  }
  await all
  t.ok(JSON.stringify(got) === JSON.stringify(sent))
})

t.test('all of one turn leaves in one write', async (t) => {
  const writes: string[] = []
  const stream = new Duplex({
    read: () => {},
    write: (chunk, _encoding, done) => {
      writes.push(String(chunk))
      done()
    }
  })
  const port = new FramedPort<unknown[], unknown[]>(stream as Socket)
  for (let i = 0; i < 100; i++) port.send(['result', i], '1')
  t.strictSame(writes, [], 'not within the call')
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(writes.length, 1)
  t.equal(writes[0]?.split('\n').length, 101)
  port.send(['ready'])
  port.flush()
  t.strictSame(writes.slice(1), ['["ready"]\n'], 'or when asked to')
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(writes.length, 2, 'and then not again')
})

t.test('what is no message ends it, with a fault that shows it', async (t) => {
  for (const text of ['hello\n', '{}\n', '"x"\n', '1\n', '\n', '["a"\n', '\t[]\n']) {
    const { stream, got, closed } = portOn()
    await feed(stream, [Buffer.from(`["ready"]\n${text}["ready"]\n`)])
    t.strictSame(
      got,
      [[['ready'], '']],
      'what came before it was delivered, what came after is not'
    )
    t.equal(closed.length, 1)
    t.match(closed[0]?.message, /no message/)
    t.ok(closed[0]?.message.includes(JSON.stringify(text.slice(0, -1))), text)
    t.equal(stream.destroyed, true)
  }
})

t.test('a message without an end is not kept for ever', async (t) => {
  const { stream, got, closed } = portOn()
  const chunk = Buffer.alloc(4 * 1024 * 1024, 'x')
  const most = MAX_MESSAGE_BYTES / chunk.length
  for (let i = 0; i < most; i++) await feed(stream, [chunk])
  t.strictSame(closed, [], 'as long as it may be')
  await feed(stream, [Buffer.from('x')])
  t.match(closed, [{ message: new RegExp(`more than ${MAX_MESSAGE_BYTES} bytes`) }])
  t.strictSame(got, [])
})

t.test('the end of the other side is told once, without a fault', async (t) => {
  const { near, far } = await connected(t)
  const port = new FramedPort<unknown[], unknown[]>(near)
  const told: unknown[] = []
  const over = new Promise<void>((resolve) => {
    port.onClose = (fault) => {
      told.push(fault)
      resolve()
    }
  })
  far.end('["ready"]\n["half a mess')
  await over
  await once(near, 'close')
  t.strictSame(told, [null])
  port.send(['too late'])
  port.flush()
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(told, [null])
})

t.test('a port that was closed here delivers and tells nothing more', async (t) => {
  const { stream, got, closed, port } = portOn()
  stream.push('["ready"]\n')
  port.close()
  stream.push('["ready"]\n')
  port.send(['too late'])
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(stream.destroyed, true)
  t.strictSame(got, [[['ready'], '']], 'what came before, and no more')
  t.strictSame(closed, [], 'its own close is no news')
})
