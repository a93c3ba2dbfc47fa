import { type Metric, Registry } from 'prom-client'
import type { DurationTally } from './duration-tally.ts'

type Labels = Record<string, string>
/** A value of one series. */
export type Sample = [labels: Labels, value: number]

interface Definition<S> {
  name: string
  help: string
  /** What it has now; what is left out has no series. */
  read: () => S[]
}

interface Series {
  metricName?: string
  labels: Labels
  value: number
}

/**
 * The metrics of one host as Prometheus reads them. Nothing is kept here: all values are read when they are asked for. So
 * they are none of the library's classes, which would count what has been counted already; its registry only writes them down.
 */
export class Exposition {
  readonly registry = new Registry()

  gauge({ name, help, read }: Definition<Sample>): void {
    this.#add({ name, help, type: 'gauge' }, () =>
      read().map(([labels, value]) => ({ labels, value }))
    )
  }

  counter({ name, help, read }: Definition<Sample>): void {
    this.#add({ name, help, type: 'counter' }, () =>
      read().map(([labels, value]) => ({ labels, value }))
    )
  }

  histogram({ name, help, read }: Definition<[labels: Labels, tally: DurationTally]>): void {
    this.#add({ name, help, type: 'histogram' }, () =>
      read().flatMap(([labels, tally]) => seriesOf(name, labels, tally))
    )
  }

  /** All that a registry asks of a metric is its name and `get`. */
  #add(about: { name: string; help: string; type: string }, values: () => Series[]): void {
    const metric = {
      name: about.name,
      get: async () => ({ ...about, aggregator: 'sum', values: values() })
    }
    this.registry.registerMetric(metric as unknown as Metric)
  }
}

/** Buckets count what is in those before them too. */
function seriesOf(name: string, labels: Labels, { bounds, counts, sum }: DurationTally): Series[] {
  let total = 0
  const buckets = [...counts].map((count, place) => {
    total += count
    const le = String(bounds[place] ?? '+Inf')
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: total }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total }
  ]
}
