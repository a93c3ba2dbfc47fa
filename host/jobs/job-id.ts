import { randomUUID } from 'node:crypto'

let latest = 0

/**
 * The id of a new job: a UUID of the form that callers know (version 4), with 74 random bits behind 48 bits of
 * time. Ids that are made one after another are neighbours in an index: many new jobs are a few pages to write.
 */
export function makeJobId(): string {
  latest = Math.max(latest, Date.now())
  const time = latest.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}${randomUUID().slice(13)}`
}
