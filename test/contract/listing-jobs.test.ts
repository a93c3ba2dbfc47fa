import t, { type Test } from 'tap'
import { accept, becomes, ended, type JobRecord } from '../support/jobs.ts'
import { makeLatches } from '../support/latches.ts'
import { rawClient } from '../support/raw-request.ts'
import { call, startHost } from '../support/start-host.ts'

const UNKNOWN = '00000000-0000-4000-8000-000000000000'

/** A host with two experts that hold their runs, and the jobs it lists. */
async function serveTwo(t: Test, env: Record<string, string> = {}) {
  const latches = await makeLatches(t)
  const { url } = await startHost(t, {
    plugins: ['held-runs'],
    config: { experts: { one: { package: 'held-runs' }, two: { package: 'held-runs' } } },
    env: { LATCH_DIR: latches.dir, EXPERT_PLUGINS: 'one,two', ...env }
  })
  const list = async (query = '', base = '') => {
    const { status, text, json } = await call(`${url}${base}/jobs${query}`, 'GET')
    t.equal(status, 200, query)
    return { ...json, text, ids: json.jobs.map(({ jobId }: JobRecord) => jobId) }
  }
  return { url, latches, list, one: `${url}/experts/one`, two: `${url}/experts/two` }
}

t.test('listing', async (t) => {
  const { url, latches, list, one, two } = await serveTwo(t)

  t.equal((await list()).text, '{"jobs":[]}', 'no jobs')
  t.equal((await list('', '/experts/one')).text, '{"jobs":[]}', 'no jobs of an expert')

  // In this order: each is made, and ends, after the one before.
  await latches.release('done', 'sync')
  const succeeded = await accept(one, 'done')
  await ended(one, succeeded)
  const sync = await call(`${one}/predict/image`, 'POST', { image_id: 'sync', url: 'u' })
  t.equal(sync.status, 200)
  const failed = await accept(two, 'endless', { timeout_ms: 50 })
  await ended(two, failed)
  const running = await accept(one, 'held')
  await becomes(one, running, 'running')
  const queued = await accept(one, 'next')
  const canceled = await accept(one, 'never')
  await call(`${one}/jobs/${canceled}/cancel`, 'POST')
  const own = await call(`${two}/hold-job`, 'POST', { id: 'own' }, { prefer: 'respond-async' })
  const ownId = own.json.jobId
  await becomes(two, ownId, 'running')

  t.test('without parameters it is the list alone, oldest change first', async (t) => {
    const { json, text } = await call(`${url}/jobs`, 'GET')
    t.match(text, /^\{"jobs":\[\{"jobId":"/)
    t.same(Object.keys(json), ['jobs'])
    for (const [i, job] of json.jobs.entries()) {
      const { jobId, ...record } = job
      t.equal(Object.keys(job)[0], 'jobId')
      t.equal(Object.keys(job)[1], 'state')
      t.same(record, (await call(`${url}/jobs/${jobId}`, 'GET')).json[jobId], `record ${i}`)
    }
    const changes = json.jobs.map((job: JobRecord) => job.finished_at ?? job.created_at)
    t.same(changes, [...changes].sort(), 'in the order of their changes')
    const ids = json.jobs.map(({ jobId }: JobRecord) => jobId)
    const syncId = ids[1]
    t.same(ids, [succeeded, syncId, failed, running, queued, canceled, ownId])
    t.match(json.jobs[1], { state: 'finish', result: 'released sync', status: 'succeeded' })
    t.match(json.jobs[4], { state: 'running', status: 'queued', params: { id: 'next' } })
    t.match(json.jobs[6], { state: 'running', status: 'running', params: { id: 'own' } })
  })

  t.test('by status: one, several with commas, and repeated', async (t) => {
    t.same((await list('?status=queued')).ids, [queued])
    t.same((await list('?status=running')).ids, [running, ownId])
    t.same((await list('?status=failed')).ids, [failed])
    t.same((await list('?status=canceled')).ids, [canceled])
    t.equal((await list('?status=succeeded')).ids.length, 2)
    const several = [failed, queued, canceled]
    t.same((await list('?status=canceled,queued,failed')).ids, several)
    t.same((await list('?status=canceled&status=queued&status=failed')).ids, several)
    t.same((await list('?status=canceled&status=queued,%20failed,queued')).ids, several)
    t.equal((await list('?status=queued,running,succeeded,failed,canceled')).ids.length, 7)
  })

  t.test('by expert', async (t) => {
    t.same((await list('?expert=two')).ids, [failed, ownId])
    t.equal((await list('?expert=one')).ids.length, 5)
    t.same((await list('?expert=one&status=running')).ids, [running])
    t.equal((await list('?expert=nobody')).text, '{"jobs":[]}')
    t.same((await list('', '/experts/two')).ids, [failed, ownId])
    t.same(
      (await list('?expert=one', '/experts/two')).ids,
      [failed, ownId],
      'an expert shows its own, whatever is asked for'
    )
    t.same((await list('?status=running', '/experts/two')).ids, [ownId])
  })

  t.test(
    'limit gives the newest, oldest of them first, and where the next page begins',
    async (t) => {
      const last = await list('?limit=2')
      t.same(last.ids, [canceled, ownId])
      t.type(last.next, 'string')
      const before = await list(`?limit=2&cursor=${last.next}`)
      t.same(before.ids, [running, queued])
      const rest = await list(`?cursor=${before.next}`)
      t.equal(rest.ids.length, 3)
      t.equal(rest.next, null)
      t.same([...rest.ids, ...before.ids, ...last.ids], (await list()).ids)
      t.equal((await list('?limit=10000')).next, null)
      const exactly = await list('?limit=7')
      t.equal(exactly.ids.length, 7)
      const empty = exactly.next === null ? null : await list(`?limit=7&cursor=${exactly.next}`)
      t.same(empty?.ids ?? [], [])
      t.equal(empty?.next ?? null, null)
    }
  )

  t.test('counts=true says how many are in each state', async (t) => {
    const all = await list('?counts=true')
    t.same(all.counts, { queued: 1, running: 2, succeeded: 2, failed: 1, canceled: 1 })
    t.equal(all.ids.length, 7)
    t.notOk('next' in all)
    const few = await list('?counts=True&limit=1&status=failed')
    t.same(few.counts, all.counts, 'of all, not of the page')
    t.same(few.ids, [failed])
    const ofTwo = { queued: 0, running: 1, succeeded: 0, failed: 1, canceled: 0 }
    t.same((await list('?counts=1&expert=two')).counts, ofTwo)
    t.same((await list('?counts=1', '/experts/two')).counts, ofTwo)
    t.notOk('counts' in (await list('?counts=false')))
  })

  t.test('a wrong value is refused, and its parameter named', async (t) => {
    const wrong = [
      ...['status=', 'status=done', 'status=queued,', 'status=Queued', 'status=queued&status=x'],
      ...['limit=0', 'limit=-1', 'limit=10001', 'limit=x', 'limit=', 'limit=1.5x'],
      ...['cursor=x', 'cursor=', 'counts=perhaps', 'counts=']
    ]
    for (const base of ['', '/experts/one']) {
      for (const query of wrong) {
        const { status, json } = await call(`${url}${base}/jobs?${query}`, 'GET')
        t.equal(status, 422, `${base} ${query}`)
        t.match(json, { code: 'HOST_INVALID' })
        t.match(json.detail, [{ loc: ['query', query.split('=')[0]], msg: String, type: String }])
      }
    }
    const both = await call(`${url}/jobs?limit=x&counts=x`, 'GET')
    t.equal(both.json.detail.length, 2, 'all that is wrong is said at once')
    const other = await call(`${url}/jobs?unknown=1&_=123`, 'GET')
    t.equal(other.status, 200, 'others are no parameters')
    t.same(Object.keys(other.json), ['jobs'])
  })

  t.test('an expert knows its own jobs and no others', async (t) => {
    t.same(Object.keys((await call(`${one}/jobs/${running}`, 'GET')).json), [running])
    t.equal((await call(`${two}/jobs/${running}`, 'GET')).text, '{}')
    for (const [method, path] of [
      ['GET', 'result'],
      ['GET', 'events'],
      ['POST', 'cancel'],
      ['POST', 'retry']
    ] as const) {
      const answer = await call(`${two}/jobs/${running}/${path}`, method)
      t.equal(answer.status, 404, path)
      t.equal(answer.json.code, 'HOST_JOB_UNKNOWN')
    }
    t.equal((await call(`${two}/jobs/${running}`, 'DELETE')).status, 404)
    const { json } = await call(`${url}/jobs/${running}`, 'GET')
    t.equal(json[running].status, 'running', 'and nothing was done to it')
  })

  t.test('an id that is not known is {} to look at, and 404 to do something with', async (t) => {
    for (const base of ['', '/experts/one', '/experts/two']) {
      const looked = await call(`${url}${base}/jobs/${UNKNOWN}`, 'GET')
      t.equal(looked.status, 200)
      t.equal(looked.text, '{}')
      for (const [method, path] of [
        ['GET', '/result'],
        ['GET', '/events'],
        ['POST', '/cancel'],
        ['POST', '/retry'],
        ['DELETE', '']
      ] as const) {
        const { status, json } = await call(`${url}${base}/jobs/${UNKNOWN}${path}`, method)
        t.equal(status, 404, `${method} ${base}/jobs/…${path}`)
        t.match(json, { code: 'HOST_JOB_UNKNOWN', detail: UNKNOWN, request_id: String })
      }
    }
  })

  t.test('an odd id is an unknown one', async (t) => {
    const send = rawClient(t, url)
    const odd = [
      ...['a%2Fb', '%2F', '%2E%2E', '%00', 'a%00b', '%0A', '%0D%0A', '%1E', '%7F', '%5C'],
      ...['%ED%A0%80', '%FF', '%', '%zz', '%22', "'", "'%20OR%201=1%20--", '%E2%80%AE', '%20'],
      ...['__proto__', 'constructor', 'toString', 'x'.repeat(5000), '%F0%9F%98%80'.repeat(100)],
      `${running}%00`,
      `%20${running}`,
      running.toUpperCase()
    ]
    for (const base of ['', '/experts/one']) {
      for (const id of odd) {
        const shown = `${base}/jobs/${id.slice(0, 40)}`
        const looked = await send('GET', `${base}/jobs/${id}`)
        t.ok([200, 400, 404].includes(looked.status), `GET ${shown}: ${looked.status}`)
        const body = JSON.parse(looked.text)
        if (looked.status === 200) t.same(body, {})
        else t.match(body, { code: /^HOST_/ })
        for (const [method, path] of [
          ['GET', '/result'],
          ['GET', '/events'],
          ['POST', '/cancel'],
          ['POST', '/retry'],
          ['DELETE', '']
        ] as const) {
          const answer = await send(method, `${base}/jobs/${id}${path}`)
          t.ok([400, 404].includes(answer.status), `${method} ${shown}${path}: ${answer.status}`)
          t.match(JSON.parse(answer.text), { code: /^HOST_/ })
        }
      }
    }
    t.same(Object.keys((await call(`${url}/jobs/${running}`, 'GET')).json), [running])
  })

  t.test('what ends becomes the newest', async (t) => {
    await latches.release('held', 'next', 'own')
    for (const id of [running, queued, ownId]) t.equal((await ended(url, id)).status, 'succeeded')
    t.same(
      (await list()).ids.slice(-3).sort(),
      [running, queued, ownId].sort(),
      'what ends is newest'
    )
  })
})

t.test('pages have each job once, also while new ones come', async (t) => {
  const { latches, list, one, two } = await serveTwo(t)
  await latches.release('free')
  const body = { image_id: 'free', url: 'u' }
  const add = async (i: number) => {
    // Accepted ones and ones that were waited for, of both experts, in between each other.
    const base = i % 3 === 0 ? two : one
    if (i % 2 === 0) await ended(base, await accept(base, 'free'))
    else await call(`${base}/predict/image`, 'POST', body)
  }
  for (let i = 0; i < 25; i++) await add(i)
  const all: string[] = (await list()).ids
  t.equal(all.length, 25)
  const pages: string[][] = []
  let cursor: string | null = null
  do {
    const at: string = cursor === null ? '' : `&cursor=${cursor}`
    const page: { ids: string[]; next: string | null } = await list(`?limit=7${at}`)
    pages.unshift(page.ids)
    cursor = page.next
    for (let i = 0; i < 3; i++) await add(i)
  } while (cursor !== null)
  t.same(
    pages.map((page) => page.length),
    [4, 7, 7, 7]
  )
  t.same(pages.flat(), all)
  t.ok((await list()).ids.length > 25, 'new ones came')

  const ofTwo: string[] = (await list('?expert=two')).ids
  const found: string[] = []
  let next: string | null = null
  do {
    const at: string = next === null ? '' : `&cursor=${next}`
    const page: { ids: string[]; next: string | null } = await list(
      `?limit=4&status=succeeded${at}`,
      '/experts/two'
    )
    found.unshift(...page.ids)
    next = page.next
  } while (next !== null)
  t.same(found, ofTwo, 'of one expert and one state, too')
})
