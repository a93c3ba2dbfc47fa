import { readdirSync, readFileSync } from 'node:fs'
import { call } from './start-host.ts'
import { until } from './until.ts'

/** One entry of `GET /experts`. */
export interface ExpertRow {
  name: string
  status: string
  reason: string | null
  restarts: number
  last_exit: string | null
  progress: { fraction: number; note: string | null } | null
  instances: Array<{ pid: number; in_flight: number; jobs_done: number }>
  queue: { waiting: number; max: number }
}

export async function listExperts(url: string): Promise<ExpertRow[]> {
  return (await call(`${url}/experts`, 'GET')).json
}

export async function expertOf(url: string, name: string): Promise<ExpertRow> {
  const found = (await listExperts(url)).find((expert) => expert.name === name)
  if (found === undefined) throw new Error(`/experts shows no ${name}`)
  return found
}

/** The process of an expert's first instance. */
export async function pidOf(url: string, name: string): Promise<number> {
  const expert = await expertOf(url, name)
  const pid = expert.instances[0]?.pid
  if (pid === undefined) throw new Error(`${name} has no process: ${JSON.stringify(expert)}`)
  return pid
}

/** Sends a movie to an expert. */
export function predict(
  url: string,
  name: string,
  movieId: string,
  extra: Record<string, unknown> | null = null
) {
  const body = { movie_id: movieId, local: false, extra_params: extra }
  return call(`${url}/experts/${name}/predict`, 'POST', body)
}

/** Polls until `ask` answers true. */
export async function untilTrue(
  what: string,
  ask: () => boolean | Promise<boolean>,
  limitMs?: number
) {
  await until(what, async () => (await ask()) || undefined, limitMs)
}

/** What a promise gives; an error that says `what` when it takes longer. */
export async function within<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Not within ${ms} ms: ${what}`)), ms)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

/** True while a process of that id runs; one that has ended and waits to be noticed does not. */
export function isRunning(pid: number): boolean {
  const fields = statOf(pid)
  return fields !== null && fields[0] !== 'Z' && fields[0] !== 'X'
}

/** Process ids of the children of a process. */
export function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statOf(pid)?.[1] === String(parent))
}

/** State, parent and what follows in `/proc/<pid>/stat`. */
function statOf(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name of the program, in brackets, may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}
