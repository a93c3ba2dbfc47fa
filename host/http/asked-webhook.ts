import { isExpertError } from '@nebula-experts/sdk'
import type { JobOptions } from '@nebula-experts/sdk/schemas'
import { type WebhookWish, webhookEvents } from '../jobs/job.ts'
import type { JobService } from '../jobs/job-service.ts'
import { InvalidRequest } from './invalid-request.ts'

/** The webhook that a request names, and where it does. */
export interface AskedWebhook {
  url: string
  events: JobOptions['webhook_events_filter']
  loc: 'body' | 'query'
}

/** The webhook of a request's options, or null. */
export function askedWebhook(
  options: JobOptions,
  loc: AskedWebhook['loc'] = 'body'
): AskedWebhook | null {
  const { webhook, webhook_events_filter: events } = options
  return webhook === null ? null : { url: webhook, events, loc }
}

/**
 * Looks at where a webhook leads, before anything is accepted.
 * @throws InvalidRequest naming the field, when the host does not go there
 */
export async function checkWebhook(asked: AskedWebhook, jobs: JobService): Promise<WebhookWish> {
  const { url: given, events, loc } = asked
  const { webhooks } = jobs
  try {
    const { url, origin } = await webhooks.check(given)
    // In the order in which they come, each once.
    const chosen = webhookEvents.filter((event) => events === null || events.includes(event))
    return { url, origin, events: chosen }
  } catch (error) {
    if (!isExpertError(error)) throw error
    throw new InvalidRequest([
      { loc: [loc, 'webhook'], msg: error.message, type: 'value_error.webhook' }
    ])
  }
}
