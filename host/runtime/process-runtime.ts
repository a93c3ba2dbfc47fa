import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { ExpertExit, ExpertRuntime, RunningExpert, StartOptions } from './expert-runtime.ts'
import { FramedPort } from './framed-port.ts'
import { readLines } from './output-lines.ts'

const ENTRY = fileURLToPath(new URL('./process-entry.js', import.meta.url))

// What a child needs to work as a program of this machine; never the host's secrets.
const BASE_VARIABLES =
  /^(PATH|HOME|TMPDIR|TZ|LANG|LANGUAGE|LC_\w+|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|LD_LIBRARY_PATH|NODE_(OPTIONS|EXTRA_CA_CERTS|ICU_DATA|ENV))$/i

/** How long the channel may stay open after the process is gone: a grandchild may hold it. */
const CHANNEL_END_MS = 500

export function baseEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && BASE_VARIABLES.test(name)) kept[name] = value
  }
  return kept
}

/** The default runtime: one child process, spoken to over one socket (its descriptor 3). */
export const processRuntime: ExpertRuntime = {
  start(options: StartOptions): RunningExpert {
    const child = spawn(process.execPath, [ENTRY], {
      cwd: options.cwd,
      env: { ...baseEnvironment(process.env), ...options.env },
      // 3 is the channel. 4 is the lifeline: nothing is ever sent, it closes when this host is gone.
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe']
    })
    // Before all else: a process that could not be made says so by this event, and has no streams.
    const failed = new Promise<ExpertExit>((resolve) => {
      child.on('error', () => resolve({ code: null, signal: null }))
    })
    const stdio = child.stdio as unknown as Socket[] | undefined
    if (stdio === undefined) throw new Error('no process could be made: too many open files')
    const [, stdout, stderr, channel, lifeline] = stdio
    // Without a listener on each of them, the reset of a dead child's pipe would end the host.
    for (const stream of [stdout, stderr, channel, lifeline]) stream?.on('error', () => {})
    readLines(stdout as Readable, (line) => options.onOutput('stdout', line))
    readLines(stderr as Readable, (line) => options.onOutput('stderr', line))

    const port = new FramedPort<never, never>(channel as Socket)
    const channelEnded = new Promise<void>((resolve) => channel?.once('close', () => resolve()))
    const ended = new Promise<ExpertExit>((resolve) => {
      child.once('exit', (code, signal) => {
        // 'exit' may come before the last bytes, 'close' perhaps never.
        const late = setTimeout(() => resolve({ code, signal }), CHANNEL_END_MS)
        void channelEnded.then(() => {
          clearTimeout(late)
          resolve({ code, signal })
        })
      })
    })
    const exited = Promise.race([failed, ended])
    void exited.then(() => {
      for (const stream of [stdout, stderr, channel, lifeline]) stream?.destroy()
    })
    return {
      pid: child.pid ?? -1,
      port: port as unknown as RunningExpert['port'],
      exited,
      kill: () => void child.kill('SIGKILL')
    }
  }
}
