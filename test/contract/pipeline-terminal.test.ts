import { accessSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import t, { type Test } from 'tap'
import { BIN, startProgram } from '../support/command.ts'
import { childrenOf, isRunning, within } from '../support/experts.ts'
import { makePipelineHome, writePipeline } from '../support/pipeline-home.ts'
import { spawnHost } from '../support/start-host.ts'

const hasScript = (process.env.PATH ?? '').split(delimiter).some((folder) => {
  try {
    accessSync(join(folder, 'script'))
    return true
  } catch {
    return false
  }
})
const onTerminal = { skip: !hasScript && 'not run here: needs script' }
const COLUMNS = 60
const WIPE = '\r\u001b[K'
const BAR = /^[█░]{30} +\d+ % \d+ of \d+ items/

/** What is on the terminal from the line on that was wiped last. */
function lastOf(shown: string): string {
  return shown.slice(shown.lastIndexOf(WIPE) + WIPE.length)
}

/** Starts the command on a terminal of its own; what is typed there goes to `child.stdin`. */
function startOnTerminal(t: Test, cwd: string, words: string[]) {
  const command = [process.execPath, BIN, ...words].map((word) => `'${word}'`).join(' ')
  const line = `stty cols ${COLUMNS} && exec ${command}`
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, SHELL: '/bin/sh', TERM: 'xterm' }
  return startProgram(t, 'script', ['-qefc', line, '/dev/null'], { cwd, env })
}

t.test('on a terminal a bar is drawn, and wiped before anything else', onTerminal, async (t) => {
  const { home, latches } = await makePipelineHome(t)
  const file = await writePipeline(home, ['fail-1', 'hold-2', 'ok-3'])
  const terminal = startOnTerminal(t, home, ['pipeline', 'run', file])
  await latches.started('hold-2')
  await terminal.says(/ of 6 items, 1 failed/)
  await latches.release('hold-2')
  t.equal((await terminal.ended).code, 70)
  const shown = terminal.stdout
  const bars = shown.split(WIPE).filter((line) => BAR.test(line))
  t.ok(bars.length > 0, 'it is drawn')
  t.ok(
    bars.every((bar) => bar.length < COLUMNS),
    'in one line'
  )
  const last = lastOf(shown)
  t.match(last, /^ {2}first: fail \(2 success, 1 fail\)\r\n/, 'nothing of it is left')
  t.notMatch(last, /[█░]/)
  t.match(last, /\r\nfailed\r\n$/)
})

t.test('Ctrl-C on a terminal cancels and wipes the bar', onTerminal, async (t) => {
  const { home, latches } = await makePipelineHome(t)
  const file = await writePipeline(home, ['hold-1'])
  const terminal = startOnTerminal(t, home, ['pipeline', 'run', file])
  await latches.started('hold-1')
  await terminal.says(/ of 2 items/)
  const processes = childrenOf(terminal.child.pid as number)
  terminal.child.stdin?.write('\x03')
  t.equal((await within(terminal.ended, 15_000, 'its end')).code, 70)
  const last = lastOf(terminal.stdout)
  t.notMatch(last, /[█░]/)
  t.match(last, /canceled\r\n$/)
  t.notOk(processes.some(isRunning))
})

t.test('on a terminal the bar is wiped when the host goes away, too', onTerminal, async (t) => {
  const { home, latches } = await makePipelineHome(t)
  const host = await spawnHost(t, { home })
  const file = await writePipeline(home, ['hold-1'])
  const terminal = startOnTerminal(t, home, ['pipeline', 'run', file, '--url', host.url])
  await latches.started('hold-1')
  await terminal.says(/ of 2 items/)
  host.child.kill('SIGKILL')
  t.equal((await terminal.ended).code, 1)
  const last = lastOf(terminal.stdout)
  t.notMatch(last, /[█░]/)
  t.match(last, /No host answers/)
})
