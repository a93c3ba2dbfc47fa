import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { expertOf, untilTrue } from '../support/experts.ts'
import { accept, becomes, ended, recordOf } from '../support/jobs.ts'
import { type Latches, makeLatches } from '../support/latches.ts'
import { rawClient } from '../support/raw-request.ts'
import { call, plugin, startHost, type TestHost } from '../support/start-host.ts'

const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Every kind of route of `held-runs` that makes a job, with a body for the run of that id. */
const waysTo = (id: string): Array<[string, Record<string, unknown>]> => [
  ['/predict', { movie_id: id, local: false }],
  ['/predict/movie', { movie_id: id, local: false }],
  ['/predict/image', { image_id: id, url: 'u' }],
  ['/predict/images', { images: [{ image_id: id, url: 'u' }] }],
  ['/hold-job', { id }]
]

interface HeldHost extends TestHost {
  latches: Latches
}

async function holdRuns(t: Test, options: Parameters<typeof startHost>[1] = {}): Promise<HeldHost> {
  const latches = await makeLatches(t)
  const env = { LATCH_DIR: latches.dir, ...options.env }
  const host = await startHost(t, { plugins: ['held-runs'], ...options, env })
  return { ...host, latches }
}

/** Ids of the runs that have begun, in order. */
async function begun({ latches }: HeldHost): Promise<string[]> {
  const events = await latches.events()
  return events.filter(({ event }) => event === 'start').map(({ id }) => id)
}

/** Sends JSON on a connection that can be broken off before the answer. */
function sendAndLeave(t: Test, url: string, body: object, headers: Record<string, string> = {}) {
  const sent = request(url, {
    method: 'POST',
    agent: false,
    headers: { 'content-type': 'application/json', ...headers }
  })
  t.teardown(() => sent.destroy())
  sent.on('error', () => {})
  sent.end(JSON.stringify(body))
  return {
    leave: async () => {
      sent.destroy()
      if (!sent.closed) await new Promise((resolve) => sent.once('close', resolve))
    }
  }
}

