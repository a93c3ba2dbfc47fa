import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { HostConfig, RunMode } from '../config/host-config.ts'
import type { Host } from '../host.ts'
import { parseAnswer } from '../jobs/parse-answer.ts'
import { beginWork, type WorkOutcome } from '../jobs/work.ts'
import { createLog, type Logger } from '../observe/log.ts'
import type { Expert } from '../registry/expert.ts'
import { wireError } from '../runtime/wire-error.ts'
import { EXIT_CONFIG, EXIT_SOFTWARE } from './exit-codes.ts'
import { ProgressLine } from './progress-line.ts'
import { hostOrExit } from './start-own-host.ts'

/** How often at most progress is logged where there is no terminal, milliseconds. */
const LOG_EVERY_MS = 1000

/**
 * Runs the one selected expert once, without a port: its `runBatch`, or its `runPipelineTask` on the
 * pipeline that `PIPELINE_ID` names. The process ends with
 *
 * - 0 when it succeeded, or there was nothing to do
 * - 70 when it threw, or a movie or the task failed, or the expert cannot be started
 * - 78 when not one expert is selected, or `PIPELINE_ID` is missing
 * - the expert's own code, when it called `process.exit()`
 */
export async function runOnce(
  config: HostConfig,
  mode: Exclude<RunMode, 'service'>
): Promise<void> {
  const { log, flush } = createLog(config.logLevel)
  const stopping = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => stopping.abort())
  }
  const host = await hostOrExit({ config, log, listens: false }, flush)
  if (host === null) return
  let code = EXIT_SOFTWARE
  try {
    const expert = await theExpert(host, config, log, stopping.signal)
    code =
      typeof expert === 'number' ? expert : await run(expert, config, mode, log, stopping.signal)
  } catch (error) {
    log.fatal({ err: error }, `${mode} cannot be run: ${(error as Error).message}`)
  } finally {
    await host.stop()
    flush()
    // What an expert may have left open must not keep a batch from ending.
    process.exit(code)
  }
}

/** The expert that is to run, when it has started; else the exit code. */
async function theExpert(
  host: Host,
  config: HostConfig,
  log: Logger,
  stopping: AbortSignal
): Promise<Expert | number> {
  const expert = host.registry.rootExpert
  if (expert === null || expert.state === 'WAITING') {
    const names = host.registry.all.map(({ name }) => name)
    log.fatal(
      { experts: names },
      `EXPERT_RUN_MODE=${config.runMode} runs one expert: select one with EXPERT_PLUGINS (found: ${names.join(', ') || 'none'})`
    )
    return EXIT_CONFIG
  }
  await Promise.race([host.started, aborted(stopping)])
  if (expert.state === 'ACTIVE') return expert
  log.fatal(`expert ${expert.name} cannot run, it is ${expert.state}: ${expert.reason}`)
  return EXIT_SOFTWARE
}

async function run(
  expert: Expert,
  config: HostConfig,
  mode: Exclude<RunMode, 'service'>,
  log: Logger,
  stopping: AbortSignal
): Promise<number> {
  const pipelineId = config.pipelineId
  log.info({ expert: expert.name, pipeline: pipelineId }, `${mode} begins`)
  const progress = new ProgressLine(process.stderr)
  let loggedAt = Number.NEGATIVE_INFINITY
  const work = beginWork({
    jobId: randomUUID(),
    expert,
    kind: mode,
    bodies: [JSON.stringify({ pipeline_id: pipelineId })],
    isList: false,
    priority: 0,
    timeoutMs: null,
    onProgress: (fraction, note) => {
      if (progress.show(fraction, note ?? '')) return
      if (fraction < 1 && performance.now() - loggedAt < LOG_EVERY_MS) return
      loggedAt = performance.now()
      log.info({ fraction, note }, `${mode} goes on`)
    }
  })
  void aborted(stopping).then(() => work.cancel(wireError('HOST_CANCELED', [])))
  const outcome = await work.outcome
  progress.clear()
  return conclude(expert, mode, outcome, log)
}

function conclude(expert: Expert, mode: string, outcome: WorkOutcome, log: Logger): number {
  const fields = { expert: expert.name }
  if (!outcome.ok) {
    const { code, message, stack, exitCode } = outcome.error
    if (exitCode !== undefined) {
      log.info({ ...fields, exit_code: exitCode }, `${mode} ended by itself`)
      return exitCode
    }
    log.error({ ...fields, code, stack }, `${mode} failed: ${message}`)
    return code === 'EXP_PIPELINE_ID_MISSING' ? EXIT_CONFIG : EXIT_SOFTWARE
  }
  const answer = parseAnswer(outcome.text)
  if (hasFailed(answer)) {
    log.error({ ...fields, answer }, `${mode} failed`)
    return EXIT_SOFTWARE
  }
  log.info({ ...fields, answer }, `${mode} has ended`)
  return 0
}

/** Whether a run says of itself that not all went well, as `handlePipelineTask` does. */
function hasFailed(answer: unknown): boolean {
  if (typeof answer !== 'object' || answer === null) return false
  const { ok, failed, status, error } = answer as Record<string, unknown>
  const someFailed = Array.isArray(failed) ? failed.length > 0 : Number(failed) > 0
  const hasError = error !== undefined && error !== null
  return ok === false || someFailed || status === 'fail' || hasError
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return signal.aborted ? Promise.resolve() : once(signal, 'abort')
}
