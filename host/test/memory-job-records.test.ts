import { MemoryJobRecords } from '../jobs/memory-job-records.ts'
import { jobRecordsContract } from './job-records-contract.ts'

jobRecordsContract('memory', async ({ now, ...retention }) => ({
  records: new MemoryJobRecords(retention, now),
  close: async () => {}
}))
