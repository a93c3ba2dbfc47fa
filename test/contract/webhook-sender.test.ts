import type { ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { MemoryJobRecords } from '../../host/jobs/memory-job-records.ts'
import { MemoryWebhookOutbox } from '../../host/jobs/memory-webhook-outbox.ts'
import { createSilentLog } from '../../host/observe/log.ts'
import { endWith, newJob } from '../../host/test/job-records-contract.ts'
import { WebhookAddresses } from '../../host/webhooks/webhook-addresses.ts'
import { WebhookSender, type WebhookSenderOptions } from '../../host/webhooks/webhook-sender.ts'
import { until } from '../support/until.ts'
import { startReceiver } from '../support/webhook-receiver.js'

type Got = { at: number; path: string; headers: Record<string, string>; payload: any; id: string }
type Answer = (got: Got, response: ServerResponse) => unknown

async function startSender(t: Test, options: Partial<WebhookSenderOptions> = {}) {
  const outbox = new MemoryWebhookOutbox()
  const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }
  const records = new MemoryJobRecords(retention, Date.now, { outbox })
  const sender = new WebhookSender({
    outbox,
    addresses: new WebhookAddresses(['127.0.0.1']),
    secrets: [],
    waitsMs: [10, 10, 10, 10, 10],
    log: createSilentLog(),
    ...options
  })
  t.teardown(() => sender.close())
  const finish = async (id: string, url: string, text = '{"result":1}', origin?: string) => {
    const webhook = { url, origin: origin ?? new URL(url).host, events: ['completed'] as const }
    await records.create(newJob(id, Date.now(), { webhook }))
    await records.patch(id, { status: 'succeeded', finishedAt: Date.now(), end: endWith(text) })
  }
  const delivered = () =>
    until('an empty outbox', async () => (await outbox.waiting()).count === 0 || undefined)
  const failed = (count: number) =>
    until(`${count} given up`, async () => {
      const found = await outbox.list({ state: 'failed', limit: 1000 })
      return found.length >= count ? found : undefined
    })
  const tried = (count: number) =>
    until(`${count} tries that failed`, async () => {
      const [first] = await outbox.list({ state: 'waiting', limit: 1 })
      return first !== undefined && first.attempts >= count ? first : undefined
    })
  return { outbox, records, sender, finish, delivered, failed, tried }
}

async function receiver(t: Test, answer?: Answer, secret?: string) {
  const found = await startReceiver({
    ...(answer && { answer: answer as never }),
    ...(secret && { secret })
  })
  t.teardown(() => found.close())
  return found as typeof found & { got: Got[] }
}

t.test('a delivery says what, of which job, and is signed with each secret', async (t) => {
  const secrets = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'an older one']
  const told = await receiver(t, undefined, secrets[1])
  const { finish, delivered } = await startSender(t, { secrets })
  await finish('a', `${told.url}?token=1`)
  await delivered()
  t.strictSame(told.wrong, [])
  t.equal(told.got.length, 1)
  const { headers, payload, path, id } = told.got[0] as Got
  t.equal(path, '/told?token=1')
  t.match(headers, { 'content-type': 'application/json', 'webhook-timestamp': /^\d{10}$/ })
  t.match(headers['webhook-signature'], /^v1,\S{44} v1,\S{44}$/)
  t.match(id, /^msg_[0-9a-f]{32}$/)
  t.match(payload, {
    id,
    event: 'completed',
    result_url: '/jobs/a/result',
    job: { jobId: 'a', state: 'finish', status: 'succeeded', result: 1, expert: 'places' }
  })
})

t.test('without a secret it is not signed', async (t) => {
  const told = await receiver(t)
  const { finish, delivered } = await startSender(t)
  await finish('a', told.url)
  await delivered()
  t.notOk((told.got[0] as Got).headers['webhook-signature'])
})

