import { viewJob } from '../jobs/job-view.ts'
import type { WebhookDelivery } from '../jobs/webhook-outbox.ts'

/** The body of a delivery: the job as `GET /jobs/{id}` showed it when the event happened, as JSON. */
export function webhookPayload(delivery: WebhookDelivery): Buffer {
  const { id, event, createdAt, job, leftOut } = delivery
  const hasResult = event === 'completed' && job.end?.ok === true
  const payload = {
    id,
    event,
    created_at: new Date(createdAt).toISOString(),
    ...(leftOut !== null && { left_out: leftOut }),
    ...(hasResult && { result_url: `/jobs/${job.id}/result` }),
    job: { jobId: job.id, ...viewJob(job) }
  }
  return Buffer.from(JSON.stringify(payload))
}
