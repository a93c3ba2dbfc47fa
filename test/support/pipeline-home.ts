import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Latches, makeLatches } from './latches.ts'
import { movieRuns } from './movie-runs.ts'
import { makeHome } from './start-host.ts'

export interface PipelineHome {
  home: string
  latches: Latches
  /** Ids of the runs that were begun, in order. */
  begun(): Promise<string[]>
}

/** A home of two experts, `first` and `second`, and what they write. */
export async function makePipelineHome(t: Test): Promise<PipelineHome> {
  const latches = await makeLatches(t)
  const settings = { env: { LATCH_DIR: latches.dir } }
  const home = await makeHome(t, {
    files: { first: movieRuns('first'), second: movieRuns('second') },
    config: { experts: { first: settings, second: settings } }
  })
  const begun = async () =>
    (await latches.events()).filter(({ event }) => event === 'start').map(({ id }) => id)
  return { home, latches, begun }
}

/** Writes the file of a pipeline of both experts. @returns its name */
export async function writePipeline(
  home: string,
  movies: string[],
  more: object = {}
): Promise<string> {
  const document = {
    _key: 'p',
    movies: movies.map((key) => `Movies/${key}`),
    plan: [{ expert: 'first' }, { expert: 'second', depends_on: ['first'] }],
    ...more
  }
  await writeFile(join(home, 'pipeline.json'), JSON.stringify(document))
  return 'pipeline.json'
}
