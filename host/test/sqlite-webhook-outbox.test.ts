import { join } from 'node:path'
import t from 'tap'
import { openSqliteJobs } from '../dist/jobs/sqlite-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import { endWith, newJob } from './job-records-contract.ts'
import { webhookOutboxContract } from './webhook-outbox-contract.ts'

const folder = t.testdir()
const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }
let files = 0

const open = (path: string) => openSqliteJobs({ path, retention, log: createSilentLog() })

webhookOutboxContract('sqlite', () => open(join(folder, `${files++}.sqlite`)))

t.test('what waits and what was given up outlive the host, each as it stood', async (t) => {
  const path = join(folder, 'kept.sqlite')
  const before = await open(path)
  const webhook = { url: 'https://a.example/', origin: 'a.example', events: ['completed'] as const }
  for (const id of ['a', 'b', 'c']) {
    await before.records.create(newJob(id, Date.now(), { webhook }))
    await before.records.patch(id, { status: 'succeeded', finishedAt: 5, end: endWith('1') })
  }
  const claim = (outbox: typeof before.outbox) =>
    outbox.claim({
      now: Date.now() + 1000,
      limit: 9,
      busyJobs: [],
      busyOrigins: [],
      roomOf: () => 9
    })
  const [first, second, third] = await claim(before.outbox)
  if (first === undefined || second === undefined) throw new Error('nothing is due')
  await before.outbox.giveUp(first, Date.now(), 'why')
  await before.outbox.tryLater(second, Date.now(), 'because')
  await before.close()
  const after = await open(path)
  t.teardown(() => after.close())
  t.match(await after.outbox.list({ state: 'failed', limit: 9 }), [{ id: first.id, error: 'why' }])
  const due = await claim(after.outbox)
  t.strictSame(due.map(({ id }) => id).sort(), [second.id, third?.id].sort())
  t.match(
    due.find(({ id }) => id === second.id),
    { attempts: 1, error: 'because' }
  )
})