t.test('answers in each of the ways that a caller can ask for', async (t) => {
  const host = await holdRuns(t, { env: { EXPERT_THREAD_POOL_SIZE: '4' } })
  const { url, latches } = host
  await latches.release('free')

  t.test('is_async, in every spelling of true, is answered with the id alone', async (t) => {
    for (const base of ['', '/experts/held-runs']) {
      for (const [path, body] of waysTo('free')) {
        for (const is_async of [true, 1, '1', 'true', 'True', 'on', 'YES', 'y', 't']) {
          const answer = await call(`${url}${base}${path}`, 'POST', { ...body, is_async })
          t.equal(answer.status, 200, `${base}${path} with ${JSON.stringify(is_async)}`)
          t.same(Object.keys(answer.json), ['jobId'])
          t.match(answer.json.jobId, UUID4)
          t.notOk(answer.headers.has('preference-applied'))
          const record = await ended(`${url}${base}`, answer.json.jobId)
          t.equal(record.status, 'succeeded')
        }
      }
    }
  })

  t.test('is_async, in every spelling of false, is answered with the result', async (t) => {
    for (const [path, body] of waysTo('free')) {
      for (const is_async of [false, 0, 'false', 'Off', 'n']) {
        const { status, text } = await call(`${url}${path}`, 'POST', { ...body, is_async })
        t.equal(status, 200)
        t.match(text, /released free/, `${path} with ${JSON.stringify(is_async)}`)
      }
    }
  })

  t.test('is_async that is no boolean is refused on every route, and nothing runs', async (t) => {
    const before = (await begun(host)).length
    for (const [path, body] of waysTo('free')) {
      for (const is_async of ['perhaps', 2, []]) {
        const { status, json } = await call(`${url}${path}`, 'POST', { ...body, is_async })
        t.equal(status, 422, `${path} with ${JSON.stringify(is_async)}`)
        t.match(json.detail, [{ loc: ['body', 'is_async'], type: 'type_error.bool' }])
      }
    }
    t.equal((await begun(host)).length, before)
  })

  t.test('Prefer: respond-async is answered 202 with a place to poll', async (t) => {
    for (const base of ['', '/experts/held-runs']) {
      for (const [path, body] of waysTo('free')) {
        for (const more of [{}, { is_async: true }]) {
          const prefer = { prefer: 'respond-async' }
          const answer = await call(`${url}${base}${path}`, 'POST', { ...body, ...more }, prefer)
          t.equal(answer.status, 202, `${base}${path}`)
          t.same(Object.keys(answer.json), ['jobId'])
          t.equal(answer.headers.get('preference-applied'), 'respond-async')
          const location = answer.headers.get('location')
          t.equal(location, `${base}/jobs/${answer.json.jobId}`)
          await ended(`${url}${base}`, answer.json.jobId)
          const polled = await call(`${url}${location}`, 'GET')
          t.equal(polled.json[answer.json.jobId].status, 'succeeded')
        }
      }
    }
  })

  t.test('Prefer: wait=N gives the very answer when the work ends within it', async (t) => {
    for (const base of ['', '/experts/held-runs']) {
      for (const [path, body] of waysTo('free')) {
        const plain = await call(`${url}${base}${path}`, 'POST', body)
        for (const preferred of ['wait=20', 'WAIT = "20"', 'respond-async, wait=20']) {
          const prefer = { prefer: preferred }
          const answer = await call(`${url}${base}${path}`, 'POST', body, prefer)
          t.equal(answer.status, 200, `${base}${path} with ${preferred}`)
          t.equal(answer.headers.get('preference-applied'), 'wait=20')
          t.notOk(answer.headers.has('location'))
          if (path !== '/predict/images') t.equal(answer.text, plain.text)
          else {
            t.same(Object.keys(answer.json), ['results', 'jobId'])
            t.same(answer.json.results, plain.json.results)
            t.equal((await recordOf(url, answer.json.jobId))?.status, 'succeeded')
          }
        }
      }
    }
  })

  t.test('Prefer: wait=N gives 202 when it does not, and the result is kept', async (t) => {
    for (const [i, [path, body]] of waysTo('late').entries()) {
      // All are held at once: the later ones do not wait for the earlier.
      const prefer = { prefer: ['wait=0', 'wait=1', 'respond-async, wait=0'][i % 4] ?? 'wait=0' }
      const answer = await call(`${url}${path}`, 'POST', body, prefer)
      t.equal(answer.status, 202, `${path} with ${prefer.prefer}`)
      const { jobId } = answer.json
      t.same(answer.json, { jobId: answer.json.jobId })
      t.match(jobId, UUID4)
      t.match(answer.headers.get('preference-applied'), /^wait=[01]$/)
      t.equal(answer.headers.get('location'), `/jobs/${jobId}`)
      t.match(await recordOf(url, jobId), { state: 'running' }, 'it goes on')
    }
    await latches.release('late')
    const { jobs } = (await call(`${url}/jobs`, 'GET')).json
    const late = jobs.slice(-5).map(({ jobId }: { jobId: string }) => jobId)
    for (const jobId of late) {
      t.equal((await ended(url, jobId)).status, 'succeeded')
      const result = await call(`${url}/jobs/${jobId}/result`, 'GET')
      t.equal(result.status, 200)
      t.match(result.text, /released late/)
    }
  })

  t.test('what Prefer does not say in a known way is no preference', async (t) => {
    const send = rawClient(t, url)
    const headers = { 'content-type': 'application/json' }
    const nonsense = [
      ...['', ',', ';;=,', 'wait', 'wait=', 'wait=soon', 'wait=-1', 'wait=1.5', 'wait=1e3'],
      ...['respond_async', 'respond-asynchronously', 'x-respond-async', 'return=minimal'],
      'x'.repeat(4000)
    ]
    for (const prefer of nonsense) {
      for (const [path, body] of waysTo('free')) {
        const options = { headers: { ...headers, prefer }, body: JSON.stringify(body) }
        const answer = await send('POST', path, options)
        t.equal(answer.status, 200, `${path} with ${prefer.slice(0, 30)}`)
        t.match(answer.text, /released free/)
        t.notOk('preference-applied' in answer.headers)
      }
    }
  })

  t.test('a caller of wait=N who hangs up does not cancel the job', async (t) => {
    const headers = { prefer: 'wait=30' }
    const waiting = sendAndLeave(t, `${url}/hold-job`, { id: 'left' }, headers)
    const { jobId } = await latches.started('left')
    const plain = sendAndLeave(t, `${url}/hold-job`, { id: 'control' })
    await latches.started('control')
    await waiting.leave()
    await plain.leave()
    // The same hang-up ends what was asked for without it: so the host has noticed both.
    await untilTrue('the end of the other', async () =>
      (await latches.events()).some(({ event, id }) => event === 'end' && id === 'control')
    )
    t.match(await recordOf(url, jobId), { status: 'running' })
    await latches.release('left')
    t.match(await ended(url, jobId), { status: 'succeeded', result: 'released left' })
  })

  t.test('a route without job: true takes no notice of any of it', async (t) => {
    const before = (await call(`${url}/jobs`, 'GET')).json.jobs.length
    const headers = { prefer: 'respond-async', 'idempotency-key': 'plain route' }
    const body = { id: 'free', priority: 'x', timeout_ms: 0, attempts: 99, is_async: true }
    const runs = (await begun(host)).length
    for (let i = 0; i < 2; i++) {
      const answer = await call(`${url}/hold?priority=x`, 'POST', body, headers)
      t.equal(answer.status, 200)
      t.same(answer.json, { result: 'released free', error: null })
      t.notOk(answer.headers.has('preference-applied'))
    }
    t.equal((await begun(host)).length, runs + 2, 'each call was run')
    t.equal((await call(`${url}/jobs`, 'GET')).json.jobs.length, before, 'and is no job')
  })
})

