import { ExpertHarness } from './expert-harness.ts'
import type { ExpertExit, ExpertRuntime, RunningExpert } from './expert-runtime.ts'
import { linkPorts } from './linked-ports.ts'
import type { ToExpert, ToHost } from './messages.ts'

/**
 * Runs the expert in the host's own process: for debugging, chosen by the operator alone. It cannot be
 * killed, and what it breaks is broken for all.
 */
export const inlineRuntime: ExpertRuntime = {
  start(): RunningExpert {
    const [host, expert] = linkPorts<ToExpert, ToHost>()
    let ended: (exit: ExpertExit) => void
    const exited = new Promise<ExpertExit>((resolve) => {
      ended = resolve
    })
    const end = () => {
      expert.close()
      ended({ code: 0, signal: null })
    }
    new ExpertHarness(expert, { setVariables: false, end })
    return { pid: process.pid, port: host, exited, kill: end }
  }
}
