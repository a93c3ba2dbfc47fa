import { unlink } from 'node:fs/promises'
import type { Expert } from '../registry/expert.ts'
import { misfitOf } from '../registry/misfit.ts'
import type { Run, RunLogLine, RunOutcome } from '../runtime/expert-instance.ts'
import { type CallKind, isRouteKind, type WireError } from '../runtime/messages.ts'
import { wireError } from '../runtime/wire-error.ts'
import { type ItemOutcome, runList } from './run-list.ts'

/** What an expert is to do, and who hears of it. */
export interface WorkOrder {
  jobId: string
  expert: Expert
  kind: CallKind
  /** Parameters as JSON: one text, or one for each item of a list. */
  bodies: string[]
  isList: boolean
  priority: number
  /** How long one run may take; null for the expert's own setting alone. */
  timeoutMs: number | null
  /**
   * Accepted earlier: it is not bounded by the expert's queue, and is checked against the contract of
   * the version that serves now.
   */
  admitted?: boolean
  /** Nothing else may run in its process. */
  alone?: boolean
  /** Answers to items of the list that need not run again. */
  answered?: Map<number, string>
  onStart?: () => void
  onProgress?: ((fraction: number, note: string | null) => void) | undefined
  onLog?: ((line: RunLogLine) => void) | undefined
  /** An item has its answer for good. */
  onItem?: (place: number, text: string) => void
}

/** Work that an expert has taken. */
export interface Work {
  outcome: Promise<WorkOutcome>
  /** Ends it for `error`, wherever it is. */
  cancel(error: WireError): void
}

/** How work ended; `unfinished` says why some items of a list, or all, could be run again. */
export type WorkOutcome = RunOutcome & { unfinished: WireError | null; fileError?: string }

/** Errors that say nothing of the call itself: the host took its process away. */
const TAKEN_BACK = new Set([
  'HOST_EXPERT_DRAINED',
  'HOST_EXPERT_NOT_READY',
  'HOST_EXPERT_ABSENT',
  'HOST_QUEUE_FULL'
])
const LOST = 'HOST_EXPERT_EXITED'

/** True when the host took the run back before its end: it was no attempt. */
export function isTakenBack(error: WireError): boolean {
  return TAKEN_BACK.has(error.code)
}

function mayRunAgain(error: WireError): boolean {
  return isTakenBack(error) || error.code === LOST
}

/** Sends work to its expert. @throws HostError when the expert does not take it */
export function beginWork(order: WorkOrder): Work {
  const { expert, kind, bodies } = order
  if (!order.isList) return beginRun(order, kind, bodies[0] as string)
  if (expert.contract?.predictsLists === true && bodies.length > 0) {
    return beginRun(order, 'images', `[${bodies.join(',')}]`)
  }
  return beginItems(order)
}

/** All of it in one run. */
function beginRun(order: WorkOrder, kind: CallKind, body: string): Work {
  const { expert, admitted = false } = order
  const run = makeRun(order, kind, body)
  run.onProgress = order.onProgress
  const outcome = new Promise<WorkOutcome>((resolve) => {
    run.done = (ended) => {
      expert.countEnd(run, ended)
      resolve(asWhole(isRouteKind(kind) ? ended : asPrediction(ended)))
    }
  })
  submit(order, run, !admitted)
  return { outcome, cancel: (error) => expert.cancel(run, error) }
}

/** A run for each item of a list. */
function beginItems(order: WorkOrder): Work {
  const { expert, bodies, admitted = false } = order
  const runs = new Set<Run>()
  let canceled: WireError | null = null
  const runItem = (body: string, first: boolean) => {
    if (canceled !== null) return Promise.resolve<RunOutcome>({ ok: false, error: canceled })
    const run = makeRun(order, 'image', body)
    runs.add(run)
    const outcome = new Promise<RunOutcome>((resolve) => {
      run.done = (ended) => {
        runs.delete(run)
        expert.countEnd(run, ended)
        resolve(asPrediction(ended))
      }
    })
    submit(order, run, first && !admitted)
    return outcome
  }
  const outcome = runList({
    bodies,
    answered: order.answered ?? new Map(),
    parallel: expert.slots,
    runItem,
    onItem: (place, item) => {
      if (item.ok || !mayRunAgain(item.error)) order.onItem?.(place, textOf(item))
    },
    onProgress: (fraction) => order.onProgress?.(fraction, null)
  }).then((items) => (canceled === null ? asList(items) : asWhole({ ok: false, error: canceled })))
  const cancel = (error: WireError) => {
    canceled = error
    for (const run of [...runs]) expert.cancel(run, error)
  }
  return { outcome, cancel }
}

/** Never in a promise's executor: a refusal is thrown to who begins the work. */
function submit({ expert, admitted = false }: WorkOrder, run: Run, bounded: boolean): void {
  const misfit = admitted ? run.refit?.() : null
  if (misfit) run.done({ ok: false, error: misfit })
  else expert.submit(run, { bounded, priority: run.priority })
}

/** The predict routes answer JSON: a file is for routes of the expert's own. */
function asPrediction(outcome: RunOutcome): RunOutcome {
  const file = outcome.ok ? outcome.head?.file : null
  if (!file) return outcome
  if (file.owned) void unlink(file.path).catch(() => {})
  const message = 'A prediction answered bytes or a file; it has to be JSON'
  return {
    ok: false,
    error: { code: 'HOST_EXPERT_FAILED', message, statusCode: 500, exposed: false }
  }
}

function asWhole(outcome: RunOutcome): WorkOutcome {
  if (outcome.ok) return { ok: true, text: outcome.text, head: outcome.head, unfinished: null }
  const { error } = outcome
  return { ok: false, error, unfinished: mayRunAgain(error) ? error : null }
}

function asList(items: ItemOutcome[]): WorkOutcome {
  const unfinished = items.flatMap((item) =>
    item.ok || !mayRunAgain(item.error) ? [] : item.error
  )
  const lost = unfinished.find((error) => error.code === LOST)
  return {
    ok: true,
    text: `[${items.map(textOf).join(',')}]`,
    head: null,
    unfinished: lost ?? unfinished[0] ?? null
  }
}

/** An item's answer, or its own error in its place. */
function textOf(item: ItemOutcome): string {
  if (item.ok) return item.text
  return JSON.stringify({ result: null, error: item.error.message, code: item.error.code })
}

/** The smaller of two limits; null is none. */
function shorter(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.min(a, b)
}

function makeRun(order: WorkOrder, kind: CallKind, body: string): Run {
  const { expert, jobId } = order
  // The expert's own limit is that of one movie or picture, not of all that a batch has.
  const own = kind === 'batch' || kind === 'task' ? null : expert.settings.timeout_ms
  return {
    kind,
    jobId,
    body,
    // Also behind what was claimed ahead of it and waits in the host.
    priority: order.alone === true ? Number.NEGATIVE_INFINITY : order.priority,
    timeoutMs: shorter(order.timeoutMs, own ?? null),
    alone: order.alone === true,
    reruns: 0,
    resends: 0,
    askedAt: undefined,
    begunAt: undefined,
    endedAt: undefined,
    onStart: order.onStart,
    onLog: order.onLog,
    onProgress: undefined,
    refit: () => {
      const { contract } = expert
      const why = contract === null ? null : misfitOf(contract, kind, body)
      if (contract === null || why === null) return null
      return wireError('HOST_EXPERT_CHANGED', [expert.name, contract.version, why])
    },
    done: () => {}
  }
}
