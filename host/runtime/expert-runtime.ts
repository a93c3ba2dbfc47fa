import type { LoadRequest, Port, ToExpert, ToHost } from './messages.ts'

/** How an expert's process ended. */
export interface ExpertExit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** A line that an expert wrote to its stdout or stderr by itself. */
export type OutputListener = (stream: 'stdout' | 'stderr', line: string) => void

/** One live instance: a port to talk to it, and the means to end it. */
export interface RunningExpert {
  /** Process id; the host's own for `inline`. */
  readonly pid: number
  readonly port: Port<ToExpert, ToHost>
  /** Resolves when the process is gone and its last message has been delivered. Never rejects. */
  readonly exited: Promise<ExpertExit>
  /** Ends it now, whatever it does. */
  kill(): void
}

export interface StartOptions {
  /** Variables beside the base environment. */
  env: Record<string, string>
  /** Working folder. */
  cwd: string
  onOutput: OutputListener
}

/** A way to run an expert: in a process of its own, or inline. A new one is one file and one line in `runtimes`. */
export interface ExpertRuntime {
  start(options: StartOptions): RunningExpert
}

export type { LoadRequest }
