import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { hostError } from '../../errors.ts'
import { type Job, lastChange } from '../../jobs/job.ts'
import { viewJob } from '../../jobs/job-view.ts'
import { answers, ref } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import { JobsQuery, readJobsQuery } from '../job-query.ts'
import { sendAccepted } from '../prefer.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendReply, sendText, sendValue } from '../send.ts'
import { followJob } from './job-events.ts'

const JobRecord = Type.Record(Type.String(), Type.Unknown())
const JobId = Type.Object({ job_id: Type.String() })

/** What the job routes need; with an expert they show its jobs alone. */
export type JobRouteContext = Pick<ExpertRouteContext, 'jobs'> & {
  expert: { name: string } | null
}

/** `/jobs`, and what can be asked of one job or done to it. */
export function jobRoutes(app: FastifyInstance, context: JobRouteContext): void {
  const { jobs, expert } = context
  const documented = (id: string, summary: string, description: string, response: object) => ({
    schema: {
      operationId: id,
      summary,
      description,
      tags: ['tasks'],
      params: JobId,
      response: response as ReturnType<typeof answers>
    }
  })

  app.get(
    '/jobs',
    {
      schema: {
        operationId: 'get_tasks_jobs_get',
        summary: 'Get Jobs',
        tags: ['tasks'],
        querystring: JobsQuery,
        response: answers(
          Type.Object({
            jobs: Type.Array(JobRecord),
            next: Type.Optional(Type.Union([Type.String(), Type.Null()])),
            counts: Type.Optional(Type.Record(Type.String(), Type.Integer()))
          })
        )
      }
    },
    handle(async ({ response, query: given }) => {
      const { query, wantsCounts, isPaged } = readJobsQuery(given, expert?.name)
      const list = await jobs.list(query)
      const before = list[0] === undefined ? null : lastChange(list[0])
      const older =
        isPaged && before !== null ? await jobs.list({ ...query, before, limit: 1 }) : []
      const next = older.length > 0 ? String(before) : null
      sendValue(response, 200, {
        jobs: list.map((job) => ({ jobId: job.id, ...viewJob(job) })),
        ...(isPaged && { next }),
        ...(wantsCounts && { counts: await jobs.count(query.expert) })
      })
    })
  )

  app.get(
    '/jobs/:job_id',
    documented(
      'get_tasks_jobs__job_id__get',
      'Get Job',
      'An object with one key, the id; an empty one when there is no such job.',
      answers(JobRecord)
    ),
    handle(async ({ response, params }) => {
      const job = await find(params.job_id as string)
      sendValue(response, 200, job === undefined ? {} : { [job.id]: viewJob(job) })
    })
  )

  app.get(
    '/jobs/:job_id/result',
    documented(
      'get_job_result_jobs__job_id__result_get',
      'Get Job Result',
      'The answer as the expert gave it, once the job has succeeded.',
      answers({})
    ),
    handle(async (call) => {
      const { end, status } = await known(call.params.job_id as string)
      if (end === null) throw hostError('HOST_JOB_UNFINISHED', [status])
      if (!end.ok) throw hostError('HOST_JOB_FAILED', [end.message])
      if (end.head === null) sendText(call.response, 200, end.text)
      else if (!(await jobs.hasFileOf(end.head))) throw hostError('HOST_RESULT_ELSEWHERE', [])
      else await sendReply(call.response, end.text, end.head)
    })
  )

  app.get(
    '/jobs/:job_id/events',
    documented(
      'follow_job_jobs__job_id__events_get',
      'Follow Job',
      'Server-sent events: status, progress and log lines as they come, the result, and the end. Last-Event-ID resumes.',
      answers(Type.String(), 'Server-sent events')
    ),
    handle((call) => {
      const id = call.params.job_id as string
      return followJob(call, jobs, id, () => known(id))
    })
  )

  const cancel = handle(async ({ response, params }) => {
    const { id } = await known(params.job_id as string)
    const job = await jobs.cancel(id)
    sendValue(response, 200, { [job.id]: viewJob(job) })
  })
  const canceling = (operationId: string, summary: string) =>
    documented(
      operationId,
      summary,
      'Ends a job that has not ended: at once when it waits; one that runs gets its signal, and two seconds later its process ends.',
      answers(JobRecord)
    )
  app.post(
    '/jobs/:job_id/cancel',
    canceling('cancel_job_jobs__job_id__cancel_post', 'Cancel Job'),
    cancel
  )
  app.delete('/jobs/:job_id', canceling('delete_job_jobs__job_id__delete', 'Cancel Job'), cancel)

  app.post(
    '/jobs/:job_id/retry',
    documented(
      'retry_job_jobs__job_id__retry_post',
      'Retry Job',
      'Makes a new job of one that failed or was canceled.',
      { ...answers({}), 202: { description: 'Accepted', ...ref('AcceptedJob') } }
    ),
    handle(async (call) => {
      const { id } = await known(call.params.job_id as string)
      sendAccepted(call, await jobs.retry(id))
    })
  )

  async function find(id: string): Promise<Job | undefined> {
    const job = await jobs.get(id)
    return expert !== null && job?.expert !== expert.name ? undefined : job
  }

  async function known(id: string): Promise<Job> {
    const job = await find(id)
    if (job === undefined) throw hostError('HOST_JOB_UNKNOWN', [id.slice(0, 100)])
    return job
  }
}