t.test('Idempotency-Key', async (t) => {
  const config = { experts: { first: { package: 'held-runs' }, other: { package: 'held-runs' } } }
  const env = { EXPERT_THREAD_POOL_SIZE: '4', EXPERT_PLUGINS: 'first,other,odd-answers' }
  const host = await holdRuns(t, { plugins: ['held-runs', 'odd-answers'], config, env })
  const { latches } = host
  const url = `${host.url}/experts/first`
  const runsOf = async (name: string) => (await begun(host)).filter((id) => id === name).length
  const keyed = (path: string, body: object, key: string, more: Record<string, string> = {}) =>
    call(`${url}${path}`, 'POST', body, { 'idempotency-key': key, ...more })

  t.test('the same request finds its job: while it waits, runs, and after its end', async (t) => {
    for (const [i, [path, body]] of waysTo('').entries()) {
      const id = `same-${i}`
      const named = JSON.parse(JSON.stringify(body).replace('""', JSON.stringify(id)))
      const asked = { ...named, is_async: true }
      const submit = () => keyed(path, named, id, { prefer: 'respond-async' })
      const first = (await submit()).json.jobId
      t.match(first, UUID4)
      t.same((await submit()).json, { jobId: first })
      await latches.started(id)
      t.same((await submit()).json, { jobId: first }, `${path} while it runs`)
      if (path.startsWith('/predict')) {
        t.same((await keyed(path, asked, id)).json, { jobId: first }, 'asked in the other way')
      }
      const waiting = keyed(path, named, id)
      await latches.release(id)
      const answer = await waiting
      t.equal(answer.status, 200, 'who asks to wait gets the answer of that job')
      t.match(answer.text, `released ${id}`)
      await ended(url, first)
      t.same((await submit()).json, { jobId: first }, `${path} after its end`)
      t.equal((await keyed(path, named, id)).text, answer.text)
      t.equal(await runsOf(id), 1, 'it ran once')
    }
  })

  t.test('a synchronous request sent again gets the same answer without a run', async (t) => {
    for (const [i, [path, body]] of waysTo('').entries()) {
      const id = `sync-${i}`
      await latches.release(id)
      const named = JSON.parse(JSON.stringify(body).replace('""', JSON.stringify(id)))
      const first = await keyed(path, named, id)
      t.equal(first.status, 200)
      t.match(first.text, `released ${id}`)
      for (let again = 0; again < 2; again++) {
        const { status, text } = await keyed(path, named, id)
        t.equal(status, 200)
        t.equal(text, first.text, path)
      }
      t.equal(await runsOf(id), 1)
    }
  })

  t.test('a caller who hung up gets the answer when it comes back', async (t) => {
    const key = { 'idempotency-key': 'came back' }
    const body = { image_id: 'back', url: 'u' }
    const gone = sendAndLeave(t, `${url}/predict/image`, body, key)
    await latches.started('back')
    const control = sendAndLeave(t, `${url}/predict/image`, { image_id: 'control', url: 'u' })
    await latches.started('control')
    await gone.leave()
    await control.leave()
    await untilTrue('the end of the other', async () =>
      (await latches.events()).some(({ event, id }) => event === 'end' && id === 'control')
    )
    const answer = call(`${url}/predict/image`, 'POST', body, key)
    await latches.release('back')
    t.same((await answer).json, { result: 'released back', error: null })
    t.equal(await runsOf('back'), 1)
  })

  t.test('thirty at the same moment are one job and one run', async (t) => {
    const body = { image_id: 'crowd', url: 'u', is_async: true }
    const thirty = Array.from({ length: 30 }, () => keyed('/predict/image', body, 'crowd'))
    const ids = (await Promise.all(thirty)).map(({ json }) => json.jobId)
    t.match(ids[0], UUID4)
    t.same(new Set(ids), new Set([ids[0]]))
    await latches.release('crowd', 'choir')
    await ended(url, ids[0])
    const waiting = { image_id: 'choir', url: 'u' }
    const choir = Array.from({ length: 30 }, () => keyed('/predict/image', waiting, 'choir'))
    for (const { status, json } of await Promise.all(choir)) {
      t.same({ status, json }, { status: 200, json: { result: 'released choir', error: null } })
    }
    t.equal(await runsOf('crowd'), 1)
    t.equal(await runsOf('choir'), 1)
  })

  t.test('another request under the key is refused, and the job that has it named', async (t) => {
    await latches.release('mine')
    const body = { image_id: 'mine', url: 'u' }
    const jobId = (await keyed('/predict/image', { ...body, is_async: true }, 'taken')).json.jobId
    await ended(url, jobId)
    const others: Array<[string, object]> = [
      ['/predict/image', { ...body, url: 'v' }],
      ['/predict/image', { ...body, extra_params: {} }],
      ['/predict/movie', { movie_id: 'mine', local: false }],
      ['/predict/images', { images: [{ ...body, url: 'v' }] }],
      ['/hold-job', { id: 'mine' }]
    ]
    for (const [path, other] of others) {
      for (const more of [{}, { is_async: true }]) {
        const { status, json } = await keyed(path, { ...other, ...more }, 'taken')
        t.equal(status, 422, `${path} ${JSON.stringify(other)}`)
        t.match(json, { code: 'HOST_KEY_REUSED', detail: jobId })
      }
    }
    t.equal(await runsOf('mine'), 1)
  })

  t.test('a list of one picture is another request than that picture', async (t) => {
    await latches.release('alone')
    const body = { image_id: 'alone', url: 'u' }
    const first = await keyed('/predict/image', body, 'alone')
    t.same(first.json, { result: 'released alone', error: null })
    const list = await keyed('/predict/images', { images: [body] }, 'alone')
    t.equal(list.status, 422)
    t.equal(list.json.code, 'HOST_KEY_REUSED')
    const other = { images: [{ image_id: 'alone', url: 'v' }] }
    t.equal((await keyed('/predict/images', other, 'list')).json.results?.length, 1)
    const picture = await keyed('/predict/image', { image_id: 'alone', url: 'v' }, 'list')
    t.equal(picture.status, 422)
  })

  t.test('the same key with another expert is another job', async (t) => {
    await latches.release('both')
    const body = { image_id: 'both', url: 'u', is_async: true }
    const headers = { 'idempotency-key': 'both' }
    const [one, two] = await Promise.all(
      ['first', 'other'].map((name) =>
        call(`${host.url}/experts/${name}/predict/image`, 'POST', body, headers)
      )
    )
    t.not(one?.json.jobId, two?.json.jobId)
    t.equal((await ended(host.url, one?.json.jobId)).expert, 'first')
    t.equal((await ended(host.url, two?.json.jobId)).expert, 'other')
    t.equal(await runsOf('both'), 2)
  })

  t.test('a key that is empty or too long is refused, and the header is named', async (t) => {
    const send = rawClient(t, host.url)
    for (const [path, body] of waysTo('unheard')) {
      for (const key of ['', '   ', 'k'.repeat(256), 'k'.repeat(10_000)]) {
        const answer = await send('POST', `/experts/first${path}`, {
          headers: { 'content-type': 'application/json', 'idempotency-key': key },
          body: JSON.stringify({ ...body, is_async: true })
        })
        t.equal(answer.status, 422, `${path} with a key of ${key.length}`)
        t.match(JSON.parse(answer.text).detail, [{ loc: ['header', 'idempotency-key'] }])
      }
    }
    t.equal(await runsOf('unheard'), 0)
    await latches.release('long key')
    const longest = await keyed('/hold-job', { id: 'long key' }, 'k'.repeat(255))
    t.equal(longest.status, 200)
  })

  t.test('the key of a failed job gives the same failure', async (t) => {
    const base = `${host.url}/experts/odd-answers`
    for (const [mode, status] of [
      ['throw', 500],
      ['expert error', 422],
      ['loop', 500]
    ] as const) {
      const send = async () => {
        const body = { image_id: '1', url: `mode:${mode}` }
        const headers = { 'idempotency-key': `failing ${mode}` }
        const answer = await call(`${base}/predict/image`, 'POST', body, headers)
        const { request_id, ...told } = answer.json
        t.type(request_id, 'string')
        return { status: answer.status, told }
      }
      const first = await send()
      t.equal(first.status, status, mode)
      t.same(await send(), first)
      t.same(await send(), first)
    }
    t.equal((await call(`${base}/jobs`, 'GET')).json.jobs.length, 3, 'each was run once')
  })
})

