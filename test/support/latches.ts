import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { until } from './until.ts'

export interface RunEvent {
  event: 'start' | 'end'
  id: string
  jobId: string
}

/** The folder through which a test and the fixture expert `held-runs` speak. */
export interface Latches {
  dir: string
  /** Lets the run of this id end, now or when it comes to it. */
  release(...ids: string[]): Promise<void>
  /** Every start and end so far, in order. */
  events(): Promise<RunEvent[]>
  /** Resolves when the run of this id has started. */
  started(id: string): Promise<RunEvent>
}

export async function makeLatches(t: Test): Promise<Latches> {
  const dir = await mkdtemp(join(tmpdir(), 'nebula-latch-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const events = async (): Promise<RunEvent[]> => {
    const text = await readFile(join(dir, 'events.ndjson'), 'utf8').catch(() => '')
    // A last line without its end is still being written.
    const lines = text.split('\n').slice(0, -1)
    return lines.map((line) => JSON.parse(line))
  }
  return {
    dir,
    events,
    release: async (...ids) => {
      for (const id of ids) await writeFile(join(dir, id), '')
    },
    started: (id) =>
      until(`start of ${id}`, async () =>
        (await events()).find((line) => line.event === 'start' && line.id === id)
      )
  }
}
