import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { Host } from '../host.ts'
import { createLog } from '../observe/log.ts'
import { EXIT_FAILED, EXIT_SOFTWARE } from './exit-codes.ts'
import { HostClient, Refusal } from './host-client.ts'
import { ProgressLine } from './progress-line.ts'
import { configOrExit, hostOrExit } from './start-own-host.ts'

/** What a pipeline's document says of how far it is. */
interface Pipeline {
  _key: string
  status: string
  plan?: Array<{ expert: string }>
  tasks: Record<string, string>
  counts?: Record<string, Record<string, number>> | null
}

const LOOK_MS = 300
const STUCK = new Set(['WAITING', 'STOPPED', 'FAILED', 'QUARANTINED'])
const MOST_SHOWN = 20

/**
 * Runs the pipeline of a file and shows how far it is; ends with 0 when all of it succeeded, else 70.
 * @param url - a running host that is to run it; without one, a host of its own does, with this folder's configuration
 */
export async function runPipelineFile(path: string, url: string | undefined): Promise<void> {
  const document = await readDocument(path)
  if (document === null) return
  let host: Host | null = null
  if (url === undefined) {
    const config = configOrExit({ ...process.env, PORT: '0', HOST: '127.0.0.1' })
    if (config === null) return
    // The bar and the lines of a log would write over each other.
    const { log, flush } = createLog(process.env.LOG_LEVEL === undefined ? 'warn' : config.logLevel)
    host = await hostOrExit({ config, log }, flush)
    if (host === null) return
    await host.started
  }
  try {
    process.exitCode = await follow(new HostClient(url ?? (host as Host).url), document)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = error.exitCode
  } finally {
    await host?.stop()
  }
}

async function readDocument(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === undefined ? `is not JSON (${message})` : `cannot be read (${code})`
    process.stderr.write(`${path} ${why}\n`)
    process.exitCode = EXIT_FAILED
    return null
  }
}

async function follow(client: HostClient, document: unknown): Promise<number> {
  const { _key: key } = await client.ask<Pipeline>('POST', '/pipelines', document)
  const path = `/pipelines/${encodeURIComponent(key)}`
  process.stdout.write(`pipeline ${key}\n`)
  await client.ask('POST', `${path}/run`)
  const pipeline = await untilEnded(client, path)
  for (const [task, counts] of Object.entries(pipeline.counts ?? {})) {
    const shown = Object.entries(counts).filter(([, count]) => count > 0)
    const text = shown.map(([state, count]) => `${count} ${state}`).join(', ')
    process.stdout.write(
      `  ${task}: ${pipeline.tasks[task] ?? 'not begun'} (${text || 'no items'})\n`
    )
  }
  await showFailures(client, path)
  process.stdout.write(`${pipeline.status}\n`)
  return pipeline.status === 'succeeded' ? 0 : EXIT_SOFTWARE
}

/** Shows how far it is until it has ended, or cannot end because an expert that it needs does not start. */
async function untilEnded(client: HostClient, path: string): Promise<Pipeline> {
  const progress = new ProgressLine(process.stderr)
  const stop = () => void client.ask('POST', `${path}/cancel`).catch(() => {})
  process.once('SIGINT', stop)
  try {
    for (;;) {
      const pipeline = await client.ask<Pipeline>('GET', `${path}?movies=false`)
      if (pipeline.status !== 'running') return pipeline
      progress.show(...howFar(pipeline))
      const why = await whyStuck(client, pipeline)
      if (why !== null) {
        await client.ask('POST', `${path}/cancel`)
        throw new Refusal(why, EXIT_SOFTWARE)
      }
      await pause(LOOK_MS)
    }
  } finally {
    process.off('SIGINT', stop)
    progress.clear()
  }
}

/** Why an expert of the plan will not run anything until somebody mends it, or null. */
async function whyStuck(client: HostClient, { plan = [] }: Pipeline): Promise<string | null> {
  const experts = await client.ask<Array<{ name: string; status: string; reason: string | null }>>(
    'GET',
    '/experts'
  )
  const needed = new Set(plan.map(({ expert }) => expert.toLowerCase()))
  const stuck = experts.find(
    ({ name, status }) => needed.has(name.toLowerCase()) && STUCK.has(status)
  )
  return stuck === undefined ? null : `expert ${stuck.name} is ${stuck.status}: ${stuck.reason}`
}

async function showFailures(client: HostClient, path: string): Promise<void> {
  const { items, next } = await client.ask<{
    items: Array<{ task: string; movie: string; error: string | null }>
    next: string | null
  }>('GET', `${path}/items?state=fail&limit=${MOST_SHOWN}`)
  for (const { task, movie, error } of items) {
    process.stderr.write(`  ${task} of ${movie}: ${error}\n`)
  }
  if (next !== null) process.stderr.write('  … and more\n')
}

/** The share of items that have ended, and how many. */
function howFar({ counts }: Pipeline): [number, string] {
  const all = Object.values(counts ?? {})
  const sum = (...states: string[]) =>
    all.reduce((total, task) => states.reduce((n, state) => n + (task[state] ?? 0), total), 0)
  const ended = sum('success', 'fail', 'skipped')
  const total = ended + sum('blocked', 'ready', 'running')
  const failed = sum('fail')
  const note = `${ended} of ${total} items${failed === 0 ? '' : `, ${failed} failed`}`
  return [total === 0 ? 0 : ended / total, note]
}
