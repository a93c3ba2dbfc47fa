import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { hostError } from '../../errors.ts'
import { isFinal } from '../../jobs/job.ts'
import { viewJob } from '../../jobs/job-view.ts'
import { answers } from '../documented-schemas.ts'
import { handle } from '../handle.ts'
import type { ExpertRouteContext } from '../route-context.ts'
import { sendText, sendValue } from '../send.ts'

const JobRecord = Type.Record(Type.String(), Type.Unknown())

/** What the job routes need; with an expert they show its jobs alone. */
export type JobRouteContext = Pick<ExpertRouteContext, 'jobs'> & {
  expert: { name: string } | null
}

/** `/jobs`, `/jobs/{id}` and `/jobs/{id}/result`. */
export function jobRoutes(app: FastifyInstance, context: JobRouteContext): void {
  const { jobs, expert } = context

  app.get(
    '/jobs',
    {
      schema: {
        operationId: 'get_tasks_jobs_get',
        summary: 'Get Jobs',
        tags: ['tasks'],
        response: answers(Type.Object({ jobs: Type.Array(JobRecord) }))
      }
    },
    handle(async ({ response }) => {
      const list = await jobs.list(expert?.name)
      sendValue(response, 200, { jobs: list.map((job) => ({ jobId: job.id, ...viewJob(job) })) })
    })
  )

  app.get(
    '/jobs/:job_id',
    {
      schema: {
        operationId: 'get_tasks_jobs__job_id__get',
        summary: 'Get Job',
        description: 'An object with one key, the id; an empty one when there is no such job.',
        tags: ['tasks'],
        params: Type.Object({ job_id: Type.String() }),
        response: answers(JobRecord)
      }
    },
    handle(async ({ response, params }) => {
      const job = await find(params.job_id as string)
      sendValue(response, 200, job === undefined ? {} : { [job.id]: viewJob(job) })
    })
  )

  app.get(
    '/jobs/:job_id/result',
    {
      schema: {
        operationId: 'get_job_result_jobs__job_id__result_get',
        summary: 'Get Job Result',
        description: 'The answer as the expert gave it, once the job has succeeded.',
        tags: ['tasks'],
        params: Type.Object({ job_id: Type.String() }),
        response: answers({})
      }
    },
    handle(async ({ response, params }) => {
      const id = params.job_id as string
      const job = await find(id)
      if (job === undefined) throw hostError('HOST_JOB_UNKNOWN', [id.slice(0, 100)])
      if (!isFinal(job.status)) throw hostError('HOST_JOB_UNFINISHED', [job.status])
      if (job.end?.ok !== true) throw hostError('HOST_JOB_FAILED', [job.end?.message ?? job.status])
      sendText(response, 200, job.end.text)
    })
  )

  async function find(id: string) {
    const job = await jobs.get(id)
    return expert !== null && job?.expert !== expert.name ? undefined : job
  }
}
