import { Counter, Gauge, type Metric, Registry } from 'prom-client'
import type { DurationTally } from './duration-tally.ts'

type Labels = Record<string, string>
/** A value of one series. */
export type Sample = [labels: Labels, value: number]

interface Definition<S> {
  name: string
  help: string
  labels?: readonly string[]
  /** What it has now; what is left out has no series. */
  read: () => S[]
}

/** The metrics of one host as Prometheus reads them. Nothing is kept here: all values are read when they are asked for. */
export class Exposition {
  readonly registry = new Registry()

  gauge({ name, help, labels = [], read }: Definition<Sample>): void {
    const gauge: Gauge = new Gauge({
      ...{ name, help, labelNames: labels, registers: [this.registry] },
      collect: () => {
        gauge.reset()
        const samples = read()
        // Without labels it would be 0 again.
        if (samples.length === 0) gauge.remove()
        for (const [values, value] of samples) gauge.set(values, value)
      }
    })
  }

  counter({ name, help, labels = [], read }: Definition<Sample>): void {
    const counter: Counter = new Counter({
      ...{ name, help, labelNames: labels, registers: [this.registry] },
      collect: () => {
        counter.reset()
        const samples = read()
        if (samples.length === 0) counter.remove()
        for (const [values, value] of samples) counter.inc(values, value)
      }
    })
  }

  /** The library's own would count what has been counted already: of a metric its registry asks no more than this. */
  histogram({ name, help, read }: Definition<[labels: Labels, tally: DurationTally]>): void {
    const histogram = {
      name,
      get: async () => ({
        ...{ name, help, type: 'histogram', aggregator: 'sum' },
        values: read().flatMap(([labels, tally]) => seriesOf(name, labels, tally))
      })
    }
    this.registry.registerMetric(histogram as unknown as Metric)
  }
}

/** Buckets count what is in those before them too. */
function seriesOf(name: string, labels: Labels, { bounds, counts, sum }: DurationTally) {
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
