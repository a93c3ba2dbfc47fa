import type { FixedFields, Job, JobEnd } from '../job.ts'

/** What a job's hash holds, in the order in which it is read. A notice of a webhook has a copy of them. */
export const JOB_FIELDS = [
  ...['expert', 'status', 'created', 'started', 'finished', 'attempts', 'priority'],
  ...['key', 'webhook', 'fixed', 'bodies', 'progress', 'end', 'text']
] as const

/** A control character that JSON never has as it is. */
export const BETWEEN_BODIES = '\x1e'

/** The job of that id. @param row - its `JOB_FIELDS`; those that were never set are null */
export function storedJob(id: string, row: Array<string | null>): Job {
  const field = (name: (typeof JOB_FIELDS)[number]) => row[JOB_FIELDS.indexOf(name)] ?? ''
  const { fingerprint, ...fixed } = JSON.parse(field('fixed')) as FixedFields
  const bodies = field('bodies')
  const key = field('key')
  const webhook = field('webhook')
  const progress = field('progress')
  const end = field('end')
  return {
    id,
    expert: field('expert'),
    ...fixed,
    bodies: bodies === '' ? [] : bodies.split(BETWEEN_BODIES),
    priority: Number(field('priority')),
    idempotency: key === '' ? null : { key: JSON.parse(key), fingerprint: fingerprint as string },
    webhook: webhook === '' ? null : JSON.parse(webhook),
    createdAt: Number(field('created')),
    status: field('status') as Job['status'],
    startedAt: numberOf(field('started')),
    finishedAt: numberOf(field('finished')),
    progress: progress === '' ? null : JSON.parse(progress),
    attempts: Number(field('attempts')),
    end: end === '' ? null : endOf(JSON.parse(end), field('text'))
  }
}

function endOf(facts: JobEnd, text: string): JobEnd {
  return facts.ok ? { ...facts, text } : facts
}

function numberOf(text: string): number | null {
  return text === '' ? null : Number(text)
}