t.test('a result that is too large is left out, and the payload says where it is', async (t) => {
  const told = await receiver(t)
  const { finish, delivered } = await startSender(t)
  await finish('a', told.url, JSON.stringify({ result: 'x'.repeat(1024 * 1024) }))
  await delivered()
  const { payload } = told.got[0] as Got
  t.match(payload, { left_out: 'result', result_url: '/jobs/a/result', job: { result: null } })
})

t.test('what fails is tried again under the same id until it is taken', async (t) => {
  let tries = 0
  const told = await receiver(t, (_got, response) => {
    tries += 1
    response.writeHead(tries < 4 ? 500 : 200).end('thanks')
  })
  const { finish, delivered, outbox } = await startSender(t)
  await finish('a', told.url)
  await delivered()
  t.equal(told.got.length, 4)
  t.equal(new Set(told.got.map(({ id }) => id)).size, 1)
  t.strictSame(await outbox.list({ state: 'failed', limit: 1 }), [])
})

t.test(
  'after the last wait it is given up, listed with the reason, and can be had again',
  async (t) => {
    let isDown = true
    const told = await receiver(t, (_got, response) => response.writeHead(isDown ? 500 : 200).end())
    const lines: object[] = []
    const log = { ...createSilentLog(), warn: (fields: object) => lines.push(fields) } as never
    const { finish, failed, delivered, outbox, sender } = await startSender(t, { log })
    await finish('a', told.url)
    const [notice] = await failed(1)
    t.match(notice, { jobId: 'a', attempts: 6, error: 'it answered 500, wanted 2xx' })
    t.equal(told.got.length, 6, 'one try, and one after each of five waits')
    t.match(lines, [{ webhook_id: notice?.id, job_id: 'a', attempts: 6 }], 'one line of the log')
    isDown = false
    t.equal(await outbox.retry(notice?.id as string, Date.now()), true)
    sender.wake()
    await delivered()
    t.equal(told.got.at(-1)?.id, notice?.id)
  }
)

t.test('410 is given up at once', async (t) => {
  const told = await receiver(t, (_got, response) => response.writeHead(410).end())
  const { finish, failed } = await startSender(t)
  await finish('a', told.url)
  t.match(await failed(1), [{ attempts: 1, error: /answered 410/ }])
  t.equal(told.got.length, 1)
})

t.test('Retry-After of 429 and 503 is kept to, in seconds and as a date', async (t) => {
  for (const [status, retryAfter] of [
    [429, '3600'],
    [503, new Date(Date.now() + 3_600_000).toUTCString()]
  ] as const) {
    const told = await receiver(t, (_got, response) =>
      response.writeHead(status, { 'retry-after': retryAfter }).end()
    )
    const { finish, tried } = await startSender(t)
    const from = Date.now()
    await finish('a', told.url)
    const { nextAt } = await tried(1)
    const wait = (nextAt as number) - from
    t.ok(wait > 3_590_000 && wait < 3_610_000, `${status}: ${wait} ms`)
  }
})

t.test('a redirect is not followed', async (t) => {
  const inner = await receiver(t)
  const told = await receiver(t, (_got, response) =>
    response.writeHead(307, { location: inner.url }).end()
  )
  const { finish, failed } = await startSender(t, { waitsMs: [] })
  await finish('a', told.url)
  t.match(await failed(1), [{ error: 'it answered 307, wanted 2xx; redirects are not followed' }])
  t.equal(inner.got.length, 0)
})

t.test('a port that nobody listens on, and a connection that is cut', async (t) => {
  const closed = await receiver(t)
  await closed.close()
  const cut = await receiver(t, (_got, response) => response.destroy())
  const { finish, failed } = await startSender(t, { waitsMs: [] })
  await finish('a', closed.url)
  await finish('b', cut.url)
  const errors = new Map((await failed(2)).map(({ jobId, error }) => [jobId, error]))
  t.match(errors.get('a'), /ECONNREFUSED/)
  t.match(errors.get('b'), /ECONNRESET|no answer/)
})

