import { DurationTally } from './duration-tally.ts'
import type { ProcessReading } from './host-readings.ts'
import { type CallOutcome, callOutcomes } from './observers.ts'
import { CALL_BOUNDS, RouteTallies } from './request-tally.ts'

/** Upper bounds, seconds. */
const JOB_BOUNDS = [0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43_200, 86_400]

/** What has been counted for one expert since it was loaded. */
export class ExpertTally {
  readonly calls = zeros(callOutcomes)
  readonly callWaits = new DurationTally(CALL_BOUNDS)
  readonly callRuns = new DurationTally(CALL_BOUNDS)
  restarts = 0
  jobsAccepted = 0
  jobRunsLost = 0
  readonly jobsEnded = zeros(['succeeded', 'failed', 'canceled'])
  readonly jobDurations = new DurationTally(JOB_BOUNDS)
  readonly itemsEnded = zeros(['success', 'fail'])
  routes = new RouteTallies()
  /** Of its processes, as far as it was read; null where the system does not tell. */
  cpuSeconds: number | null = null
  #cpuByProcess = new Map<string, number>()

  callEnded(outcome: CallOutcome, waitedMs: number | null, ranMs: number | null): void {
    this.calls[outcome]++
    if (waitedMs !== null) this.callWaits.add(waitedMs)
    if (ranMs !== null) this.callRuns.add(ranMs)
  }

  /** Adds what processes have used since they were read last: their sum alone would fall with each that ends. */
  readCpu(processes: ProcessReading[]): void {
    const seen = new Map<string, number>()
    for (const { id, cpuSeconds } of processes) {
      if (cpuSeconds === null) continue
      seen.set(id, cpuSeconds)
      this.cpuSeconds = (this.cpuSeconds ?? 0) + cpuSeconds - (this.#cpuByProcess.get(id) ?? 0)
    }
    this.#cpuByProcess = seen
  }
}

function zeros<K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>
}