t.test('priority, timeout_ms and attempts', async (t) => {
  const host = await holdRuns(t)
  const { url, latches } = host

  t.test('of what waits the highest runs first, and first come, first served', async (t) => {
    const block = await accept(url, 'block')
    await latches.started('block')
    const asked: Array<[string, number | string]> = [
      ...([
        ['a0', 0],
        ['b-5', -5],
        ['c1000', 1000],
        ['d0', 0]
      ] as Array<[string, number]>),
      ...([
        ['e7', '7'],
        ['f-1000', -1000],
        ['g1000', 1000],
        ['h7', 7]
      ] as Array<[string, number]>)
    ]
    const ids: string[] = []
    for (const [id, priority] of asked) ids.push(await accept(url, id, { priority }))
    await latches.release('block', ...asked.map(([id]) => id))
    for (const id of [block, ...ids]) await ended(url, id)
    const order = ['block', 'c1000', 'g1000', 'e7', 'h7', 'a0', 'd0', 'b-5', 'f-1000']
    t.same(await begun(host), order)
  })

  t.test('also of those that somebody waits for, and in the query of an own route', async (t) => {
    const block = await accept(url, 'block-2')
    await latches.started('block-2')
    const ways: Array<[string, string, object]> = [
      ['x1', '/predict', { movie_id: 'x1', local: false, priority: 1 }],
      ['x3', '/predict/image', { image_id: 'x3', url: 'u', priority: 3 }],
      ['x2', '/hold-job?priority=2', { id: 'x2' }],
      ['x4', '/hold-job', { id: 'x4', priority: 4 }]
    ]
    const answers: Array<ReturnType<typeof call>> = []
    for (const [i, [, path, body]] of ways.entries()) {
      answers.push(call(`${url}${path}`, 'POST', body))
      await untilTrue(`${i + 1} wait`, async () => {
        return (await expertOf(url, 'held-runs')).queue.waiting === i + 1
      })
    }
    await latches.release('block-2', ...ways.map(([id]) => id))
    for (const answer of answers) t.equal((await answer).status, 200)
    await ended(url, block)
    t.same((await begun(host)).slice(-5), ['block-2', 'x4', 'x3', 'x2', 'x1'])
  })

  t.test('what is out of range or no number is refused, and the field named', async (t) => {
    const wrong: Array<[string, unknown]> = [
      ...[1001, -1001, 'x', {}, '1e3'].map((value): [string, unknown] => ['priority', value]),
      ...[0, -1, 2_147_483_648, 'x'].map((value): [string, unknown] => ['timeout_ms', value]),
      ...[0, 11, -1, 'x'].map((value): [string, unknown] => ['attempts', value])
    ]
    await latches.release('never')
    const before = (await begun(host)).length
    for (const [path, body] of waysTo('never')) {
      for (const [field, value] of wrong) {
        const asked = { ...body, [field]: value, is_async: true }
        const { status, json } = await call(`${url}${path}`, 'POST', asked)
        t.equal(status, 422, `${path} with ${field} ${JSON.stringify(value)}`)
        t.match(json.detail, [{ loc: ['body', field] }])
        t.equal(json.detail?.length, 1)
      }
    }
    t.equal((await begun(host)).length, before, 'nothing runs')
    t.same((await call(`${url}/jobs?status=queued,running`, 'GET')).json.jobs, [])
  })

  t.test('a list in place of a number is refused, too', async (t) => {
    await latches.release('never')
    for (const [path, body] of waysTo('never')) {
      for (const field of ['priority', 'timeout_ms', 'attempts']) {
        for (const value of [[], [5]]) {
          const { status, json } = await call(`${url}${path}`, 'POST', { ...body, [field]: value })
          t.equal(status, 422, `${path} with ${field} ${JSON.stringify(value)}`)
          t.match(json.detail, [{ loc: ['body', field] }])
        }
      }
    }
  })

  t.test('what is wrong in the query of an own route is named there', async (t) => {
    for (const query of ['priority=1001', 'timeout_ms=0', 'attempts=x', 'is_async=perhaps']) {
      const { status, json } = await call(`${url}/hold-job?${query}`, 'POST', { id: 'never' })
      t.equal(status, 422, query)
      t.match(json.detail, [{ loc: ['query', query.split('=')[0]] }])
    }
  })

  t.test('a run that outlasts timeout_ms is ended, and its record says so', async (t) => {
    for (const [path, body] of waysTo('endless')) {
      const asked = { ...body, timeout_ms: 60, is_async: true }
      const { jobId } = (await call(`${url}${path}`, 'POST', asked)).json
      const record = await ended(url, jobId)
      if (path === '/predict/images') {
        t.match(record.results, [{ result: null, code: 'HOST_RUN_TIMEOUT' }], 'of its item')
      } else t.match(record, { status: 'failed', code: 'HOST_RUN_TIMEOUT', error: /60/ }, path)
    }
    const body = { id: 'endless' }
    const inQuery = await call(`${url}/hold-job?timeout_ms=60&is_async=true`, 'POST', body)
    t.equal((await ended(url, inQuery.json.jobId)).code, 'HOST_RUN_TIMEOUT')
    const waiting = await call(`${url}/hold-job`, 'POST', { ...body, timeout_ms: '60' })
    t.equal(waiting.status, 504)
    t.equal(waiting.json.code, 'HOST_RUN_TIMEOUT')
  })

  t.test('timeout_ms counts from the start of the run, not while it waits', async (t) => {
    await accept(url, 'block-3', { timeout_ms: 60_000 })
    await latches.started('block-3')
    const impatient = await accept(url, 'impatient', { timeout_ms: 5000 })
    const { created_at } = (await recordOf(url, impatient)) as { created_at: string }
    await latches.release('impatient')
    const short = await accept(url, 'short', { timeout_ms: 100, priority: -1 })
    await untilTrue('more time than it may run', () => Date.now() > Date.parse(created_at) + 200)
    t.match(await recordOf(url, short), { status: 'queued', attempts: 0 })
    await latches.release('block-3')
    t.equal((await ended(url, impatient)).status, 'succeeded')
    t.equal((await ended(url, short)).code, 'HOST_RUN_TIMEOUT')
  })
})