t.test('a receiver that hangs or drips costs its own tries alone', async (t) => {
  const timers = new Set<NodeJS.Timeout>()
  t.teardown(() => {
    for (const timer of timers) clearInterval(timer)
  })
  const hangs = await receiver(t, () => {})
  const drips = await receiver(t, (_got, response) => {
    response.socket?.on('error', () => {})
    response.socket?.write('HTTP/1.1 200 OK\r\nx-long: ')
    const timer = setInterval(() => response.socket?.write('a'), 20)
    timers.add(timer)
  })
  const quick = await receiver(t)
  const { finish, failed } = await startSender(t, { timeoutMs: 400, waitsMs: [] })
  for (let n = 0; n < 30; n++) await finish(`hangs${n}`, hangs.url)
  await finish('drips', drips.url)
  for (let n = 0; n < 30; n++) await finish(`quick${n}`, quick.url)
  await until('all of the quick one', () => quick.got.length === 30 || undefined)
  t.ok(hangs.got.length <= 8, `${hangs.got.length} tries of the one that hangs by then`)
  const [one] = await failed(1)
  t.match(one?.error, /no answer within 400 ms/)
  t.ok(hangs.mostFlying <= 8, `at most ${hangs.mostFlying} at once`)
  await until('the end of the one that drips', async () => {
    const found = await failed(1)
    return found.some(({ jobId }) => jobId === 'drips') || undefined
  })
})

t.test('an answer that never ends is thrown away, and counts by its status', async (t) => {
  let sent = 0
  const floods = await receiver(t, async (_got, response) => {
    response.writeHead(200)
    const chunk = Buffer.alloc(64 * 1024)
    response.on('error', () => {})
    while (!response.destroyed) {
      sent += chunk.length
      if (!response.write(chunk)) {
        await Promise.race([
          new Promise((resolve) => response.once('drain', resolve)),
          new Promise((resolve) => response.once('close', resolve))
        ])
      }
    }
  })
  const trickles = await receiver(t, (_got, response) => {
    response.writeHead(200)
    response.write('.')
  })
  const { finish, delivered } = await startSender(t, { timeoutMs: 400 })
  await finish('a', floods.url)
  await finish('b', trickles.url)
  await delivered()
  t.equal(floods.got.length, 1)
  t.equal(trickles.got.length, 1)
  t.ok(sent < 32 * 1024 * 1024, `${sent} bytes were sent`)
})

t.test('of one receiver eight at once, and one at a time while it fails', async (t) => {
  const held: ServerResponse[] = []
  let flying = 0
  let mostWhileFailing = 0
  const told = await receiver(t, (_got, response) => {
    flying += 1
    response.once('close', () => {
      flying -= 1
    })
    const count = told.got.length
    if (count <= 8) held.push(response)
    else {
      // Those before have been told of the first failure.
      if (count > 20 && count <= 40) mostWhileFailing = Math.max(mostWhileFailing, flying)
      response.writeHead(count <= 40 ? 500 : 200).end()
    }
  })
  const { finish, delivered } = await startSender(t, { waitsMs: Array(50).fill(5) })
  for (let n = 0; n < 20; n++) await finish(`a${n}`, told.url)
  await until('eight', () => held.length === 8 || undefined)
  for (const response of held) response.writeHead(500).end()
  await delivered()
  t.equal(told.mostFlying, 8)
  t.equal(mostWhileFailing, 1, 'the next waits for what becomes of the first')
  t.equal(told.got.length, 60, '40 that failed, and 20 that did not')
})

t.test('a name is looked up for each try, and each answer is checked', async (t) => {
  const told = await receiver(t)
  const answers = [['93.184.216.34', '127.0.0.1'], ['127.0.0.1'], ['::ffff:10.0.0.1']]
  let asked = 0
  const addresses = new WebhookAddresses([], async () => answers[asked++ % 3] as string[])
  const { finish, failed } = await startSender(t, { addresses, waitsMs: [5, 5] })
  await finish('a', `http://rebinds.example:${told.port}/`)
  const [notice] = await failed(1)
  t.equal(asked, 3)
  t.match(notice?.error, /rebinds\.example:\d+ is refused: the address of its host is not public/)
  t.notMatch(notice?.error, /127\.0|10\.0/)
  t.equal(told.got.length, 0)
})

