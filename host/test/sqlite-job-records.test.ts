import { join } from 'node:path'
import t from 'tap'
import { openSqliteJobs } from '../dist/jobs/sqlite-jobs.js'
import { createSilentLog } from '../dist/observe/log.js'
import { jobRecordsContract } from './job-records-contract.ts'

const folder = t.testdir()
let files = 0

jobRecordsContract('sqlite', async ({ now, ...retention }) => {
  const path = join(folder, `${files++}.sqlite`)
  return openSqliteJobs({ path, retention, log: createSilentLog(), now })
})