t.test("of the request's timeout_ms and the expert's the smaller counts", async (t) => {
  const config = {
    experts: {
      short: { package: 'held-runs', timeout_ms: 90 },
      long: { package: 'held-runs', timeout_ms: 60_000 }
    }
  }
  const { url } = await holdRuns(t, { config, env: { EXPERT_PLUGINS: 'short,long' } })
  for (const [name, asked, counts] of [
    ['short', 60_000, 90],
    ['long', 110, 110]
  ] as const) {
    const base = `${url}/experts/${name}`
    const id = await accept(base, 'endless', { timeout_ms: asked })
    t.match(await ended(base, id), { code: 'HOST_RUN_TIMEOUT', error: ` ${counts} ` })
    const body = { image_id: 'endless', url: 'u', timeout_ms: asked }
    const waiting = await call(`${base}/predict/image`, 'POST', body)
    t.match(waiting.json, { code: 'HOST_RUN_TIMEOUT', detail: ` ${counts} ` })
  }
})

/** Routes with odd ways of their own; runs wait for latches. */
const ownRoutes = plugin(
  'own-jobs',
  `
  static config = { type: 'object', properties: { LATCH_DIR: { type: 'string' } } }

  addExpertApis(api) {
    const ranked = {
      type: 'object',
      properties: { priority: { type: 'string' }, attempts: { type: 'array' } }
    }
    api.post('/ranked', { body: ranked, job: true }, ({ body }) => body)
    const querystring = { type: 'object', properties: { timeout_ms: { type: 'string' } } }
    api.get('/asked', { querystring, job: true }, ({ querystring }) => querystring)
    const body = { type: 'object', properties: { id: { type: 'string' } } }
    api.post('/files', { body, files: true, job: true }, async ({ body, files }, { signal }) => {
      appendFileSync(join(this.config.LATCH_DIR, 'runs'), body.id + '\\n')
      while (!existsSync(join(this.config.LATCH_DIR, body.id))) await pause(5, null, { signal })
      if (body.id.startsWith('bad')) throw new ExpertError('EXP_BAD_INPUT', 'a bad file')
      return files.map(({ path, ...about }) => ({ ...about, path, base64: readFileSync(path, 'base64') }))
    })
    api.post('/reply/status', { job: true }, () =>
      api.reply({ made: 'é' }, { status: 201, type: 'application/vnd.test+json' }))
    api.post('/reply/bytes', { job: true }, () =>
      api.reply(new Uint8Array([0, 10, 13, 128, 255]), { status: 203, type: 'image/x-test' }))
    api.post('/reply/file', { job: true }, (_request, { tmp }) => {
      writeFileSync(join(tmp, 'answer'), 'a file of the run')
      return api.reply({ path: join(tmp, 'answer') }, { type: 'text/x-test' })
    })
    api.post('/reply/elsewhere', { job: true }, () => {
      const path = join(this.config.LATCH_DIR, 'elsewhere')
      writeFileSync(path, 'a file that stays')
      return api.reply({ path }, { type: 'text/x-other' })
    })
    api.post('/reply/held', { job: true }, async () => {
      while (!existsSync(join(this.config.LATCH_DIR, 'held'))) await pause(5)
      return api.reply(new Uint8Array([1, 2, 3]), { type: 'image/x-late' })
    })
  }`,
  `import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'`
)

