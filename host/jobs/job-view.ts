import { isRouteKind } from '../runtime/messages.ts'
import { isFinal, type Job } from './job.ts'
import { parseAnswer } from './parse-answer.ts'

/** Keys of a record that are the host's; a result's key of the same name is left out of the record. */
const OWN_KEYS = new Set([
  'jobId',
  'state',
  'params',
  'status',
  'created_at',
  'started_at',
  'finished_at',
  'progress',
  'attempts',
  'expert',
  'expert_version',
  'retry_of',
  'code'
])

/**
 * A job as `/jobs` shows it: the seed's record (`state`, then `params` or the result's keys), and beside
 * it what the seed never said.
 */
export function viewJob(job: Job): Record<string, unknown> {
  return { ...seedRecord(job), ...jobFacts(job) }
}

function seedRecord(job: Job): Record<string, unknown> {
  const { end } = job
  if (!isFinal(job.status) || end === null) {
    // Of a route of the expert's own, its body: the rest of the call is plumbing.
    const shown = job.bodies.map((body) => {
      const params = JSON.parse(body)
      return isRouteKind(job.kind) ? params.body : params
    })
    return { state: 'running', params: job.isList ? shown : shown[0] }
  }
  if (!end.ok) return { state: 'finish', result: null, error: end.message, code: end.code }
  const value = parseAnswer(end.text) ?? null
  if (job.isList) {
    const { fileError: error } = end
    return { state: 'finish', results: value, ...(error && { error }) }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { state: 'finish', result: value }
  }
  const kept = Object.entries(value).filter(([key]) => !OWN_KEYS.has(key))
  return { state: 'finish', ...Object.fromEntries(kept) }
}

/** What the host knows of a job beside its parameters and its result. */
export function jobFacts(job: Job): Record<string, unknown> {
  return {
    status: job.status,
    created_at: rfc3339(job.createdAt),
    started_at: rfc3339(job.startedAt),
    finished_at: rfc3339(job.finishedAt),
    progress: job.progress,
    attempts: job.attempts,
    expert: job.expert,
    expert_version: job.expertVersion,
    ...(job.retryOf === null ? {} : { retry_of: job.retryOf })
  }
}

function rfc3339(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString()
}
