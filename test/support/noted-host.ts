import type { Test } from 'tap'
import { accept } from './jobs.ts'
import { type Latches, makeLatches, type RunEvent } from './latches.ts'
import { notedRuns } from './noted-runs.js'
import { type HostProcess, makeHome, spawnHost, startHost, type TestHost } from './start-host.ts'

/** One line of `noted-runs`. */
export interface NotedRun extends RunEvent {
  /** Of one run alone; its answer carries it too. */
  mark: string
  pid: number
}

export interface NotedOptions {
  /** Of every expert, beside its `env`. */
  settings?: Record<string, unknown>
  /** Default: one, `noted`. */
  experts?: string[]
  env?: Record<string, string>
}

export interface Noted {
  latches: Latches
  notes(): Promise<NotedRun[]>
  /** The starts of one id, of a list also those of one item. */
  starts(id: string): Promise<NotedRun[]>
}

export interface NotedProcess extends Noted {
  host: HostProcess
  home: string
  again(env?: Record<string, string>): Promise<HostProcess>
}

/** A home whose experts are `noted-runs`, and what they write. */
export async function makeNotedHome(
  t: Test,
  options: NotedOptions = {}
): Promise<Noted & { home: string }> {
  const latches = await makeLatches(t)
  const { experts = ['noted'], settings } = options
  const home = await makeHome(t, {
    files: Object.fromEntries(experts.map((name) => [name, notedRuns(name)])),
    config: {
      experts: Object.fromEntries(
        experts.map((name) => [name, { env: { LATCH_DIR: latches.dir }, ...settings }])
      )
    }
  })
  const notes = async () => (await latches.events()) as NotedRun[]
  const starts = async (id: string) =>
    (await notes()).filter((note) => note.event === 'start' && note.id === id)
  return { latches, notes, starts, home }
}

/** Starts a host of `noted-runs` in this process. */
export async function startNoted(t: Test, options: NotedOptions = {}): Promise<TestHost & Noted> {
  const noted = await makeNotedHome(t, options)
  return { ...noted, ...(await startHost(t, { home: noted.home, env: options.env })) }
}

/** Starts a host of `noted-runs` as a process; `again` starts the next on the same home. */
export async function spawnNoted(t: Test, options: NotedOptions = {}): Promise<NotedProcess> {
  const noted = await makeNotedHome(t, options)
  const again = (env = options.env) => spawnHost(t, { home: noted.home, env })
  return { ...noted, host: await again(), again }
}

/** Has an expert accept an image whose run does what `how` says; gives the job's id. */
export function acceptRun(
  url: string,
  id: string,
  how: string,
  more: Record<string, unknown> = {}
): Promise<string> {
  return accept(url, id, { url: how, ...more })
}
