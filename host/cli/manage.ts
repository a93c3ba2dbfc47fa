import { EXIT_FAILED } from './exit-codes.ts'

/** What the command line can ask a running host for. */
export const manageCommands = ['load', 'unload', 'reload', 'restart'] as const
export type ManageCommand = (typeof manageCommands)[number]

/** Sends a change to a running host and says what came of it. */
export async function manage(command: ManageCommand, name: string, url: string): Promise<void> {
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    fail(`'${url}' is no URL of a host: wanted one like http://127.0.0.1:8000`)
    return
  }
  const target = new URL(`/manage/experts/${encodeURIComponent(name)}/${command}`, url)
  const key = process.env.NEBULA_ADMIN_KEY
  let response: Response
  try {
    response = await fetch(target, {
      method: 'POST',
      headers: key === undefined ? {} : { authorization: `Bearer ${key}` }
    })
  } catch (error) {
    const why = (error as { cause?: Error }).cause?.message ?? (error as Error).message
    fail(`No host answers at ${url} (${why}); name another with --url`)
    return
  }
  const answer = (await response.json().catch(() => null)) as Record<string, unknown> | null
  if (answer === null) {
    fail(`What answers at ${url} is no Nebula Experts host: ${response.status} without JSON`)
    return
  }
  if (!response.ok) {
    fail(String(answer.detail))
    return
  }
  const pids = (answer.instances as Array<{ pid: number }>).map(({ pid }) => pid)
  const processes = pids.length === 0 ? '' : `, process ${pids.join(', ')}`
  process.stdout.write(`${answer.name} ${answer.version} is ${answer.status}${processes}\n`)
}

function fail(message: string): void {
  process.stderr.write(`${message}\n`)
  process.exitCode = EXIT_FAILED
}
