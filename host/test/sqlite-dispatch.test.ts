import { join } from 'node:path'
import t from 'tap'
import { openSqliteJobs } from '../dist/jobs/sqlite-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import { dispatchContract } from './dispatch-contract.ts'

const folder = t.testdir()
const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }
let files = 0

dispatchContract('sqlite', async (now) => {
  const path = join(folder, `${files++}.sqlite`)
  return openSqliteJobs({ path, retention, log: createSilentLog(), now })
})