async function serveOwnRoutes(t: Test, env: Record<string, string> = {}): Promise<HeldHost> {
  const latches = await makeLatches(t)
  const files = { 'own-jobs': ownRoutes }
  const host = await startHost(t, { files, env: { LATCH_DIR: latches.dir, ...env } })
  return { ...host, latches }
}

t.test('a field that a route declares for itself is its own', async (t) => {
  const { url } = await serveOwnRoutes(t)
  const own = { priority: 'urgent', attempts: [1, 2] }
  const answer = await call(`${url}/ranked`, 'POST', own)
  t.equal(answer.status, 200)
  t.same(answer.json, own)
  const inQuery = await call(`${url}/ranked?priority=5&is_async=yes`, 'POST', own)
  t.same(Object.keys(inQuery.json), ['jobId'])
  t.match(await ended(url, inQuery.json.jobId), { state: 'finish' })
  t.same((await call(`${url}/jobs/${inQuery.json.jobId}/result`, 'GET')).json, own)
  const wrong = await call(`${url}/ranked?priority=urgent`, 'POST', own)
  t.equal(wrong.status, 422, 'in the query it is the host that reads it')
  const asked = await call(`${url}/asked?timeout_ms=soon`, 'GET')
  t.same(asked.json, { timeout_ms: 'soon' })
})

