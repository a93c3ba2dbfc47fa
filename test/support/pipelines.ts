import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Latches, makeLatches } from './latches.ts'
import { notedItems } from './noted-items.js'
import { call, makeHome, startHost, type TestHost } from './start-host.ts'
import { until } from './until.ts'

type Answer = Awaited<ReturnType<typeof call>>
/** A pipeline's document as the host shows it. */
export type PipelineView = Answer['json']
/** One entry of `/pipelines/{id}/items`. */
export type ItemView = Record<string, any>

/** One line of `noted-items`. */
export interface ItemNote {
  event: 'start' | 'end' | 'thrown' | 'aborted'
  task: string
  movie: string
  pipeline: string | null
  jobId: string
  /** Of one run alone. */
  mark: string
  pid: number
  /** Epoch milliseconds. */
  at: number
  version: string
  /** With a start only. */
  extraParams?: Record<string, unknown> | null
}

export interface ItemsOptions {
  /** Names of experts, or what each is beside its name. */
  experts: string[] | Record<string, Parameters<typeof notedItems>[1]>
  /** Of every expert in the configuration, beside `env`. */
  settings?: Record<string, unknown>
  /** Of single experts. */
  own?: Record<string, Record<string, unknown>>
  /** Further plugins. */
  files?: Record<string, Record<string, string>>
  env?: Record<string, string>
}

export interface NotedItemsHome {
  home: string
  latches: Latches
  /** Every line so far, in order. */
  notes(): Promise<ItemNote[]>
  /** Movies of the starts so far, in order. */
  starts(task: string): Promise<string[]>
}

/** A home whose experts are `noted-items`, and what they write. */
export async function makeItemsHome(t: Test, options: ItemsOptions): Promise<NotedItemsHome> {
  const latches = await makeLatches(t)
  const { experts, settings, own = {}, files = {} } = options
  const kinds: Record<string, Parameters<typeof notedItems>[1]> = Array.isArray(experts)
    ? Object.fromEntries(experts.map((name) => [name, {}]))
    : experts
  const names = Object.keys(kinds)
  const made = Object.fromEntries(names.map((name) => [name, notedItems(name, kinds[name])]))
  const home = await makeHome(t, {
    files: { ...made, ...files },
    config: {
      experts: Object.fromEntries(
        names.map((name) => [name, { env: { LATCH_DIR: latches.dir }, ...settings, ...own[name] }])
      )
    }
  })
  const notes = () => readItemNotes(latches.dir)
  const starts = async (task: string) =>
    (await notes()).flatMap((note) =>
      note.event === 'start' && note.task === task ? note.movie : []
    )
  return { home, latches, notes, starts }
}

/** Every line that `noted-items` wrote into the folder, in order. */
export async function readItemNotes(dir: string): Promise<ItemNote[]> {
  const text = await readFile(join(dir, 'items.ndjson'), 'utf8').catch(() => '')
  const lines = text.split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line))
}

/** A host of `noted-items` in this process. */
export async function startItems(
  t: Test,
  options: ItemsOptions
): Promise<TestHost & NotedItemsHome> {
  const items = await makeItemsHome(t, options)
  return { ...items, ...(await startHost(t, { home: items.home, env: options.env })) }
}

/** Ids of so many movies. */
export function movieIds(count: number, prefix = 'm'): string[] {
  return Array.from({ length: count }, (_, at) => `Movies/${prefix}${at + 1}`)
}

/** Posts a pipeline that has to be taken; gives its key. */
export async function createPipeline(url: string, body: object): Promise<string> {
  const { status, text, json } = await call(`${url}/pipelines`, 'POST', body)
  if (status !== 201) throw new Error(`${status} ${text}`)
  return json._key
}

/** `/run`, `/cancel` or `/retry`. */
export function order(url: string, key: string, verb: 'run' | 'cancel' | 'retry') {
  return call(`${url}/pipelines/${key}/${verb}`, 'POST')
}

/** Posts a pipeline and runs it; gives its key. */
export async function runPipeline(url: string, body: object): Promise<string> {
  const key = await createPipeline(url, body)
  const { status, text } = await order(url, key, 'run')
  if (status !== 200) throw new Error(`${status} ${text}`)
  return key
}

/** The document as it stands. */
export async function viewOf(url: string, key: string): Promise<PipelineView> {
  const { status, text, json } = await call(`${url}/pipelines/${key}`, 'GET')
  if (status !== 200) throw new Error(`${status} ${text}`)
  return json
}

/** The document once the pipeline has ended. */
export function endOf(url: string, key: string, limitMs = 30_000): Promise<PipelineView> {
  return until(
    `the end of pipeline ${key}`,
    async () => {
      const { json } = await call(`${url}/pipelines/${key}?movies=false`, 'GET')
      return isEnd(json?.status) ? viewOf(url, key) : undefined
    },
    limitMs
  )
}

/** All items that fit, page after page. */
export async function itemsOf(url: string, key: string, query = ''): Promise<ItemView[]> {
  const items: ItemView[] = []
  let cursor: string | null = null
  do {
    const after: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const { status, text, json } = await call(
      `${url}/pipelines/${key}/items?limit=1000&${query}${after}`,
      'GET'
    )
    if (status !== 200) throw new Error(`${status} ${text}`)
    items.push(...json.items)
    cursor = json.next
  } while (cursor !== null)
  return items
}

/** Items as `task movie` → state. */
export async function statesOf(url: string, key: string): Promise<Record<string, string>> {
  const items = await itemsOf(url, key)
  return Object.fromEntries(items.map(({ task, movie, state }) => [`${task} ${movie}`, state]))
}

/** Each movie's status of a task, in the document's order. */
export function statusOf(view: PipelineView, task: string): unknown[] {
  return Object.values(view.movies).map((movie) => (movie as PipelineView).status[task])
}

/** The most runs of a task, or of all, that were under way at one moment. */
export function mostAtOnce(notes: ItemNote[], task?: string): number {
  let [now, most] = [0, 0]
  for (const note of notes) {
    if (task !== undefined && note.task !== task) continue
    now += note.event === 'start' ? 1 : -1
    most = Math.max(most, now)
  }
  return most
}

export function isEnd(status: unknown): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'canceled'
}