t.test('a connection goes to the address that was checked', async (t) => {
  const told = await receiver(t)
  let asked = 0
  // Listed, so that the one checked address may be this machine; a second look-up would fail.
  const addresses = new WebhookAddresses(['rebinds.example'], async () => {
    asked += 1
    return asked === 1 ? ['127.0.0.1'] : []
  })
  const { finish, delivered } = await startSender(t, { addresses })
  await finish('a', `http://rebinds.example:${told.port}/x`)
  await delivered()
  t.equal(asked, 1)
  t.equal((told.got[0] as Got).headers.host, `rebinds.example:${told.port}`)
})

t.test('where a webhook may lead is checked when it is asked for', async (t) => {
  const resolve = async (host: string) => {
    if (host === 'inner.example') return ['10.0.0.1']
    if (host === 'nowhere.example') throw Object.assign(new Error('x'), { code: 'ENOTFOUND' })
    if (host === 'later.example') throw Object.assign(new Error('x'), { code: 'EAI_AGAIN' })
    return ['93.184.216.34']
  }
  const addresses = new WebhookAddresses(['files.lan:8080'], resolve)
  const refused = [
    'no url',
    'ftp://public.example/',
    'file:///etc/passwd',
    'data:,x',
    'http://user:secret@public.example/',
    'http://127.0.0.1/',
    'http://[::1]/',
    'http://169.254.169.254/latest',
    'http://0x7f.1/',
    'https://inner.example/',
    'http://files.lan.:81@10.0.0.1/'
  ]
  for (const url of refused) {
    await t.rejects(addresses.check(url), { name: 'ExpertError', code: 'EXP_MEDIA_ADDRESS' }, url)
  }
  await t.rejects(addresses.check('http://nowhere.example/'), { code: 'EXP_MEDIA_NOT_FOUND' })
  for (const url of [
    'https://later.example/',
    'http://files.lan:8080/x',
    'https://public.example'
  ]) {
    t.match(await addresses.check(url), { origin: new URL(url).host }, url)
  }
  t.equal((await addresses.check('https://public.example/a#b')).url, 'https://public.example/a')
})

t.test('a stop gives what is under way a moment, and leaves the rest', async (t) => {
  const answers: ServerResponse[] = []
  const told = await receiver(t, (_got, response) => answers.push(response))
  const { finish, sender, outbox } = await startSender(t)
  for (let n = 0; n < 12; n++) await finish(`a${n}`, told.url)
  await until('eight', () => answers.length === 8 || undefined)
  const closed = sender.close()
  for (const response of answers.slice(0, 7)) response.writeHead(200).end()
  await closed
  t.equal((await outbox.waiting()).count, 5, 'the one that hung, and the four that were not begun')
  t.match(await outbox.list({ state: 'waiting', limit: 9 }), Array(5).fill({ attempts: 0 }))
})

t.test('what is no HTTP is a failed try', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.end('SSH-2.0-OpenSSH_9.6\r\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const { finish, failed } = await startSender(t, { waitsMs: [] })
  await finish('a', `http://127.0.0.1:${port}/`)
  t.match(await failed(1), [{ error: /the connection failed \(\w+\)/ }])
})

t.test('it says when as much waits as may, and when there is room again', async (t) => {
  const outbox = new MemoryWebhookOutbox()
  let found = { count: 99_999, bytes: 512 * 1024 ** 2 - 1 }
  outbox.waiting = async () => found
  const { sender } = await startSender(t, { outbox })
  t.equal(sender.limit, 100_000)
  for (const [more, isFull] of [
    [{}, false],
    [{ count: 100_000 }, true],
    [{ count: 99_999 }, false],
    [{ bytes: 512 * 1024 ** 2 }, true],
    [{ bytes: 0 }, false]
  ] as const) {
    found = { ...found, ...more }
    await until(`full: ${isFull}`, () => sender.isFull === isFull || undefined)
    t.equal(sender.isFull, isFull)
  }
})
