import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { hostError } from '../errors.ts'
import type { Answer, DurableRequest, JobRequest, WaitedRequest } from '../jobs/job-request.ts'
import type { JobService } from '../jobs/job-service.ts'
import { type AskedWebhook, checkWebhook } from './asked-webhook.ts'
import type { RouteCall } from './handle.ts'
import { InvalidRequest } from './invalid-request.ts'
import { preferencesOf, sendAccepted } from './prefer.ts'
import { sendRunError, sendValue } from './send.ts'

/** A checked request, and what its route makes of the ways to answer it. */
export interface AskedJob {
  request: JobRequest
  /** `is_async`: answer with the id at once. */
  isAsync: boolean
  /** How often it may be begun; for accepted jobs. */
  maxAttempts: number
  /** Who is told what becomes of it, or null; checked here. */
  webhook: AskedWebhook | null
  /** Of synchronous calls: keep a record from the start, and free what is held at the end. */
  waited: Pick<WaitedRequest, 'recorded' | 'onEnd' | 'upload'>
  /** What must be on disk before the job is: gives the parts of the request that it changes. */
  keep?: () => Promise<Partial<DurableRequest>>
  /** What two requests of one idempotency key must have in common; default: kind and parameters. */
  fingerprint?: () => Promise<string>
  send: (answer: Answer & { ok: true }) => void | Promise<void>
  /** Show the id beside an error also when the work is over. */
  showsJob: boolean
}

const LONGEST_KEY = 255

/**
 * Answers a request in the way its caller asked for: with the result, with the id of an accepted job
 * (`is_async`, `Prefer: respond-async`), or with whichever is there after `Prefer: wait=N`. What comes
 * with an `Idempotency-Key` or names a webhook is always accepted first: the same request later finds it, and what
 * is told of it is as durable as it is.
 */
export async function answerJob(call: RouteCall, jobs: JobService, asked: AskedJob): Promise<void> {
  const { respondAsync, waitMs } = preferencesOf(call.raw)
  const key = idempotencyKeyOf(call.raw)
  const isAsync = asked.isAsync || respondAsync
  if (!isAsync && waitMs === null && key === null && asked.webhook === null) {
    const { expert, kind, bodies, isList = false, priority = 0, timeoutMs = null } = asked.request
    const { output = null } = asked.request
    const { recorded, onEnd, upload = null } = asked.waited
    const { onHangUp } = call
    const request: WaitedRequest = {
      expert,
      kind,
      bodies,
      isList,
      priority,
      timeoutMs,
      output,
      upload,
      recorded,
      onEnd,
      onHangUp
    }
    await sendAnswer(call, asked, await jobs.run(request))
    return
  }
  const webhook = asked.webhook === null ? null : await checkWebhook(asked.webhook, jobs)
  const fingerprint =
    key === null ? '' : await (asked.fingerprint?.() ?? fingerprintOf(asked.request))
  const kept = await asked.keep?.()
  const id = await jobs
    .submit({
      ...asked.request,
      maxAttempts: asked.maxAttempts,
      idempotency: key === null ? null : { key, fingerprint },
      webhook,
      ...kept
    })
    .catch((error) => {
      jobs.dropUpload(kept?.upload)
      throw error
    })
  // An earlier request of the same key has it: what came with this one is not needed.
  if (kept?.upload !== id) jobs.dropUpload(kept?.upload)
  const patience = Math.min(waitMs ?? jobs.maxWaitMs, jobs.maxWaitMs)
  if (respondAsync || waitMs !== null) {
    const applied = waitMs === null ? 'respond-async' : `wait=${patience / 1000}`
    call.response.setHeader('preference-applied', applied)
  }
  if (isAsync && waitMs === null) {
    if (respondAsync) sendAccepted(call, id)
    else sendValue(call.response, 200, { jobId: id })
    return
  }
  const answer = await jobs.waitFor(id, patience, call.onHangUp)
  if (answer !== null) await sendAnswer(call, asked, answer)
  else if (waitMs !== null) sendAccepted(call, id)
  else if (jobs.isStopping) throw hostError('HOST_STOPPING', [], { extra: { jobId: id } })
  else throw hostError('HOST_WAIT_TIMEOUT', [patience / 1000], { extra: { jobId: id } })
}

function sendAnswer(call: RouteCall, asked: AskedJob, answer: Answer): void | Promise<void> {
  if (answer.ok) return asked.send(answer)
  sendRunError(call, answer, asked.showsJob || answer.isLate)
}

/** @throws InvalidRequest for a key that is empty or too long */
function idempotencyKeyOf(request: IncomingMessage): string | null {
  const given = request.headers['idempotency-key']
  if (given === undefined) return null
  const key = (Array.isArray(given) ? given.join(',') : given).trim()
  if (key.length > 0 && key.length <= LONGEST_KEY) return key
  const loc = ['header', 'idempotency-key']
  throw new InvalidRequest([
    key === ''
      ? {
          loc,
          msg: 'ensure this value has at least 1 characters',
          type: 'value_error.any_str.min_length',
          ctx: { limit_value: 1 }
        }
      : {
          loc,
          msg: `ensure this value has at most ${LONGEST_KEY} characters`,
          type: 'value_error.any_str.max_length',
          ctx: { limit_value: LONGEST_KEY }
        }
  ])
}

function fingerprintOf(request: JobRequest): string {
  const shape = request.isList === true ? 'list' : 'one'
  const hash = createHash('sha256').update(`${request.kind} ${shape}`)
  for (const body of request.bodies) hash.update('\n').update(body)
  return hash.digest('hex')
}
