import { call } from './start-host.ts'
import { until } from './until.ts'

type Answer = Awaited<ReturnType<typeof call>>
/** A job as `/jobs/{id}` shows it. */
export type JobRecord = Answer['json']

/** The record of a job; undefined when there is none. `url` may have an expert's base in it. */
export async function recordOf(url: string, id: string): Promise<JobRecord | undefined> {
  return (await call(`${url}/jobs/${id}`, 'GET')).json[id]
}

/** The record of a job once its status is one of these. */
export function becomes(url: string, id: string, ...statuses: string[]): Promise<JobRecord> {
  return until(`job ${id} is ${statuses.join(' or ')}`, async () => {
    const record = await recordOf(url, id)
    return statuses.includes(record?.status) ? record : undefined
  })
}

/** The record of a job once it has ended. */
export function ended(url: string, id: string): Promise<JobRecord> {
  return becomes(url, id, 'succeeded', 'failed', 'canceled')
}

/** Has an expert accept an image; gives the id of the job. */
export async function accept(
  url: string,
  imageId: string,
  more: Record<string, unknown> = {},
  headers: Record<string, string> = {}
): Promise<string> {
  const body = { image_id: imageId, url: 'u', is_async: true, ...more }
  const { status, text, json } = await call(`${url}/predict/image`, 'POST', body, headers)
  if (status !== 200 || typeof json.jobId !== 'string') throw new Error(`${status} ${text}`)
  return json.jobId
}
