import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { startRedis } from '../../host/test/start-redis.ts'
import { becomes, ended, recordOf } from '../support/jobs.ts'
import { startTwo } from '../support/redis-hosts.ts'
import { spawnHost } from '../support/start-host.ts'

const skip = skipWithout('redis-server')
const SHA256_OF_DIGITS = '84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882'

async function weigh(url: string, id: string, how: string): Promise<string> {
  const form = new FormData()
  for (const [name, value] of Object.entries({ id, how, is_async: 'true' }))
    form.append(name, value)
  form.append('file', new Blob(['0123456789']), 'f')
  const answer = await fetch(`${url}/experts/noted/weigh`, { method: 'POST', body: form })
  return ((await answer.json()) as { jobId: string }).jobId
}

t.test('jobs with uploads wait for the host that has their files', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { a, b, ofA, ofB, env } = await startTwo(t, redis, {}, {})
  await weigh(a.url, 'busy', 'hold 9')
  await ofA.latches.started('busy')
  const waits = await weigh(a.url, 'waits', '-')
  a.child.kill('SIGKILL')
  await once(a.child, 'exit')
  t.match(await recordOf(b.url, waits), { status: 'queued' }, 'the other host tells of it')
  // The other runs what it can, and does not touch these.
  const own = await weigh(b.url, 'own', '-')
  t.match(await ended(b.url, own), { status: 'succeeded', result: SHA256_OF_DIGITS })
  t.match(await recordOf(b.url, waits), { status: 'queued', attempts: 0 })
  t.equal((await ofB.starts('waits')).length, 0)

  await ofA.latches.release('busy')
  await spawnHost(t, { home: ofA.home, env })
  t.match(await ended(b.url, waits), { status: 'succeeded', result: SHA256_OF_DIGITS, attempts: 1 })
  t.equal((await ofA.starts('waits')).length, 1)
})

t.test('jobs with uploads fail when their host stays away', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { a, b, ofA, env } = await startTwo(t, redis, {}, {})
  b.child.kill('SIGTERM')
  await b.exited
  await weigh(a.url, 'busy', 'hold 9')
  await ofA.latches.started('busy')
  const waits = await weigh(a.url, 'waits', '-')
  a.child.kill('SIGKILL')
  await once(a.child, 'exit')
  // The folder is gone: whoever starts here now is another host.
  await rm(join(ofA.home, 'data'), { recursive: true })
  const next = await spawnHost(t, {
    home: ofA.home,
    env: { ...env, JOBS_ABSENT_EXPIRATION: '2' }
  })
  await becomes(next.url, waits, 'failed')
  t.match(await recordOf(next.url, waits), { status: 'failed', code: 'HOST_JOB_ABANDONED' })
  t.equal((await ofA.starts('waits')).length, 0)
})
