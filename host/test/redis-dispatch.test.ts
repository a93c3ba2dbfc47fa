import { skipWithout } from '@nebula-experts/sdk/testing'
import t from 'tap'
import { openRedisJobs } from '../dist/jobs/redis/redis-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import { dispatchContract } from './dispatch-contract.ts'
import { startRedis } from './start-redis.ts'

const skip = skipWithout('redis-server')
if (skip) t.test('on a Redis', { skip }, async () => {})
else {
  const { url } = await startRedis(t)
  const dir = t.testdir()
  const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }
  let lines = 0
  dispatchContract('redis', async (now) => {
    const prefix = `line-${lines++}:`
    const log = createSilentLog()
    return openRedisJobs({ url, dir, retention, absentMs: 60_000, log, now, prefix })
  })
}
