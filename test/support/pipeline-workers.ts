import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import { makeLatches } from './latches.ts'
import { call, type HostOptions, startHost } from './start-host.ts'

/** A host with two experts that are told what to do with pipelines. */
export async function startPipelineWorkers(t: Test, options: HostOptions = {}) {
  const latches = await makeLatches(t)
  const started = await startHost(t, {
    plugins: ['pipeline-worker'],
    config: {
      experts: {
        'pipeline-worker': { concurrency: 8 },
        other: { package: './plugins/pipeline-worker', concurrency: 8 }
      }
    },
    env: { LATCH_DIR: latches.dir },
    ...options
  })
  const send = async (expert: string, path: string, body: object) => {
    const { status, json } = await call(`${started.url}/experts/${expert}${path}`, 'POST', body)
    if (status !== 200) throw new Error(`${path} answered ${status}: ${JSON.stringify(json)}`)
    return json
  }
  /** Calls a method of `this.pipelines`; what it throws is thrown. */
  const ask = async (method: string, ...args: unknown[]) => {
    const { answer, thrown } = await send('pipeline-worker', '/call', { method, args })
    if (thrown !== undefined) throw Object.assign(new Error(thrown.message), thrown)
    return answer
  }
  const handle = (
    id: string,
    body: { task?: string; stopOnFailure?: boolean; by?: string } = {}
  ) => {
    const { by = 'pipeline-worker', task = 'fusion', ...more } = body
    return send(by, '/handle', { task, id, ...more })
  }
  const make = async (movies: string[] | object = ['a', 'b', 'c'], tasks: object = {}) => {
    const id = randomUUID()
    await ask('createPipeline', id, movies, tasks)
    return id
  }
  /** What the document says: the status of the task, and of each movie in it. */
  const statusesOf = async (id: string, task = 'fusion') => {
    const { tasks, movies } = await ask('getPipeline', id)
    const entries = Object.entries(movies as Record<string, { status: Record<string, unknown> }>)
    return [
      ownField(tasks, task),
      Object.fromEntries(entries.map(([key, { status }]) => [key, ownField(status, task)]))
    ]
  }
  const runsOf = async (event = 'start') =>
    (
      (await latches.events()) as unknown as Array<{ event: string; id: string; by: string }>
    ).filter((line) => line.event === event)
  return { ...started, latches, send, ask, handle, make, statusesOf, runsOf }
}

/** Not by its name alone: `constructor` is a field of every object. */
function ownField(fields: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(fields, name) ? fields[name] : undefined
}
