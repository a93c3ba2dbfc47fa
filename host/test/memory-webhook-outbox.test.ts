import { MemoryJobRecords } from '../jobs/memory-job-records.ts'
import { MemoryWebhookOutbox } from '../jobs/memory-webhook-outbox.ts'
import { webhookOutboxContract } from './webhook-outbox-contract.ts'

webhookOutboxContract('memory', async () => {
  const outbox = new MemoryWebhookOutbox()
  const retention = { keepMs: 60_000, maxFinished: 1000, maxFinishedBytes: 1e9 }
  const records = new MemoryJobRecords(retention, Date.now, { outbox })
  return { records, outbox, close: async () => {} }
})
