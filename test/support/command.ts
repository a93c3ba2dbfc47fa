import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { until } from './until.ts'

export const BIN = fileURLToPath(new URL('../../host/bin/nebula-experts.js', import.meta.url))

/** A command that runs, and what it has written so far. */
export interface Command {
  child: ChildProcess
  readonly stdout: string
  readonly stderr: string
  /** The lines of its log so far. */
  readonly lines: Array<Record<string, unknown>>
  /** Resolves when what it has written, or an ending of it, has this in it. */
  says(words: RegExp): Promise<void>
  /** Resolves when it has ended and all it wrote has been read. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** Starts a command of `nebula-experts` in a folder; what still runs of it is killed after the test. */
export function startCommand(
  t: Test,
  words: string[],
  options: { cwd: string; env?: Record<string, string> }
): Command {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, HOST: '127.0.0.1', ...options.env }
  return startProgram(t, process.execPath, [BIN, ...words], { cwd: options.cwd, env })
}

/** The same with any program. */
export function startProgram(
  t: Test,
  program: string,
  words: string[],
  options: { cwd: string; env: NodeJS.ProcessEnv }
): Command {
  // A group of its own, so that a signal to the group does not reach the test.
  const child = spawn(program, words, { ...options, stdio: 'pipe', detached: true })
  const written = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => {
    written.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    written.stderr += text
  })
  const ended: Command['ended'] = once(child, 'close').then(([code, signal]) => ({ code, signal }))
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  })
  return {
    child,
    ended,
    get stdout() {
      return written.stdout
    },
    get stderr() {
      return written.stderr
    },
    get lines() {
      // A last line without its end is still being written.
      const lines = written.stdout.split('\n').slice(0, -1)
      return lines.map((line) => JSON.parse(line))
    },
    says: (pattern) =>
      until(`${pattern} in what it writes`, () => {
        const all = written.stdout + written.stderr
        if (pattern.test(all)) return true
        if (child.exitCode !== null || child.signalCode !== null) {
          throw new Error(
            `it ended with ${child.exitCode ?? child.signalCode}: ${all.slice(-2000)}`
          )
        }
        return undefined
      }).then(() => {})
  }
}
