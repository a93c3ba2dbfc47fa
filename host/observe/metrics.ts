import { Registry } from 'prom-client'
import { ExpertTally } from './expert-tally.ts'
import { Exposition, type Sample } from './exposition.ts'
import type { ExpertReading, HostReadings } from './host-readings.ts'
import type {
  CallObserver,
  CallOutcome,
  ItemObserver,
  JobObserver,
  ProcessObserver,
  WebhookObserver
} from './observers.ts'
import { processMetrics } from './process-metrics.ts'
import { answerClasses, RequestTally, RouteTallies } from './request-tally.ts'

export interface MetricsOptions {
  version: string
  /** Every state in which an expert can be. */
  expertStates: readonly string[]
}

/**
 * What a host counts, and how it is shown to who scrapes it; `docs/metrics.md` explains each metric.
 *
 * Counting costs a call no more than a few additions: names and labels are put together when they are asked for. All
 * of an expert's series go when it is stopped.
 */
export class Metrics
  implements CallObserver, ProcessObserver, JobObserver, ItemObserver, WebhookObserver
{
  readonly requests = new RequestTally()
  readonly #hostRoutes = new RouteTallies()
  readonly #experts = new Map<string, ExpertTally>()
  #webhookTries = { delivered: 0, failed: 0 }
  #webhooksGivenUp = 0
  readonly #process = processMetrics()
  readonly #exposition = new Exposition()
  #readings: HostReadings | null = null

  constructor(options: MetricsOptions) {
    this.#defineHost(options)
    this.#defineRequests()
    this.#defineExperts(options)
    this.#defineCalls()
    this.#defineJobs()
    this.#defineWebhooks()
  }

  callRejected(expert: string): void {
    this.#of(expert).calls.rejected++
  }

  callEnded(
    expert: string,
    outcome: CallOutcome,
    waitedMs: number | null,
    ranMs: number | null
  ): void {
    this.#of(expert).callEnded(outcome, waitedMs, ranMs)
  }

  processRestarted(expert: string): void {
    this.#of(expert).restarts++
  }

  jobAccepted(expert: string): void {
    this.#of(expert).jobsAccepted++
  }

  jobRunLost(expert: string): void {
    this.#of(expert).jobRunsLost++
  }

  jobEnded(expert: string, status: 'succeeded' | 'failed' | 'canceled', tookMs: number): void {
    const tally = this.#of(expert)
    tally.jobsEnded[status]++
    tally.jobDurations.add(tookMs)
  }

  itemEnded(expert: string, state: 'success' | 'fail'): void {
    this.#of(expert).itemsEnded[state]++
  }

  webhookTried(outcome: 'delivered' | 'failed'): void {
    this.#webhookTries[outcome]++
  }

  webhookGivenUp(): void {
    this.#webhooksGivenUp++
  }

  /** The routes of the host's own application. */
  get hostRoutes(): RouteTallies {
    return this.#hostRoutes
  }

  /** For the routes of a version of an expert that may come to serve; what was counted goes on. */
  routesFor(expert: string): RouteTallies {
    return new RouteTallies(this.#experts.get(expert)?.routes)
  }

  /** Those of the version that serves from now on; routes that it has no more are forgotten. */
  useRoutes(expert: string, routes: RouteTallies): void {
    routes.settle()
    this.#of(expert).routes = routes
  }

  /** It is stopped: when it is loaded again, it counts from nothing. */
  forget(expert: string): void {
    this.#experts.delete(expert)
  }

  /** The type of `show`. */
  get contentType(): string {
    return this.#exposition.registry.contentType
  }

  /** Everything in the text format of Prometheus. */
  show(readings: HostReadings): Promise<string> {
    this.#readings = readings
    for (const { name, processes } of readings.experts) this.#of(name).readCpu(processes)
    // Every metric is read in this very step: another scrape cannot come between.
    return Registry.merge([this.#process, this.#exposition.registry]).metrics()
  }

  #of(expert: string): ExpertTally {
    let tally = this.#experts.get(expert)
    if (tally === undefined) {
      tally = new ExpertTally()
      this.#experts.set(expert, tally)
    }
    return tally
  }

  get #now(): HostReadings {
    return this.#readings as HostReadings
  }

  #defineHost({ version }: MetricsOptions): void {
    const metrics = this.#exposition
    metrics.gauge({
      name: 'nebula_build_info',
      help: 'Always 1; what runs.',
      read: () => [[{ version, node: process.version }, 1]]
    })
    metrics.gauge({
      name: 'nebula_host_ready',
      help: '1 when a prediction sent now to any required expert would be run.',
      read: () => [[{}, Number(this.#now.isReady)]]
    })
    metrics.gauge({
      name: 'nebula_store_up',
      help: '1 when the store works.',
      read: () =>
        Object.entries(this.#now.stores).map(([store, works]) => [{ store }, Number(works)])
    })
  }

  #defineRequests(): void {
    const metrics = this.#exposition
    metrics.counter({
      name: 'nebula_http_requests_total',
      help: 'HTTP requests that have ended, by the class of their status.',
      read: () =>
        this.#routes().flatMap(([labels, { answers }]) =>
          answerClasses.flatMap((status, place): Sample[] => {
            const count = answers[place] as number
            return count === 0 ? [] : [[{ ...labels, status }, count]]
          })
        )
    })
    metrics.histogram({
      name: 'nebula_http_request_duration_seconds',
      help: 'From the head of an HTTP request to the end of its answer.',
      read: () => this.#routes().map(([labels, { durations }]) => [labels, durations])
    })
    metrics.gauge({
      name: 'nebula_http_requests_in_progress',
      help: 'HTTP requests that have not ended.',
      read: () => [[{}, this.requests.inProgress]]
    })
  }

  /** Those that have been asked for, with their labels; the host's own have no expert. */
  #routes() {
    const shown = this.#now.experts.map(({ name }): [string, RouteTallies] => [
      name,
      this.#of(name).routes
    ])
    const all: Array<[string, RouteTallies]> = [
      ['', this.#hostRoutes],
      ['', this.requests.unrouted],
      ...shown
    ]
    return all.flatMap(([expert, routes]) =>
      [...routes.all.values()]
        .filter(({ durations }) => durations.count > 0)
        .map((tally) => {
          const { route, method } = tally
          return [{ expert, route, method }, tally] as const
        })
    )
  }

  #defineExperts({ expertStates }: MetricsOptions): void {
    const metrics = this.#exposition
    metrics.gauge({
      name: 'nebula_expert_info',
      help: 'Always 1; the version that serves.',
      read: () =>
        this.#now.experts.map(({ name, version }) => [{ expert: name, version: version ?? '' }, 1])
    })
    metrics.gauge({
      name: 'nebula_expert_state',
      help: '1 for the state in which the expert is, 0 for the others.',
      read: () =>
        this.#now.experts.flatMap(({ name, state: now }) =>
          expertStates.map((state): Sample => [{ expert: name, state }, Number(state === now)])
        )
    })
    this.#gaugeOfExperts('nebula_expert_processes', 'Processes that take calls.', (expert) => {
      return expert.instances
    })
    this.#gaugeOfExperts('nebula_expert_slots', 'Calls that can run at once.', (expert) => {
      return expert.slots
    })
    metrics.counter({
      name: 'nebula_expert_restarts_total',
      help: 'Starts after the first, those that failed included.',
      read: () => this.#tallies().map(([expert, { restarts }]) => [{ expert }, restarts])
    })
    this.#gaugeOfExperts(
      'nebula_expert_resident_memory_bytes',
      'Resident memory of all its processes.',
      ({ processes }) => {
        const known = processes.flatMap(({ memoryBytes }) => memoryBytes ?? [])
        return known.length === 0 ? null : known.reduce((sum, bytes) => sum + bytes)
      }
    )
    metrics.counter({
      name: 'nebula_expert_cpu_seconds_total',
      help: 'CPU time of its processes, as far as it was seen by scrapes.',
      read: () =>
        this.#tallies().flatMap(([expert, { cpuSeconds }]): Sample[] =>
          cpuSeconds === null ? [] : [[{ expert }, cpuSeconds]]
        )
    })
  }

  #defineCalls(): void {
    const metrics = this.#exposition
    metrics.counter({
      name: 'nebula_calls_total',
      help: 'Calls of the expert that have ended, by how.',
      read: () =>
        this.#tallies().flatMap(([expert, { calls }]) => byKey({ expert }, 'outcome', calls))
    })
    metrics.histogram({
      name: 'nebula_call_duration_seconds',
      help: 'From when a call began in the process of the expert to its end.',
      read: () => this.#tallies().map(([expert, { callRuns }]) => [{ expert }, callRuns])
    })
    metrics.histogram({
      name: 'nebula_call_wait_seconds',
      help: 'From when the expert took a call to when it began.',
      read: () => this.#tallies().map(([expert, { callWaits }]) => [{ expert }, callWaits])
    })
    this.#gaugeOfExperts('nebula_calls_running', 'Calls that run.', ({ running }) => running)
    this.#gaugeOfExperts('nebula_calls_waiting', 'Calls that have not begun.', ({ waiting }) => {
      return waiting
    })
    this.#gaugeOfExperts('nebula_calls_waiting_limit', 'Calls that may wait.', (expert) => {
      return expert.maxQueueSize
    })
  }

  #defineJobs(): void {
    const metrics = this.#exposition
    metrics.counter({
      name: 'nebula_jobs_accepted_total',
      help: 'Jobs that this host has accepted.',
      read: () => this.#tallies().map(([expert, { jobsAccepted }]) => [{ expert }, jobsAccepted])
    })
    metrics.counter({
      name: 'nebula_jobs_ended_total',
      help: 'Accepted jobs whose end this host has written, by how they ended.',
      read: () =>
        this.#tallies().flatMap(([expert, { jobsEnded }]) => byKey({ expert }, 'status', jobsEnded))
    })
    metrics.counter({
      name: 'nebula_job_runs_lost_total',
      help: 'Runs of accepted jobs that were lost with their process.',
      read: () => this.#tallies().map(([expert, { jobRunsLost }]) => [{ expert }, jobRunsLost])
    })
    metrics.histogram({
      name: 'nebula_job_duration_seconds',
      help: 'From when a job was accepted to its end.',
      read: () => this.#tallies().map(([expert, { jobDurations }]) => [{ expert }, jobDurations])
    })
    metrics.gauge({
      name: 'nebula_jobs_waiting',
      help: 'Accepted jobs in the line, for whichever host that shares it.',
      read: () => this.#standing(this.#now.jobs.waiting)
    })
    metrics.gauge({
      name: 'nebula_jobs_running',
      help: 'Accepted jobs that this host has taken out of the line.',
      read: () => this.#standing(this.#now.jobs.running)
    })
    metrics.gauge({
      name: 'nebula_pipelines_running',
      help: 'Pipelines on which this host works.',
      read: () => [[{}, this.#now.pipelines.count]]
    })
    for (const state of ['waiting', 'running'] as const) {
      metrics.gauge({
        name: `nebula_pipeline_items_${state}`,
        help: `Items of those pipelines that ${state === 'waiting' ? 'could run now' : 'run here'}.`,
        read: () => {
          const items = [...this.#now.pipelines.items]
          return this.#standing(new Map(items.map(([expert, counts]) => [expert, counts[state]])))
        }
      })
    }
    metrics.counter({
      name: 'nebula_pipeline_items_ended_total',
      help: 'Items of pipelines whose end this host has written, by how they ended.',
      read: () =>
        this.#tallies().flatMap(([expert, { itemsEnded }]) =>
          byKey({ expert }, 'state', itemsEnded)
        )
    })
  }

  #defineWebhooks(): void {
    const metrics = this.#exposition
    const waiting = (of: 'count' | 'bytes') => (): Sample[] => {
      const now = this.#now.webhooks
      return now === null ? [] : [[{}, now[of]]]
    }
    metrics.gauge({
      name: 'nebula_webhooks_waiting',
      help: 'Webhooks that wait to be delivered.',
      read: waiting('count')
    })
    metrics.gauge({
      name: 'nebula_webhooks_waiting_bytes',
      help: 'What the store keeps for them.',
      read: waiting('bytes')
    })
    metrics.counter({
      name: 'nebula_webhook_tries_total',
      help: 'Tries to deliver a webhook.',
      read: () => byKey({}, 'outcome', this.#webhookTries)
    })
    metrics.counter({
      name: 'nebula_webhooks_given_up_total',
      help: 'Webhooks whose last try failed.',
      read: () => [[{}, this.#webhooksGivenUp]]
    })
  }

  /** What was counted for those that are shown. */
  #tallies(): Array<[string, ExpertTally]> {
    return this.#now.experts.map(({ name }) => [name, this.#of(name)])
  }

  /** Of those that are shown, and of any other that has some: its jobs wait for its return. */
  #standing(counts: Map<string, number> | null): Sample[] {
    if (counts === null) return []
    const some = [...counts.keys()].filter((name) => counts.get(name) !== 0)
    const names = new Set([...this.#now.experts.map(({ name }) => name), ...some])
    return [...names].map((expert) => [{ expert }, counts.get(expert) ?? 0])
  }

  #gaugeOfExperts(name: string, help: string, of: (expert: ExpertReading) => number | null): void {
    this.#exposition.gauge({
      name,
      help,
      read: () =>
        this.#now.experts.flatMap((expert): Sample[] => {
          const value = of(expert)
          return value === null ? [] : [[{ expert: expert.name }, value]]
        })
    })
  }
}

/** A series for each key. */
function byKey(labels: Record<string, string>, key: string, counts: Record<string, number>) {
  return Object.entries(counts).map(([word, count]): Sample => [{ ...labels, [key]: word }, count])
}
