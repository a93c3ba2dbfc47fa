import { Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { ExpertHarness } from './expert-harness.ts'
import { FramedPort } from './framed-port.ts'
import { type ToExpert, type ToHost, toWireError } from './messages.ts'

const CHANNEL = 3
const LIFELINE = 4

// A signal to the process group reaches experts too; only the host decides when they stop.
process.on('SIGTERM', () => {})
process.on('SIGINT', () => {})

// A thread of its own, because this one may spin or sit in native code when the host dies.
new Worker(new URL('./lifeline.js', import.meta.url), { workerData: LIFELINE }).unref()

const port = new FramedPort<ToHost, ToExpert>(new Socket({ fd: CHANNEL }))

// The event loop does not turn again after these: what is pending is written at once.
process.on('uncaughtExceptionMonitor', (error) => port.send(['fatal', toWireError(error)]))
process.on('exit', () => port.flushSync(CHANNEL))

new ExpertHarness(port, { setVariables: true, end: () => process.exit(0) })

// The host is gone. Not process.exit(): that stops the lifeline, and then waits for native work under way.
port.onClose = () => process.kill(process.pid, 'SIGKILL')
