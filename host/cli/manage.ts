import { EXIT_FAILED } from './exit-codes.ts'
import { HostClient, Refusal } from './host-client.ts'

/** What the command line can ask a running host for. */
export const manageCommands = ['load', 'unload', 'reload', 'restart'] as const
export type ManageCommand = (typeof manageCommands)[number]

interface ManagedExpert {
  name: string
  version: string
  status: string
  instances: Array<{ pid: number }>
}

/** Sends a change to a running host and says what came of it. */
export async function manage(command: ManageCommand, name: string, url: string): Promise<void> {
  try {
    const path = `/manage/experts/${encodeURIComponent(name)}/${command}`
    const expert = await new HostClient(url).ask<ManagedExpert>('POST', path)
    const pids = expert.instances.map(({ pid }) => pid)
    const processes = pids.length === 0 ? '' : `, process ${pids.join(', ')}`
    process.stdout.write(`${expert.name} ${expert.version} is ${expert.status}${processes}\n`)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = EXIT_FAILED
  }
}
