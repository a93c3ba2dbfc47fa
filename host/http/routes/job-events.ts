import type { ServerResponse } from 'node:http'
import { isFinal, type Job } from '../../jobs/job.ts'
import type { JobEvent } from '../../jobs/job-feeds.ts'
import type { JobService } from '../../jobs/job-service.ts'
import { jobFacts, viewJob } from '../../jobs/job-view.ts'
import { EventStream, lastEventId } from '../event-stream.ts'
import type { RouteCall } from '../handle.ts'

/** A result of more characters is not sent as an event; the event says where it is. */
const LONGEST_RESULT = 256 * 1024

/**
 * Follows a job as server-sent events: `status` as it stands and whenever it changes, `progress` and
 * `log` as the expert reports them, `result` at the end, and then the stream ends. A client that comes
 * back with `Last-Event-ID` gets what it missed, and 204 (do not come back) when it has seen the result.
 *
 * @param find - answers the job, or throws when there is none to follow
 */
export async function followJob(
  call: RouteCall,
  jobs: JobService,
  id: string,
  find: () => Promise<Job>
): Promise<void> {
  const { response, raw } = call
  const early: Array<JobEvent | null> = []
  let stream: EventStream | null = null
  const take = (event: JobEvent | null) => {
    if (stream === null) early.push(event)
    else if (event === null) stream.end()
    else if (event.type === 'end') void sendEnd(stream, call, jobs, id)
    else stream.send(event)
  }
  // Listening before it looks, so that nothing happens in between.
  const stopListening = await jobs.follow(id, take)
  let job: Job
  try {
    job = await find()
  } catch (error) {
    stopListening()
    throw error
  }
  const seen = lastEventId(raw.headers)
  if (seen === endIdOf(job)) {
    stopListening()
    endWithout(response)
    return
  }
  const missed = await jobs.missedEvents(id, seen ?? 0)
  stream = new EventStream(response, stopListening)
  if (!isFinal(job.status)) stream.send({ id: null, type: 'status', data: jobFacts(job) })
  const earliest = early.find((event) => event !== null)?.id ?? Number.POSITIVE_INFINITY
  for (const event of missed) {
    if (event.id < earliest) stream.send(event)
  }
  if (isFinal(job.status)) await sendEnd(stream, call, jobs, id)
  else for (const event of early) take(event)
}

async function sendEnd(
  stream: EventStream,
  call: RouteCall,
  jobs: JobService,
  id: string
): Promise<void> {
  const job = await jobs.get(id).catch(() => undefined)
  if (job !== undefined) {
    stream.send({ id: null, type: 'status', data: jobFacts(job) })
    const isLong = job.end?.ok === true && job.end.text.length > LONGEST_RESULT
    const place = `${call.raw.base ?? ''}/jobs/${id}/result`
    const data = isLong ? { ...jobFacts(job), location: place } : viewJob(job)
    stream.send({ id: endIdOf(job), type: 'result', data })
  }
  stream.end()
}

/** The same whenever it is asked for: who has seen it has seen the result. */
function endIdOf(job: Job): number {
  return job.finishedAt === null
    ? Number.POSITIVE_INFINITY
    : Math.ceil(job.finishedAt * 1000) + 1000
}

function endWithout(response: ServerResponse): void {
  response.statusCode = 204
  response.end()
}
