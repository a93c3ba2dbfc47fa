import type { Test } from 'tap'
import { type Command, startCommand } from './command.ts'
import { within } from './experts.ts'
import { type Latches, makeLatches } from './latches.ts'
import { movieRuns } from './movie-runs.ts'
import { makeHome } from './start-host.ts'

export interface RunsHome {
  home: string
  latches: Latches
  /** Ids of the runs that were begun, in order. */
  begun(): Promise<string[]>
}

/** A home of one expert, `runs`, and what it writes. */
export async function makeRunsHome(
  t: Test,
  settings: Record<string, unknown> = {}
): Promise<RunsHome> {
  const latches = await makeLatches(t)
  const home = await makeHome(t, {
    files: { runs: movieRuns('runs') },
    config: { experts: { runs: { env: { LATCH_DIR: latches.dir }, ...settings } } }
  })
  const begun = async () =>
    (await latches.events()).filter(({ event }) => event === 'start').map(({ id }) => id)
  return { home, latches, begun }
}

/** What the expert has noted, in order. */
export async function happened(latches: Latches): Promise<string[]> {
  return (await latches.events()).map(({ event, id }) => `${event} ${id}`)
}

/** Starts the host in a mode. */
export function startMode(
  t: Test,
  home: string,
  mode: string,
  env: Record<string, string> = {}
): Command {
  return startCommand(t, ['serve'], {
    cwd: home,
    env: { EXPERT_RUN_MODE: mode, PORT: '0', ...env }
  })
}

/** Runs a mode to its end. @returns the exit code, and the messages of its log by level */
export async function runMode(
  t: Test,
  home: string,
  mode: string,
  env: Record<string, string> = {}
) {
  const command = startMode(t, home, mode, env)
  const { code, signal } = await within(command.ended, 60_000, `the end of ${mode}`)
  const said = (level: string) =>
    command.lines.filter((line) => line.level === level).map(({ msg }) => String(msg))
  return { code, signal, lines: command.lines, stderr: command.stderr, said }
}

/** Everything that a process says of its end with a level of `error` or worse, as one text. */
export function complaint(ran: Awaited<ReturnType<typeof runMode>>): string {
  return [...ran.said('error'), ...ran.said('fatal'), ran.stderr].join('\n')
}
