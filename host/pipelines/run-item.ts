import { randomUUID } from 'node:crypto'
import type { ItemChange, ItemClaim, ItemRun } from '../documents/pipeline-store.ts'
import { type DocumentFields, isObject } from '../documents/stored-document.ts'
import { HostError } from '../errors.ts'
import { parseAnswer } from '../jobs/parse-answer.ts'
import { beginWork, isTakenBack, type WorkOutcome } from '../jobs/work.ts'
import type { Expert } from '../registry/expert.ts'
import type { WireError } from '../runtime/messages.ts'
import type { RunnableTask } from './plan.ts'

type RunMark = Pick<ItemRun, 'expert_version' | 'model_sha256'>

/** An item that its expert has. */
export interface ItemWork {
  /** What becomes of the item. Never rejects. */
  change: Promise<ItemChange>
  /** Ends the run for `error`, wherever it is: unless it ends by itself first, the item waits again. */
  cancel(error: WireError): void
}

/** Behind what somebody waits for. */
const PRIORITY = -1
/** First wait of an item whose process was lost, milliseconds; each further one is four times as long. */
const BACK_OFF_MS = 500
const MOST_BACK_OFF_MS = 60_000
/** An item that is lost with its host each time is begun again without an end, nearly. */
const MOST_CLAIMS = 20
const LONGEST_ERROR = 2000

/**
 * Has an expert process one movie. The item ends as the expert answers; it waits again when its process was lost under it or
 * the host took the run back.
 */
export function runItem(claim: ItemClaim, step: RunnableTask, expert: Expert): ItemWork {
  const startedAt = Date.now()
  let mark = markOf(expert)
  let begunAt: number | null = null
  let canceled: WireError | null = null
  const end = (error: string | null, ran = mark): ItemChange => ({
    claim,
    state: error === null ? 'success' : 'fail',
    error: error === null ? null : error.slice(0, LONGEST_ERROR),
    startedAt: begunAt ?? startedAt,
    finishedAt: Date.now(),
    ran: { expert: expert.name, ...ran, extra_params: step.extraParams }
  })
  const waitAgain = (attempts: number, notBefore: number | null): ItemChange => {
    return { claim, state: 'ready', attempts, notBefore }
  }
  const changeOf = (outcome: WorkOutcome): ItemChange => {
    const { unfinished } = outcome
    // As if it had not been begun.
    if (!outcome.ok && outcome.error.code === canceled?.code) {
      return waitAgain(claim.attempts - 1, null)
    }
    if (unfinished === null) return end(...endOf(outcome))
    if (isTakenBack(unfinished)) return waitAgain(claim.attempts - 1, null)
    if (claim.attempts < step.attempts) {
      const wait = Math.min(MOST_BACK_OFF_MS, BACK_OFF_MS * 4 ** (claim.attempts - 1))
      return waitAgain(claim.attempts, Date.now() + wait)
    }
    return end(
      `it was begun ${claim.attempts} times and lost each time, the last: ${unfinished.message}`
    )
  }
  const settled = (change: ItemChange): ItemWork => {
    return { change: Promise.resolve(change), cancel: () => {} }
  }
  if (claim.attempts > Math.max(MOST_CLAIMS, step.attempts)) {
    return settled(end(`it was begun ${claim.attempts - 1} times and its host ended each time`))
  }
  try {
    const params = paramsOf(step, expert)
    if (typeof params === 'string') return settled(end(params))
    const work = beginWork({
      jobId: randomUUID(),
      expert,
      kind: 'process',
      bodies: [
        JSON.stringify({
          movie_id: claim.movie,
          extra_params: params,
          pipeline_id: claim.pipeline,
          task: claim.task
        })
      ],
      isList: false,
      priority: PRIORITY,
      timeoutMs: step.timeoutMs,
      admitted: true,
      // What may have killed a process takes nothing else along.
      alone: claim.attempts > 1,
      onStart: () => {
        begunAt ??= Date.now()
        mark = markOf(expert)
      }
    })
    const cancel = (error: WireError) => {
      canceled = error
      work.cancel(error)
    }
    return { change: work.outcome.then(changeOf), cancel }
  } catch (error) {
    if (!(error instanceof HostError)) return settled(end((error as Error).message))
    // Taken out of service after the claim.
    return settled(waitAgain(claim.attempts - 1, null))
  }
}

/** The parameters as the expert's own schema makes them, defaults filled in; or what does not fit, in words. */
function paramsOf(step: RunnableTask, { contract }: Expert): DocumentFields | null | string {
  const check = contract?.checkExtraParams ?? null
  if (check === null) return step.extraParams
  const { value, issues } = check(step.extraParams ?? {}, ['extra_params'])
  if (issues === undefined) return value as DocumentFields
  return issues.map(({ loc, msg }) => `${loc.join('.')}: ${msg}`).join('; ')
}

/** The version that serves now: what ran, where its process did not say so itself. */
function markOf({ version, modelSha256 }: Expert): RunMark {
  return { expert_version: version, model_sha256: modelSha256 }
}

/** Why an item failed, or null when it did not; and what ran. */
function endOf(outcome: WorkOutcome): [error: string | null, ran?: RunMark] {
  if (!outcome.ok) return [outcome.error.message]
  const answer = parseAnswer(outcome.text)
  if (!isObject(answer)) return ['the expert did not say how it ended']
  const { ok, error, expert_version: version, model_sha256: hash } = answer
  const ran = { expert_version: textOrNull(version), model_sha256: textOrNull(hash) }
  if (ok === true) return [null, ran]
  const said = textOrNull(error) ?? ''
  return [said === '' ? 'the expert said that it failed, and not why' : said, ran]
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}
