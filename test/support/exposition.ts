import { call } from './start-host.ts'

export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

/** One metric with all of its series. */
export interface Family {
  name: string
  type: string
  help: string
  samples: Sample[]
}

export interface Exposition {
  families: Map<string, Family>
  /** Value of the one series of that name with these labels; undefined when there is none. */
  value(name: string, labels?: Record<string, string>): number | undefined
  /** Every series that has these labels, of whatever metric. */
  having(labels: Record<string, string>): Sample[]
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*'
const HELP = new RegExp(`^# HELP (${NAME}) (\\S.*)$`)
const TYPE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram|summary)$`)
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`)
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)/
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN|Nan)$/

/** Reads the text format of Prometheus. @throws Error on any line that does not belong in it */
export function readExposition(text: string): Exposition {
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  const families = new Map<string, Family>()
  let family: Family | null = null
  let help: [string, string] | null = null
  for (const line of text.slice(0, -1).split('\n')) {
    const fail = (why: string) => new Error(`${why}: ${line}`)
    if (line === '') continue
    const [, helped, words] = HELP.exec(line) ?? []
    if (helped !== undefined) {
      if (help !== null || families.has(helped)) throw fail('a second HELP')
      help = [helped, words as string]
      continue
    }
    const [, typed, type] = TYPE.exec(line) ?? []
    if (typed !== undefined) {
      if (help?.[0] !== typed) throw fail('a TYPE that is not behind its HELP')
      family = { name: typed, type: type as string, help: help[1], samples: [] }
      families.set(typed, family)
      help = null
      continue
    }
    const [, name, labels = '', number] = SAMPLE.exec(line) ?? []
    if (name === undefined || number === undefined) throw fail('no line of the format')
    if (family === null || help !== null || !belongs(name, family)) {
      throw fail('a series outside of its metric')
    }
    if (!NUMBER.test(number)) throw fail('no number')
    const value = Number(number.replace('Inf', 'Infinity').replace('Nan', 'NaN'))
    family.samples.push({ name, labels: readLabels(labels), value })
  }
  if (help !== null) throw new Error(`${help[0]} has no TYPE`)
  for (const one of families.values()) check(one)
  const all = [...families.values()].flatMap(({ samples }) => samples)
  const having = (labels: Record<string, string>) =>
    all.filter((sample) =>
      Object.entries(labels).every(([name, value]) => sample.labels[name] === value)
    )
  return {
    families,
    having,
    value: (name, labels = {}) => {
      const found = having(labels).filter((sample) => sample.name === name)
      if (found.length > 1) throw new Error(`${found.length} series of ${name} have these labels`)
      return found[0]?.value
    }
  }
}

/** What a host shows now. */
export async function scrape(url: string): Promise<Exposition> {
  const { status, text } = await call(`${url}/metrics`, 'GET')
  if (status !== 200) throw new Error(`${status} ${text}`)
  return readExposition(text)
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (let rest = text; rest !== ''; ) {
    const [all, name, value] = LABEL.exec(rest) ?? []
    if (all === undefined || name === undefined) throw new Error(`no labels: ${rest}`)
    if (name in labels) throw new Error(`a label twice: ${text}`)
    labels[name] = (value as string).replace(/\\(.)/g, (_, char) => (char === 'n' ? '\n' : char))
    rest = rest.slice(all.length)
  }
  return labels
}

function belongs(name: string, { name: family, type }: Family): boolean {
  if (type !== 'histogram') return name === family
  return ['_bucket', '_sum', '_count'].some((end) => name === family + end)
}

function check({ name: family, type, samples }: Family): void {
  const seen = new Set<string>()
  const buckets = new Map<string, Array<[number, number]>>()
  for (const { name, labels, value } of samples) {
    const key = keyOf(labels)
    if (seen.has(`${name} ${key}`)) throw new Error(`a series twice: ${name} ${key}`)
    seen.add(`${name} ${key}`)
    if (type !== 'gauge' && !(value >= 0)) throw new Error(`${name} ${key} is ${value}`)
    if (name !== `${family}_bucket` || type !== 'histogram') continue
    const { le = '', ...others } = labels
    const bound = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)
    if (le === '' || Number.isNaN(bound)) throw new Error(`${name} ${key} has no bound`)
    buckets.set(keyOf(others), [...(buckets.get(keyOf(others)) ?? []), [bound, value]])
  }
  if (type === 'counter' && !family.endsWith('_total')) throw new Error(`${family} has no _total`)
  if (type !== 'histogram') return
  const counts = samples.filter(({ name }) => name === `${family}_count`)
  if (counts.length !== buckets.size) throw new Error(`${family}: counts without buckets`)
  for (const { labels, value } of counts) {
    const own = buckets.get(keyOf(labels)) ?? []
    const grows = own.every(([bound, count], at) => {
      const [lower, fewer] = own[at - 1] ?? [Number.NEGATIVE_INFINITY, 0]
      return bound > lower && count >= fewer
    })
    const [last, all] = own.at(-1) ?? []
    if (!grows || last !== Number.POSITIVE_INFINITY || all !== value) {
      throw new Error(`${family}: buckets of ${keyOf(labels)} do not add up`)
    }
    if (!seen.has(`${family}_sum ${keyOf(labels)}`)) throw new Error(`${family} has no sum`)
  }
}

function keyOf(labels: Record<string, string>): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))
}
