import { compileSchema } from '@nebula-experts/sdk/schemas'
import { type Static, Type } from 'typebox'
import { type JobStatus, jobStatuses } from '../jobs/job.ts'
import type { JobQuery } from '../jobs/job-records.ts'
import { InvalidRequest } from './invalid-request.ts'

/** Jobs that a listing gives when it is not asked for fewer. */
const MOST = 10_000

/** The query of `GET /jobs`. Without any of these the answer is the seed's. */
export const JobsQuery = Type.Object({
  status: Type.Optional(
    Type.String({
      description: `Only those in one of these states, comma separated: ${jobStatuses.join(', ')}`,
      examples: ['queued,running']
    })
  ),
  expert: Type.Optional(Type.String({ description: 'Only those of this expert' })),
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: MOST, description: 'The newest so many' })
  ),
  cursor: Type.Optional(
    Type.Number({ description: '`next` of the page before: gives those that are older' })
  ),
  counts: Type.Optional(Type.Boolean({ description: 'Say also how many jobs are in each state' }))
})

const checkQuery = compileSchema<Static<typeof JobsQuery>>(JobsQuery)

/** A listing as it is asked for. */
export interface AskedJobs {
  query: JobQuery
  wantsCounts: boolean
  /** It is asked for a page, which says where the next one begins. */
  isPaged: boolean
}

/** @throws InvalidRequest naming each parameter that is wrong */
export function readJobsQuery(given: Record<string, unknown>, expert?: string): AskedJobs {
  const single = Object.entries(given).map(([key, value]) => {
    const joined = key === 'status' && Array.isArray(value) ? value.join(',') : value
    return [key, Array.isArray(joined) ? joined.at(-1) : joined]
  })
  const checked = checkQuery(Object.fromEntries(single), ['query'])
  if (checked.issues !== undefined) throw new InvalidRequest(checked.issues)
  const { status, limit, cursor, counts } = checked.value
  const query: JobQuery = {
    expert: expert ?? checked.value.expert,
    statuses: status === undefined ? undefined : statusesOf(status),
    before: cursor,
    limit: limit ?? MOST
  }
  const isPaged = [status, limit, cursor].some((value) => value !== undefined)
  return { query, wantsCounts: counts === true, isPaged }
}

function statusesOf(text: string): JobStatus[] {
  return text.split(',').map((word) => {
    const status = word.trim() as JobStatus
    if (jobStatuses.includes(status)) return status
    const permitted = jobStatuses.map((one) => `'${one}'`).join(', ')
    throw new InvalidRequest([
      {
        loc: ['query', 'status'],
        msg: `value is not a valid enumeration member; permitted: ${permitted}`,
        type: 'type_error.enum'
      }
    ])
  })
}