t.test('uploads of accepted jobs', async (t) => {
  const host = await serveOwnRoutes(t)
  const { url, home, latches } = host
  const kept = join(home, 'data', 'jobs', 'uploads')
  const keptUploads = () => readdir(kept).catch(() => [] as string[])
  const runUploads = async () => {
    const [name = ''] = await readdir(join(home, 'data', 'run'))
    return readdir(join(home, 'data', 'run', name, 'uploads')).catch(() => [] as string[])
  }
  const nothingLeft = (limitMs = 5000) =>
    untilTrue(
      'nothing is left of the uploads',
      async () => (await keptUploads()).length + (await runUploads()).length === 0,
      limitMs
    )
  const upload = async (
    id: string,
    bytes: Uint8Array,
    headers: Record<string, string> = { prefer: 'respond-async' },
    fields: Record<string, string> = {}
  ) => {
    const form = new FormData()
    for (const [name, value] of Object.entries({ id, ...fields })) form.append(name, value)
    form.append('picture', new Blob([Buffer.from(bytes)], { type: 'image/x-test' }), 'a b.bin')
    const answer = await fetch(`${url}/files`, { method: 'POST', body: form, headers })
    const text = await answer.text()
    return { status: answer.status, text, json: JSON.parse(text) }
  }
  const runs = async () => {
    const text = await readFile(join(latches.dir, 'runs'), 'utf8').catch(() => '')
    return text.split('\n').slice(0, -1)
  }

  t.test('can be read by the run that starts later, and go when it has ended', async (t) => {
    const first = (await upload('block', randomBytes(10))).json.jobId
    await becomes(url, first, 'running')
    const bytes = randomBytes(100_000)
    const accepted = await upload('later', bytes)
    t.equal(accepted.status, 202)
    const { jobId } = accepted.json
    t.match(await recordOf(url, jobId), { status: 'queued' })
    t.same((await keptUploads()).sort(), [first, jobId].sort(), 'they lie under the ids')
    t.same(await runUploads(), [], 'and nowhere else')
    await latches.release('block', 'later')
    t.equal((await ended(url, jobId)).status, 'succeeded')
    const [file] = (await call(`${url}/jobs/${jobId}/result`, 'GET')).json
    t.match(file, { field: 'picture', filename: 'a b.bin', type: 'image/x-test', bytes: 100_000 })
    t.equal(file.base64, bytes.toString('base64'))
    await nothingLeft()
    t.notOk(existsSync(file.path))
  })

  t.test('go when the job is canceled while it waits, or while it runs', async (t) => {
    const running = (await upload('running', randomBytes(10))).json.jobId
    await becomes(url, running, 'running')
    const waiting = (await upload('waiting', randomBytes(10))).json.jobId
    t.same((await keptUploads()).sort(), [running, waiting].sort())
    await call(`${url}/jobs/${waiting}/cancel`, 'POST')
    await untilTrue('the upload is gone', async () => !(await keptUploads()).includes(waiting))
    t.same(await keptUploads(), [running], 'what runs keeps its own')
    await call(`${url}/jobs/${running}/cancel`, 'POST')
    await nothingLeft()
    t.notOk((await runs()).includes('waiting'), 'what was canceled while it waited never ran')
  })

  t.test('go when the job fails, which cannot be run again then', async (t) => {
    await latches.release('bad')
    const { jobId } = (await upload('bad', randomBytes(10))).json
    t.match(await ended(url, jobId), { status: 'failed', error: 'a bad file' })
    await nothingLeft()
    const retry = await call(`${url}/jobs/${jobId}/retry`, 'POST')
    t.equal(retry.status, 409)
    t.equal(retry.json.code, 'HOST_JOB_NOT_RETRIABLE')
  })

  t.test('also those of a synchronous call, which cannot be run again either', async (t) => {
    await latches.release('bad sync')
    t.equal((await upload('bad sync', randomBytes(10), {})).status, 422)
    await nothingLeft()
    const { jobs } = (await call(`${url}/jobs`, 'GET')).json
    const { jobId, status } = jobs.at(-1)
    t.equal(status, 'failed')
    const retry = await call(`${url}/jobs/${jobId}/retry`, 'POST')
    t.equal(retry.status, 409)
    t.equal(retry.json.code, 'HOST_JOB_NOT_RETRIABLE')
  })

  t.test('a form says in its fields how it is to be answered', async (t) => {
    await latches.release('form')
    const { status, json } = await upload('form', randomBytes(10), {}, { is_async: 'True' })
    t.equal(status, 200)
    t.same(Object.keys(json), ['jobId'])
    await ended(url, json.jobId)
    await nothingLeft()
    const wrong = await upload('form', randomBytes(10), {}, { priority: '1001' })
    t.equal(wrong.status, 422)
    t.match(wrong.json.detail, [{ loc: ['body', 'priority'] }])
    await nothingLeft()
  })

  t.test('the same bytes under the same key are one job; other bytes are refused', async (t) => {
    const bytes = randomBytes(50_000)
    const key = { 'idempotency-key': 'upload', prefer: 'respond-async' }
    const first = (await upload('once', bytes, key)).json.jobId
    t.match(first, UUID4)
    const crowd = Array.from({ length: 30 }, () => upload('once', bytes, key))
    for (const { status, json } of await Promise.all(crowd)) {
      t.same({ status, json }, { status: 202, json: { jobId: first } })
    }
    await untilTrue('only its own upload is kept', async () => {
      return (await keptUploads()).join() === first && (await runUploads()).length === 0
    })
    const other = Buffer.from(bytes)
    other[49_999] = (other[49_999] as number) ^ 1
    const refused = await upload('once', other, key)
    t.equal(refused.status, 422)
    t.match(refused.json, { code: 'HOST_KEY_REUSED', detail: first })
    await latches.release('once')
    const answer = await upload('once', bytes, { 'idempotency-key': 'upload' })
    t.equal(answer.status, 200)
    t.equal(answer.json[0].base64, bytes.toString('base64'))
    await ended(url, first)
    const again = await upload('once', bytes, { 'idempotency-key': 'upload' })
    t.equal(again.text, answer.text, 'also when the upload is gone')
    t.equal((await runs()).filter((id) => id === 'once').length, 1)
    await nothingLeft()
  })

  t.test('thirty uploads at the same moment under a new key are one run', async (t) => {
    const bytes = randomBytes(50_000)
    const key = { 'idempotency-key': 'crowd', prefer: 'respond-async' }
    const crowd = Array.from({ length: 30 }, () => upload('crowd', bytes, key))
    const ids = (await Promise.all(crowd)).map(({ json }) => json.jobId)
    t.match(ids[0], UUID4)
    t.equal(new Set(ids).size, 1)
    await latches.release('crowd')
    t.equal((await ended(url, ids[0])).status, 'succeeded', 'its files were there')
    t.equal((await runs()).filter((id) => id === 'crowd').length, 1)
    await nothingLeft()
  })

  t.test('nothing is left of an accepted request without a file', async (t) => {
    await latches.release('no file')
    const form = new FormData()
    form.append('id', 'no file')
    const headers = { prefer: 'respond-async' }
    const answer = await fetch(`${url}/files`, { method: 'POST', body: form, headers })
    const { jobId } = (await answer.json()) as { jobId: string }
    t.equal((await ended(url, jobId)).status, 'succeeded')
    await nothingLeft(2000)
  })
})

