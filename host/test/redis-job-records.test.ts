import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { openRedisJobs } from '../dist/jobs/redis/redis-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import { jobRecordsContract } from './job-records-contract.ts'
import { startRedis } from './start-redis.ts'

const skip = skipWithout('redis-server')
if (skip) t.test('on a Redis', { skip }, async () => {})
else {
  const { url } = await startRedis(t)
  const dir = t.testdir()
  let stores = 0
  jobRecordsContract('redis', async ({ now, ...retention }) => {
    const prefix = `records-${stores++}:`
    const log = createSilentLog()
    return openRedisJobs({ url, dir, retention, absentMs: 60_000, log, now, prefix })
  })
}