t.test('replies of job routes', async (t) => {
  const { url } = await serveOwnRoutes(t)
  const send = rawClient(t, url)
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
  const seen = async (method: string, path: string, headers: Record<string, string> = {}) => {
    const answer = await send(method, path, { headers })
    const { status, bytes } = answer
    return { status, type: answer.headers['content-type'], sha256: digest(bytes) }
  }
  const expected = {
    status: { status: 201, type: 'application/vnd.test+json', text: '{"made":"é"}' },
    bytes: { status: 203, type: 'image/x-test', text: '\x00\n\r\x80\xff' },
    file: { status: 200, type: 'text/x-test', text: 'a file of the run' },
    elsewhere: { status: 200, type: 'text/x-other', text: 'a file that stays' }
  }
  for (const [what, { status, type, text }] of Object.entries(expected)) {
    const bytes = Buffer.from(text, what === 'bytes' ? 'latin1' : 'utf8')
    const wanted = { status, type, sha256: digest(bytes) }

    t.test(`${what}: the result of an accepted job is the same, whenever it is read`, async (t) => {
      t.same(await seen('POST', `/reply/${what}`), wanted, 'as a synchronous answer')
      t.same(
        await seen('POST', `/reply/${what}`, { prefer: 'wait=20' }),
        wanted,
        'as one waited for'
      )
      const headers = { prefer: 'respond-async' }
      const { json } = await call(`${url}/reply/${what}`, 'POST', undefined, headers)
      t.equal((await ended(url, json.jobId)).status, 'succeeded')
      for (let i = 0; i < 3; i++) t.same(await seen('GET', `/jobs/${json.jobId}/result`), wanted)
      const key = { 'idempotency-key': what }
      t.same(await seen('POST', `/reply/${what}`, key), wanted, 'with a key')
      t.same(await seen('POST', `/reply/${what}`, key), wanted, 'and again')
    })

    t.test(`${what}: so is that of a synchronous call, which has a record, too`, async (t) => {
      t.same(await seen('POST', `/reply/${what}`), wanted)
      const { jobs } = (await call(`${url}/jobs`, 'GET')).json
      const { jobId, status } = jobs.at(-1)
      t.equal(status, 'succeeded')
      for (let i = 0; i < 2; i++) t.same(await seen('GET', `/jobs/${jobId}/result`), wanted)
    })
  }
})

t.test('bytes that come after MAX_WAIT_PREDICT_TIME are kept under the id', async (t) => {
  const { url, latches } = await serveOwnRoutes(t, { MAX_WAIT_PREDICT_TIME: '1' })
  const late = await call(`${url}/reply/held`, 'POST')
  t.equal(late.status, 504)
  const { jobId, code } = late.json
  t.equal(code, 'HOST_WAIT_TIMEOUT')
  await latches.release('held')
  t.equal((await ended(url, jobId)).status, 'succeeded')
  const result = await rawClient(t, url)('GET', `/jobs/${jobId}/result`)
  t.equal(result.status, 200)
  t.same([...result.bytes], [1, 2, 3])
  t.equal(result.headers['content-type'], 'image/x-late')
})
